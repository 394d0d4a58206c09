package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rc4"
	"encoding/binary"
	"errors"
	"strings"
	"time"
	"unicode/utf16"
)

// Flags of NTLM's messages (MS-NLMP 2.2.2.5): Unicode, request target, sign, NTLM, always sign, extended session security,
// 128 bits, key exchange, 56 bits.
const ntlmFlags = 0x1 | 0x4 | 0x10 | 0x200 | 0x8000 | 0x80000 | 0x20000000 | 0x40000000 | 0x80000000

// Ids of AV_PAIRs (MS-NLMP 2.2.2.1).
const (
	avFlags     = 6
	avTimestamp = 7
	// In MsvAvFlags: the AUTHENTICATE message has a MIC.
	avMicPresent = 2
)

var ntlmSignature = []byte("NTLMSSP\x00")

func utf16le(text string) []byte {
	var encoded []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		encoded = binary.LittleEndian.AppendUint16(encoded, unit)
	}
	return encoded
}

func hmacMD5(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(md5.New, key)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// responseKeyNTLMv2 is NTOWFv2 with an empty domain (MS-NLMP 3.3.2).
func responseKeyNTLMv2(user, password string) []byte {
	hash := md4(utf16le(password))
	return hmacMD5(hash[:], utf16le(strings.ToUpper(user)))
}

func ntlmNegotiate() []byte {
	message := make([]byte, 32)
	copy(message, ntlmSignature)
	binary.LittleEndian.PutUint32(message[8:], 1)
	binary.LittleEndian.PutUint32(message[12:], ntlmFlags)
	return message
}

// ntlmAuthenticate answers a CHALLENGE message with NTLMv2 and a MIC (MS-NLMP 3.1.5.1.2); returns the message and the
// exported session key.
func ntlmAuthenticate(responseKey []byte, user string, negotiate, challenge []byte) (message, sessionKey []byte, err error) {
	if len(challenge) < 48 || binary.LittleEndian.Uint32(challenge[8:]) != 2 {
		return nil, nil, errors.New("the answer to NTLM's NEGOTIATE is no CHALLENGE")
	}
	infoLength := int(binary.LittleEndian.Uint16(challenge[40:]))
	infoAt := int(binary.LittleEndian.Uint32(challenge[44:]))
	if infoAt+infoLength > len(challenge) {
		return nil, nil, errors.New("the target information of NTLM's CHALLENGE lies beyond its end")
	}
	timestamp, pairs := ntlmPairs(challenge[infoAt : infoAt+infoLength])
	var random [24]byte
	rand.Read(random[:])
	blob := append([]byte{1, 1, 0, 0, 0, 0, 0, 0}, timestamp...)
	blob = append(blob, random[:8]...)
	blob = append(blob, 0, 0, 0, 0)
	blob = append(blob, pairs...)
	blob = append(blob, 0, 0, 0, 0)
	proof := hmacMD5(responseKey, challenge[24:32], blob)
	exchange, err := rc4.NewCipher(hmacMD5(responseKey, proof))
	if err != nil {
		return nil, nil, err
	}
	sessionKey = random[8:]
	encrypted := make([]byte, 16)
	exchange.XORKeyStream(encrypted, sessionKey)

	message = make([]byte, 88)
	copy(message, ntlmSignature)
	binary.LittleEndian.PutUint32(message[8:], 3)
	field := func(at int, value []byte) {
		binary.LittleEndian.PutUint16(message[at:], uint16(len(value)))
		binary.LittleEndian.PutUint16(message[at+2:], uint16(len(value)))
		binary.LittleEndian.PutUint32(message[at+4:], uint32(len(message)))
		message = append(message, value...)
	}
	field(12, make([]byte, 24))
	field(20, append(proof, blob...))
	field(28, nil)
	field(36, utf16le(user))
	field(44, nil)
	field(52, encrypted)
	binary.LittleEndian.PutUint32(message[60:], ntlmFlags&binary.LittleEndian.Uint32(challenge[20:])|0x40000000)
	copy(message[72:], hmacMD5(sessionKey, negotiate, challenge, message))
	return message, sessionKey, nil
}

// ntlmPairs takes the server's AV_PAIRs: its timestamp, or the time here where it has none, and the pairs with MsvAvFlags
// in front of them, without those that replaces.
func ntlmPairs(info []byte) (timestamp, pairs []byte) {
	now := uint64(time.Now().UnixNano()/100 + 116444736000000000)
	timestamp = binary.LittleEndian.AppendUint64(nil, now)
	pairs = []byte{avFlags, 0, 4, 0, avMicPresent, 0, 0, 0}
	for len(info) >= 4 {
		id, length := binary.LittleEndian.Uint16(info), int(binary.LittleEndian.Uint16(info[2:]))
		if id == 0 || 4+length > len(info) {
			break
		}
		if id == avTimestamp && length == 8 {
			timestamp = info[4:12]
		}
		if id != avFlags {
			pairs = append(pairs, info[:4+length]...)
		}
		info = info[4+length:]
	}
	return timestamp, append(pairs, 0, 0, 0, 0)
}

func der(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	length := len(content)
	switch {
	case length < 0x80:
		return append([]byte{tag, byte(length)}, content...)
	case length < 0x100:
		return append([]byte{tag, 0x81, byte(length)}, content...)
	default:
		return append([]byte{tag, 0x82, byte(length >> 8), byte(length)}, content...)
	}
}

var (
	oidSPNEGO = []byte{0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02}
	oidNTLM   = []byte{0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a}
	mechTypes = der(0x30, oidNTLM)
)

// spnegoInit offers NTLM alone (RFC 4178 4.2.1).
func spnegoInit(token []byte) []byte {
	return der(0x60, oidSPNEGO, der(0xa0, der(0x30, der(0xa0, mechTypes), der(0xa2, der(0x04, token)))))
}

// spnegoResponse goes with the AUTHENTICATE message; the MIC proves the list of mechanisms (RFC 4178 5).
func spnegoResponse(token, sessionKey []byte) []byte {
	return der(0xa1, der(0x30, der(0xa2, der(0x04, token)), der(0xa3, der(0x04, ntlmMIC(sessionKey, mechTypes)))))
}

// ntlmMIC is GSS_GetMIC of a client's first message, with extended session security and key exchange (MS-NLMP 3.4.4.2).
func ntlmMIC(sessionKey, message []byte) []byte {
	key := func(magic string) []byte {
		hash := md5.Sum(append(append([]byte(nil), sessionKey...), magic...))
		return hash[:]
	}
	var sequence [4]byte
	signing := key("session key to client-to-server signing key magic constant\x00")
	checksum := hmacMD5(signing, sequence[:], message)[:8]
	if seal, err := rc4.NewCipher(key("session key to client-to-server sealing key magic constant\x00")); err == nil {
		seal.XORKeyStream(checksum, checksum)
	}
	return append(append([]byte{1, 0, 0, 0}, checksum...), sequence[:]...)
}

// ntlmIn finds the NTLM message within a SPNEGO token: it is the last field of what servers send here.
func ntlmIn(token []byte) []byte {
	at := bytes.Index(token, ntlmSignature)
	if at < 0 {
		return nil
	}
	return token[at:]
}
