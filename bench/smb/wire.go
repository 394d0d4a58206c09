package main

import "encoding/binary"

var le = binary.LittleEndian

const (
	headerSize   = 64
	flagResponse = 0x1
	flagAsync    = 0x2
	flagSigned   = 0x8
)

// Commands (MS-SMB2 2.2.1.2).
const (
	cmdNegotiate      = 0
	cmdSessionSetup   = 1
	cmdLogoff         = 2
	cmdTreeConnect    = 3
	cmdCreate         = 5
	cmdClose          = 6
	cmdRead           = 8
	cmdWrite          = 9
	cmdEcho           = 13
	cmdQueryDirectory = 14
)

// Statuses that are not failures here.
const (
	statusSuccess        = 0
	statusPending        = 0x00000103
	statusNoMoreFiles    = 0x80000006
	statusNotFound       = 0xc0000034
	statusMoreProcessing = 0xc0000016
)

// Where fields are in a message, from its header on.
const (
	readOffsetAt        = 64 + 8
	readDataLengthAt    = 64 + 4
	writeOffsetAt       = 64 + 8
	writeDataAt         = 64 + 48
	writeCountAt        = 64 + 4
	createNameAt        = 64 + 56
	createdFileIDAt     = 64 + 64
	closeFileIDAt       = 64 + 8
	queryFlagsAt        = 64 + 3
	queryOutputLengthAt = 64 + 4
)

// message packs a request: its header (without what changes from one sending to the next) and its body.
func message(command uint16, treeID uint32, sessionID uint64, body []byte) []byte {
	packed := make([]byte, headerSize+len(body))
	copy(packed, "\xfeSMB")
	le.PutUint16(packed[4:], headerSize)
	le.PutUint16(packed[12:], command)
	le.PutUint32(packed[36:], treeID)
	le.PutUint64(packed[40:], sessionID)
	copy(packed[headerSize:], body)
	return packed
}

func negotiateBody(guid, salt []byte) []byte {
	body := make([]byte, 40)
	le.PutUint16(body, 36)
	le.PutUint16(body[2:], 1) // dialects
	le.PutUint16(body[4:], 1) // signing is enabled
	le.PutUint32(body[8:], 0x4|0x40)
	copy(body[12:28], guid)
	le.PutUint32(body[28:], headerSize+40)
	le.PutUint16(body[32:], 3)
	le.PutUint16(body[36:], 0x0311)
	context := func(kind uint16, data []byte) {
		for len(body)%8 != 0 {
			body = append(body, 0)
		}
		body = le.AppendUint16(body, kind)
		body = le.AppendUint16(body, uint16(len(data)))
		body = append(body, 0, 0, 0, 0)
		body = append(body, data...)
	}
	hashes := append([]byte{1, 0, byte(len(salt)), 0, 1, 0}, salt...)
	context(1, hashes)             // SHA-512
	context(2, []byte{1, 0, 2, 0}) // AES-128-GCM
	context(8, []byte{1, 0, 2, 0}) // AES-128-GMAC
	return body
}

func sessionSetupBody(token []byte) []byte {
	body := make([]byte, 24, 24+len(token))
	le.PutUint16(body, 25)
	body[3] = 1 // signing is enabled
	le.PutUint16(body[12:], headerSize+24)
	le.PutUint16(body[14:], uint16(len(token)))
	return append(body, token...)
}

func treeConnectBody(path string) []byte {
	name := utf16le(path)
	body := make([]byte, 8, 8+len(name))
	le.PutUint16(body, 9)
	le.PutUint16(body[4:], headerSize+8)
	le.PutUint16(body[6:], uint16(len(name)))
	return append(body, name...)
}

// Access masks and options of CREATE that are used.
const (
	accessReadWrite      = 0x0012019f
	accessReadAttributes = 0x00000080
	accessDelete         = 0x00010000
	accessList           = 0x00100081
	optionDirectory      = 0x1
	optionFile           = 0x40
	optionDeleteOnClose  = 0x1000
)

// createBody opens what exists (FILE_OPEN), shared in every way, without oplock or contexts.
func createBody(path string, access, options uint32) []byte {
	name := utf16le(path)
	body := make([]byte, 56, 57+len(name))
	le.PutUint16(body, 57)
	le.PutUint32(body[4:], 2) // impersonation
	le.PutUint32(body[24:], access)
	le.PutUint32(body[32:], 7)
	le.PutUint32(body[36:], 1)
	le.PutUint32(body[40:], options)
	le.PutUint16(body[44:], createNameAt)
	le.PutUint16(body[46:], uint16(len(name)))
	if len(name) == 0 {
		return append(body, 0)
	}
	return append(body, name...)
}

// createNewBody makes a file (FILE_CREATE) that is deleted when it is closed.
func createNewBody(path string) []byte {
	body := createBody(path, accessReadWrite|accessDelete, optionFile|optionDeleteOnClose)
	le.PutUint32(body[36:], 2)
	return body
}

func closeBody() []byte {
	body := make([]byte, 24)
	le.PutUint16(body, 24)
	return body
}

func readBody(fileID []byte, length int) []byte {
	body := make([]byte, 49)
	le.PutUint16(body, 49)
	body[2] = headerSize + 16
	le.PutUint32(body[4:], uint32(length))
	copy(body[16:32], fileID)
	return body
}

func writeBody(fileID, data []byte) []byte {
	body := make([]byte, 48, 48+len(data))
	le.PutUint16(body, 49)
	le.PutUint16(body[2:], writeDataAt)
	le.PutUint32(body[4:], uint32(len(data)))
	copy(body[16:32], fileID)
	return append(body, data...)
}

func echoBody() []byte { return []byte{4, 0, 0, 0} }

// queryDirectoryBody asks for FileIdBothDirectoryInformation of every name.
func queryDirectoryBody(fileID []byte, outputLength int) []byte {
	body := make([]byte, 32, 34)
	le.PutUint16(body, 33)
	body[2] = 37
	copy(body[8:24], fileID)
	le.PutUint16(body[24:], headerSize+32)
	le.PutUint16(body[26:], 2)
	le.PutUint32(body[28:], uint32(outputLength))
	return append(body, '*', 0)
}
