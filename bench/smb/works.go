package main

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"time"
)

// order is what the driver asks for.
type order struct {
	target
	// echo, read, write, open-close, create-close, list, missing, session or connect.
	Kind string
	// none, signed or encrypted.
	Protection  string
	Connections int
	Outstanding int
	// Of one READ or WRITE.
	Bytes int
	// The file that is read and written, and its size in bytes.
	DataFile  string
	DataBytes int64
	// Files that are opened: the format of their names, and how many there are.
	FileFormat string
	Files      int
	// The directory that files are made in.
	NewFiles string
	// The directory that is listed, the names in it without . and .., and the size of the client's buffer.
	Directory   string
	Names       int
	OutputBytes int
}

// prepare connects and makes every slot ready.
func prepare(o order) ([]*connection, error) {
	key := responseKeyNTLMv2(o.User, o.Password)
	var connections []*connection
	for i := range o.Connections {
		c, err := dial(o.target, key)
		if err != nil {
			return nil, err
		}
		if err := c.logOn(); err != nil {
			return nil, err
		}
		c.signs, c.seals = o.Protection == "signed", o.Protection == "encrypted"
		if err := c.treeConnect(); err != nil {
			return nil, err
		}
		if err := c.collectCredits(o.Outstanding*chargeOf(o.Bytes, o.OutputBytes) + 8); err != nil {
			return nil, err
		}
		for j := range o.Outstanding {
			w, err := newWork(c, o, i*o.Outstanding+j)
			if err != nil {
				return nil, err
			}
			c.slots = append(c.slots, &slot{work: w})
		}
		connections = append(connections, c)
	}
	return connections, nil
}

// chargeOf is the CreditCharge (MS-SMB2 3.1.5.2).
func chargeOf(sizes ...int) int {
	charge := 1
	for _, size := range sizes {
		charge = max(charge, (size+65535)/65536)
	}
	return charge
}

func newWork(c *connection, o order, index int) (work, error) {
	pack := func(command uint16, body []byte) []byte { return message(command, c.treeID, c.sessionID, body) }
	switch o.Kind {
	case "echo":
		return &echo{message(cmdEcho, 0, c.sessionID, echoBody())}, nil
	case "read", "write":
		fileID, err := c.open(o.DataFile, accessReadWrite, optionFile)
		if err != nil {
			return nil, err
		}
		places := places{size: int64(o.Bytes), count: o.DataBytes / int64(o.Bytes), next: int64(index) * 7}
		var packed []byte
		if o.Kind == "read" {
			packed = pack(cmdRead, readBody(fileID, o.Bytes))
		} else {
			data := make([]byte, o.Bytes)
			rand.Read(data)
			packed = pack(cmdWrite, writeBody(fileID, data))
		}
		le.PutUint16(packed[6:], uint16(chargeOf(o.Bytes)))
		if o.Kind == "read" {
			return &read{packed, places, o.Bytes}, nil
		}
		return &write{packed, places, o.Bytes}, nil
	case "open-close":
		w := &openClose{closing: closing{pack(cmdClose, closeBody())}, next: index * o.Files / (o.Connections * o.Outstanding)}
		for i := range o.Files {
			w.opens = append(w.opens, pack(cmdCreate, createBody(fmt.Sprintf(o.FileFormat, i), accessReadWrite, optionFile)))
		}
		return w, nil
	case "create-close":
		path := fmt.Sprintf(`%s\new-%02d-000000000`, o.NewFiles, index)
		return &createClose{closing: closing{pack(cmdClose, closeBody())}, create: pack(cmdCreate, createNewBody(path))}, nil
	case "list":
		fileID, err := c.open(o.Directory, accessList, optionDirectory)
		if err != nil {
			return nil, err
		}
		packed := pack(cmdQueryDirectory, queryDirectoryBody(fileID, o.OutputBytes))
		le.PutUint16(packed[6:], uint16(chargeOf(o.OutputBytes)))
		return &list{packed: packed, names: o.Names + 2}, nil
	case "missing":
		return &missing{pack(cmdCreate, createBody(o.Directory+`\missing-000000000`, accessReadAttributes, 0))}, nil
	case "session":
		return &session{}, nil
	}
	return nil, fmt.Errorf("there is no work %q", o.Kind)
}

func succeeded(request []byte, response received) error {
	if status := le.Uint32(response.message[8:]); status != statusSuccess {
		return fmt.Errorf("command %d was answered 0x%08x", le.Uint16(request[12:]), status)
	}
	return nil
}

type echo struct{ packed []byte }

func (w *echo) begin(*connection) []byte { return w.packed }
func (w *echo) answered(_ *connection, request []byte, response received) ([]byte, error) {
	return nil, succeeded(request, response)
}

// places: small requests go to random places of the file, large ones through it in order.
type places struct{ size, count, next int64 }

func (p *places) offset() uint64 {
	if p.size < 65536 {
		return uint64(mathrand.Int64N(p.count) * p.size)
	}
	p.next++
	return uint64(p.next % p.count * p.size)
}

type read struct {
	packed []byte
	places places
	bytes  int
}

