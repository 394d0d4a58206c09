package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"time"
)

// Requests wait so long for an answer before the run fails.
const answerWithin = 30 * time.Second

// target says what is measured, and as whom.
type target struct {
	Address  string
	Share    string
	User     string
	Password string
}

// connection is one TCP connection with one session and one tree connect on it. Not for several goroutines.
type connection struct {
	target target
	// NTOWFv2 of the user: computed once.
	responseKey []byte
	socket      net.Conn
	// What was received and not taken apart yet: in[taken:filled].
	in            []byte
	taken, filled int
	// Frames that go out together.
	out       []byte
	messageID uint64
	credits   int
	hash      preauth
	sessionID uint64
	treeID    uint32
	signer    *signer
	sealer    *sealer
	// Every request is signed, or encrypted, and every answer must be.
	signs, seals bool
	slots        []*slot
}

// Room behind the largest frame, for the tag that is moved there.
const inRoom = 2*1024*1024 + 64*1024

func dial(to target, responseKey []byte) (*connection, error) {
	socket, err := net.Dial("tcp", to.Address)
	if err != nil {
		return nil, err
	}
	c := &connection{target: to, responseKey: responseKey, socket: socket, credits: 1}
	c.in = make([]byte, 64*1024)
	if err := c.negotiate(); err != nil {
		socket.Close()
		return nil, fmt.Errorf("negotiate: %w", err)
	}
	return c, nil
}

func (c *connection) close() { c.socket.Close() }

// negotiate agrees on 3.1.1, AES-128-GMAC and AES-128-GCM, or fails.
func (c *connection) negotiate() error {
	var random [48]byte
	rand.Read(random[:])
	request := message(cmdNegotiate, 0, 0, negotiateBody(random[:16], random[16:]))
	response, err := c.exchange(request)
	if err != nil {
		return err
	}
	c.hash.update(request)
	c.hash.update(response)
	if len(response) < 128 {
		return fmt.Errorf("the response has %d bytes", len(response))
	}
	if dialect := le.Uint16(response[68:]); dialect != 0x0311 {
		return fmt.Errorf("dialect 0x%x was chosen", dialect)
	}
	chosen := map[uint16]uint16{}
	at := int(le.Uint32(response[124:]))
	for range int(le.Uint16(response[70:])) {
		if at+8 > len(response) {
			return fmt.Errorf("a negotiate context lies beyond the response")
		}
		kind, length := le.Uint16(response[at:]), int(le.Uint16(response[at+2:]))
		if length >= 4 && at+12 <= len(response) {
			chosen[kind] = le.Uint16(response[at+10:])
		}
		at += 8 + (length+7)/8*8
	}
	if chosen[2] != 2 {
		return fmt.Errorf("AES-128-GCM was not agreed on")
	}
	if chosen[8] != 2 {
		return fmt.Errorf("AES-128-GMAC was not agreed on")
	}
	return nil
}

// logon is a session that is being set up: two SESSION_SETUPs.
type logon struct {
	hash       preauth
	sessionID  uint64
	negotiate  []byte
	sessionKey []byte
}

func (l *logon) first(c *connection) []byte {
	l.hash = c.hash
	l.negotiate = ntlmNegotiate()
	return message(cmdSessionSetup, 0, 0, sessionSetupBody(spnegoInit(l.negotiate)))
}

// second takes the answer to the first request. The hash needs both as they went over the wire.
func (l *logon) second(c *connection, request, response []byte) ([]byte, error) {
	if status := le.Uint32(response[8:]); status != statusMoreProcessing {
		return nil, fmt.Errorf("the first SESSION_SETUP was answered 0x%08x", status)
	}
	l.hash.update(request)
	l.hash.update(response)
	l.sessionID = le.Uint64(response[40:])
	challenge := ntlmIn(response[headerSize:])
	token, key, err := ntlmAuthenticate(c.responseKey, c.target.User, l.negotiate, challenge)
	if err != nil {
		return nil, err
	}
	l.sessionKey = key
	return message(cmdSessionSetup, 0, l.sessionID, sessionSetupBody(spnegoResponse(token, key))), nil
}

