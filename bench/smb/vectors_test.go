package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// vectors are what Holdfast's own implementation gives; test/integration/bench-smb.test.ts sees that it still does.
var vectors struct {
	Key, Request, SignedRequest, SignedResponse, SealedRequest string
	SessionKey, PreauthHash                                    string
	SigningKey, ClientToServerKey, ServerToClientKey           string
	User, Password, ResponseKey, MechListMIC                   string
}

func TestMain(m *testing.M) {
	text, err := os.ReadFile("vectors.json")
	if err == nil {
		err = json.Unmarshal(text, &vectors)
	}
	if err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	decoded, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

func same(t *testing.T, got []byte, want string) {
	t.Helper()
	if hex.EncodeToString(got) != want {
		t.Errorf("got %x, want %s", got, want)
	}
}

// RFC 1320, A.5.
func TestMD4(t *testing.T) {
	for message, want := range map[string]string{
		"":    "31d6cfe0d16ae931b73c59d7e0c089c0",
		"a":   "bde52cb31de33e46245e05fbdbd6fb24",
		"abc": "a448017aaf21d8525fc10ae87aa6729d",
		"12345678901234567890123456789012345678901234567890123456789012345678901234567890": "e33b4ddc9c38f2199c3e7b164fcc0536",
	} {
		digest := md4([]byte(message))
		same(t, digest[:], want)
	}
}

func TestNTLM(t *testing.T) {
	same(t, responseKeyNTLMv2(vectors.User, vectors.Password), vectors.ResponseKey)
	same(t, ntlmMIC(unhex(t, vectors.SessionKey), mechTypes), vectors.MechListMIC)
}

func TestDerivedKeys(t *testing.T) {
	key, hash := unhex(t, vectors.SessionKey), unhex(t, vectors.PreauthHash)
	same(t, deriveKey(key, "SMBSigningKey\x00", hash), vectors.SigningKey)
	same(t, deriveKey(key, "SMBC2SCipherKey\x00", hash), vectors.ClientToServerKey)
	same(t, deriveKey(key, "SMBS2CCipherKey\x00", hash), vectors.ServerToClientKey)
}

func TestSigning(t *testing.T) {
	signs, err := newSigner(unhex(t, vectors.Key))
	if err != nil {
		t.Fatal(err)
	}
	request := unhex(t, vectors.Request)
	signs.sign(request)
	same(t, request, vectors.SignedRequest)
	if err := signs.verify(unhex(t, vectors.SignedResponse)); err != nil {
		t.Error(err)
	}
	wrong := unhex(t, vectors.SignedResponse)
	wrong[len(wrong)-1] ^= 1
	if signs.verify(wrong) == nil {
		t.Error("a wrong signature was taken")
	}
}

func TestEncryption(t *testing.T) {
	key := unhex(t, vectors.Key)
	seals, err := newSealer(key, key)
	if err != nil {
		t.Fatal(err)
	}
	request := unhex(t, vectors.Request)
	// What was sealed elsewhere, and here; what lies behind the frame must stay as it is.
	for _, sealed := range [][]byte{unhex(t, vectors.SealedRequest), seals.seal(nil, request, 9)} {
		behind := bytes.Repeat([]byte{0xee}, 2*tagSize)
		room := append(append([]byte(nil), sealed...), behind...)
		opened, err := seals.open(room[:len(sealed)], room)
		if err != nil || !bytes.Equal(opened, request) {
			t.Errorf("opened %x, %v", opened, err)
		}
		if !bytes.Equal(room[len(sealed):], behind) {
			t.Error("what lies behind the frame was changed")
		}
		room[len(sealed)-1] ^= 1
		if _, err := seals.open(append([]byte(nil), sealed[:60]...), room); err == nil {
			t.Error("a message without its end was opened")
		}
	}
}