func (w *read) begin(*connection) []byte {
	le.PutUint64(w.packed[readOffsetAt:], w.places.offset())
	return w.packed
}
func (w *read) answered(_ *connection, request []byte, response received) ([]byte, error) {
	if err := succeeded(request, response); err != nil {
		return nil, err
	}
	if length := int(le.Uint32(response.message[readDataLengthAt:])); length != w.bytes || response.length < headerSize+16+length {
		return nil, fmt.Errorf("a READ of %d bytes was answered with %d", w.bytes, length)
	}
	return nil, nil
}

type write struct {
	packed []byte
	places places
	bytes  int
}

func (w *write) begin(*connection) []byte {
	le.PutUint64(w.packed[writeOffsetAt:], w.places.offset())
	return w.packed
}
func (w *write) answered(_ *connection, request []byte, response received) ([]byte, error) {
	if err := succeeded(request, response); err != nil {
		return nil, err
	}
	if count := int(le.Uint32(response.message[writeCountAt:])); count != w.bytes {
		return nil, fmt.Errorf("a WRITE of %d bytes wrote %d", w.bytes, count)
	}
	return nil, nil
}

// closing follows each CREATE with the CLOSE of what it opened.
type closing struct{ close []byte }

func (w *closing) answered(_ *connection, request []byte, response received) ([]byte, error) {
	if err := succeeded(request, response); err != nil {
		return nil, err
	}
	if le.Uint16(request[12:]) == cmdClose {
		return nil, nil
	}
	copy(w.close[closeFileIDAt:], response.message[createdFileIDAt:createdFileIDAt+16])
	return w.close, nil
}

// openClose opens the files in turn, and closes each.
type openClose struct {
	closing
	opens [][]byte
	next  int
}

func (w *openClose) begin(*connection) []byte {
	w.next++
	return w.opens[w.next%len(w.opens)]
}

// createClose makes files, another each time, and closes each, which deletes it.
type createClose struct {
	closing
	create []byte
	next   int
}

func (w *createClose) begin(*connection) []byte {
	w.next++
	setNumber(w.create, w.next)
	return w.create
}

// setNumber writes the nine digits that a CREATE's name ends with.
func setNumber(packed []byte, number int) {
	end := packed[len(packed)-18:]
	for i := range 9 {
		end[2*(8-i)] = byte('0' + number%10)
		number /= 10
	}
}

// list reads a whole directory, again and again through one open.
type list struct {
	packed []byte
	names  int
	seen   int
}

const restartScans = 1

func (w *list) begin(*connection) []byte {
	w.seen = 0
	w.packed[queryFlagsAt] = restartScans
	return w.packed
}
func (w *list) answered(_ *connection, request []byte, response received) ([]byte, error) {
	if le.Uint32(response.message[8:]) == statusNoMoreFiles {
		if w.seen != w.names {
			return nil, fmt.Errorf("the directory has %d names, %d were listed", w.names, w.seen)
		}
		return nil, nil
	}
	if err := succeeded(request, response); err != nil {
		return nil, err
	}
	at := int(le.Uint16(response.message[headerSize+2:]))
	for {
		if at+4 > len(response.message) {
			return nil, fmt.Errorf("an entry of the directory lies beyond the response")
		}
		w.seen++
		next := int(le.Uint32(response.message[at:]))
		if next == 0 {
			break
		}
		at += next
	}
	w.packed[queryFlagsAt] = 0
	return w.packed, nil
}

// missing asks for names that are not there, another each time.
type missing struct{ packed []byte }

func (w *missing) begin(*connection) []byte {
	setNumber(w.packed, mathrand.IntN(1e9))
	return w.packed
}
func (w *missing) answered(_ *connection, request []byte, response received) ([]byte, error) {
	if status := le.Uint32(response.message[8:]); status != statusNotFound {
		return nil, fmt.Errorf("the open of a missing name was answered 0x%08x", status)
	}
	return nil, nil
}

// session logs on with NTLMv2 and off again.
type session struct{ logon logon }

func (w *session) begin(c *connection) []byte { return w.logon.first(c) }
func (w *session) answered(c *connection, request []byte, response received) ([]byte, error) {
	if le.Uint16(request[12:]) == cmdLogoff {
		return nil, succeeded(request, response)
	}
	if le.Uint64(request[40:]) == 0 {
		return w.logon.second(c, request, response.message)
	}
	if _, err := w.logon.finish(request, response.message); err != nil {
		return nil, err
	}
	return message(cmdLogoff, 0, w.logon.sessionID, echoBody()), nil
}

// connectAndLogOn: as many clients as the others have requests under way, each of which connects, logs on, connects to the
// share and leaves, again and again.
func connectAndLogOn(o order, duration time.Duration) (result, error) {
	key := responseKeyNTLMv2(o.User, o.Password)
	return measure(o.Connections*o.Outstanding, duration, func(_ int, until time.Time) ([]time.Duration, error) {
		var took []time.Duration
		for began := time.Now(); began.Before(until); began = time.Now() {
			if err := visit(o.target, key); err != nil {
				return nil, err
			}
			took = append(took, time.Since(began))
		}
		return took, nil
	})
}

func visit(to target, key []byte) error {
	c, err := dial(to, key)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.logOn(); err != nil {
		return err
	}
	return c.treeConnect()
}