// finish takes the answer to the second, which must be signed with the key that both sides have now.
func (l *logon) finish(request, response []byte) (*signer, error) {
	if status := le.Uint32(response[8:]); status != statusSuccess {
		return nil, fmt.Errorf("the second SESSION_SETUP was answered 0x%08x", status)
	}
	l.hash.update(request)
	signs, err := newSigner(deriveKey(l.sessionKey, "SMBSigningKey\x00", l.hash[:]))
	if err != nil {
		return nil, err
	}
	return signs, signs.verify(response)
}

// logOn sets up the connection's session.
func (c *connection) logOn() error {
	var l logon
	request := l.first(c)
	response, err := c.exchange(request)
	if err != nil {
		return err
	}
	if request, err = l.second(c, request, response); err != nil {
		return err
	}
	if response, err = c.exchange(request); err != nil {
		return err
	}
	if c.signer, err = l.finish(request, response); err != nil {
		return err
	}
	c.sessionID = l.sessionID
	c.sealer, err = newSealer(
		deriveKey(l.sessionKey, "SMBC2SCipherKey\x00", l.hash[:]),
		deriveKey(l.sessionKey, "SMBS2CCipherKey\x00", l.hash[:]))
	return err
}

// treeConnect is signed in any case, as 3.1.1 has it (MS-SMB2 3.2.4.2.2).
func (c *connection) treeConnect() error {
	host, _, err := net.SplitHostPort(c.target.Address)
	if err != nil {
		return err
	}
	signs := c.signs
	c.signs = !c.seals
	response, err := c.exchange(message(cmdTreeConnect, 0, c.sessionID, treeConnectBody(`\\`+host+`\`+c.target.Share)))
	c.signs = signs
	if err != nil {
		return err
	}
	if status := le.Uint32(response[8:]); status != statusSuccess {
		return fmt.Errorf("TREE_CONNECT was answered 0x%08x", status)
	}
	c.treeID = le.Uint32(response[36:])
	return nil
}

// collectCredits asks until there are enough for all that will be outstanding.
func (c *connection) collectCredits(wanted int) error {
	for tries := 0; c.credits < wanted; tries++ {
		if tries > 200 {
			return fmt.Errorf("the server grants %d credits of %d", c.credits, wanted)
		}
		if _, err := c.request(message(cmdEcho, 0, c.sessionID, echoBody())); err != nil {
			return err
		}
	}
	return nil
}

// open is CREATE of what exists; returns its FileId.
func (c *connection) open(path string, access, options uint32) ([]byte, error) {
	response, err := c.request(message(cmdCreate, c.treeID, c.sessionID, createBody(path, access, options)))
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	return append([]byte(nil), response[createdFileIDAt:createdFileIDAt+16]...), nil
}

// request is exchange for what must succeed.
func (c *connection) request(packed []byte) ([]byte, error) {
	response, err := c.exchange(packed)
	if err != nil {
		return nil, err
	}
	if status := le.Uint32(response[8:]); status != statusSuccess {
		return nil, fmt.Errorf("command %d was answered 0x%08x", le.Uint16(packed[12:]), status)
	}
	return response, nil
}

// exchange sends one request and waits for its answer, which stays valid until the next. The request is changed: what is
// sent is in it afterwards.
func (c *connection) exchange(packed []byte) ([]byte, error) {
	c.put(packed, 64)
	if err := c.flush(); err != nil {
		return nil, err
	}
	for {
		got, err := c.receive(0)
		if err != nil {
			return nil, err
		}
		if !got.isInterim() {
			return got.message, nil
		}
	}
}

// put numbers a request, protects it and puts its frame into what is sent next. It asks for as many credits as it costs,
// and for some more.
func (c *connection) put(packed []byte, more int) {
	charge := int(max(1, le.Uint16(packed[6:])))
	le.PutUint16(packed[6:], uint16(charge))
	le.PutUint16(packed[14:], uint16(charge+more))
	le.PutUint64(packed[24:], c.messageID)
	c.messageID += uint64(charge)
	c.credits -= charge
	size := len(packed)
	if c.seals {
		size += transformSize
	} else if c.signs {
		c.signer.sign(packed)
	}
	c.out = append(c.out, 0, byte(size>>16), byte(size>>8), byte(size))
	if c.seals {
		c.out = c.sealer.seal(c.out, packed, c.sessionID)
		return
	}
	c.out = append(c.out, packed...)
}

func (c *connection) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.socket.Write(c.out)
	c.out = c.out[:0]
	return err
}

// received is a response, or the beginning of one whose data is not looked at.
type received struct {
	message []byte
	// Of the whole message.
	length int
}

// isInterim: the answer proper comes later (MS-SMB2 3.2.5.1.5).
func (r received) isInterim() bool {
	return le.Uint32(r.message[8:]) == statusPending && r.message[16]&flagAsync != 0
}

// receive takes the next response; what it returns stays valid until the next call. skipsFrom: of a larger response to READ
// that is neither signed nor encrypted only the beginning is kept, the data is read and forgotten; 0: all is kept.
func (c *connection) receive(skipsFrom int) (received, error) {
	if err := c.fill(4 + headerSize); err != nil {
		return received{}, err
	}
	prefix := c.in[c.taken : c.taken+4]
	length := int(prefix[1])<<16 | int(prefix[2])<<8 | int(prefix[3])
	if prefix[0] != 0 || length < headerSize {
		return received{}, fmt.Errorf("a frame begins with %x", prefix)
	}
	isOpen := !c.signs && !c.seals && le.Uint16(c.in[c.taken+4+12:]) == cmdRead
	if isOpen && skipsFrom > 0 && length > skipsFrom {
		return c.receiveBeginning(length)
	}
	if err := c.fill(4 + length); err != nil {
		return received{}, err
	}
	at := c.taken + 4
	c.taken += 4 + length
	frame := c.in[at : at+length]
	if c.seals {
		opened, err := c.sealer.open(frame, c.in[at:])
		if err != nil {
			return received{}, err
		}
		frame = opened
	}
	result := received{message: frame, length: len(frame)}
	c.credits += int(le.Uint16(frame[14:]))
	if c.signs && !c.seals && !result.isInterim() {
		return result, c.signer.verify(frame)
	}
	return result, nil
}

// receiveBeginning keeps a response's header and fixed part.
func (c *connection) receiveBeginning(length int) (received, error) {
	const kept = headerSize + 16
	if err := c.fill(4 + kept); err != nil {
		return received{}, err
	}
	var beginning [kept]byte
	copy(beginning[:], c.in[c.taken+4:])
	c.taken += 4 + kept
	for rest := length - kept; rest > 0; {
		if c.taken == c.filled {
			if err := c.fill(1); err != nil {
				return received{}, err
			}
		}
		some := min(rest, c.filled-c.taken)
		c.taken += some
		rest -= some
	}
	c.credits += int(le.Uint16(beginning[14:]))
	return received{message: beginning[:], length: length}, nil
}

// fill sees that so many bytes are there; reads as many as there are.
func (c *connection) fill(wanted int) error {
	if c.filled-c.taken >= wanted {
		return nil
	}
	// Behind the last byte there must be room for a tag.
	if c.taken+wanted+tagSize > len(c.in) || c.taken == c.filled {
		rest := copy(c.in, c.in[c.taken:c.filled])
		c.taken, c.filled = 0, rest
		if wanted+tagSize > len(c.in) {
			if wanted+tagSize > inRoom {
				return fmt.Errorf("a frame of %d bytes", wanted)
			}
			larger := make([]byte, inRoom)
			copy(larger, c.in[:rest])
			c.in = larger
		}
	}
	for c.filled-c.taken < wanted {
		count, err := c.socket.Read(c.in[c.filled : len(c.in)-tagSize])
		if err != nil {
			if err == io.EOF {
				return fmt.Errorf("the server closed the connection")
			}
			return err
		}
		c.filled += count
	}
	return nil
}

// hasFrame says whether a whole frame waits.
func (c *connection) hasFrame() bool {
	waiting := c.in[c.taken:c.filled]
	return len(waiting) >= 4 && len(waiting)-4 >= int(waiting[1])<<16|int(waiting[2])<<8|int(waiting[3])
}
