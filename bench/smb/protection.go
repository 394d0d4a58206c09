package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

const (
	transformSize = 52
	signatureAt   = 48
	tagSize       = 16
)

// preauth is the running hash of dialect 3.1.1 (MS-SMB2 3.2.5.2, 3.2.5.3).
type preauth [64]byte

func (p *preauth) update(message []byte) {
	hash := sha512.New()
	hash.Write(p[:])
	hash.Write(message)
	hash.Sum(p[:0])
}

// deriveKey is the key derivation of MS-SMB2 3.1.4.2, 128 bits.
func deriveKey(key []byte, label string, context []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte{0, 0, 0, 1})
	mac.Write([]byte(label))
	mac.Write([]byte{0})
	mac.Write(context)
	mac.Write([]byte{0, 0, 0, 128})
	return mac.Sum(nil)[:16]
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// signer signs with AES-128-GMAC (MS-SMB2 3.1.4.1). Not for several goroutines.
type signer struct {
	gcm   cipher.AEAD
	nonce [12]byte
	tag   [tagSize]byte
	saved [tagSize]byte
}

func newSigner(key []byte) (*signer, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return &signer{gcm: gcm}, nil
}

func (s *signer) compute(message []byte) []byte {
	clear(message[signatureAt : signatureAt+tagSize])
	copy(s.nonce[:8], message[24:32])
	var bits uint32
	if message[16]&flagResponse != 0 {
		bits |= 1
	}
	binary.LittleEndian.PutUint32(s.nonce[8:], bits)
	return s.gcm.Seal(s.tag[:0], s.nonce[:], nil, message)
}

func (s *signer) sign(message []byte) {
	message[16] |= flagSigned
	copy(message[signatureAt:], s.compute(message))
}

func (s *signer) verify(message []byte) error {
	if message[16]&flagSigned == 0 {
		return errors.New("a response is not signed")
	}
	copy(s.saved[:], message[signatureAt:])
	if subtle.ConstantTimeCompare(s.compute(message), s.saved[:]) != 1 {
		return errors.New("the signature of a response is wrong")
	}
	return nil
}

// sealer encrypts what is sent and decrypts what is received with AES-128-GCM (MS-SMB2 3.1.4.3). Not for several goroutines.
type sealer struct {
	out, in cipher.AEAD
	sealed  uint64
}

func newSealer(outKey, inKey []byte) (*sealer, error) {
	out, err := newGCM(outKey)
	if err != nil {
		return nil, err
	}
	in, err := newGCM(inKey)
	if err != nil {
		return nil, err
	}
	return &sealer{out: out, in: in}, nil
}

// seal appends the transform header and the encrypted message to out.
func (s *sealer) seal(out, message []byte, sessionID uint64) []byte {
	s.sealed++
	var head [transformSize]byte
	copy(head[:], "\xfdSMB")
	binary.LittleEndian.PutUint64(head[20:], s.sealed)
	binary.LittleEndian.PutUint32(head[36:], uint32(len(message)))
	head[42] = 1
	binary.LittleEndian.PutUint64(head[44:], sessionID)
	at := len(out)
	out = append(out, head[:]...)
	out = s.out.Seal(out, head[20:32], message, head[20:])
	end := len(out) - tagSize
	copy(out[at+4:], out[end:])
	return out[:end]
}

// open decrypts a frame where it lies. The frame must have room for a tag behind it: room is the same bytes and at least 16 more.
func (s *sealer) open(frame, room []byte) ([]byte, error) {
	if len(frame) < transformSize+headerSize || string(frame[:4]) != "\xfdSMB" {
		return nil, errors.New("a response is not encrypted")
	}
	var kept [tagSize]byte
	end := len(frame)
	copy(kept[:], room[end:end+tagSize])
	copy(room[end:end+tagSize], frame[4:20])
	message, err := s.in.Open(frame[transformSize:transformSize], frame[20:32], room[transformSize:end+tagSize], frame[20:transformSize])
	copy(room[end:end+tagSize], kept[:])
	return message, err
}
