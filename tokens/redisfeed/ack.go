package redisfeed

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
)

// An acknowledgement over Redis is of a position and the head there, under a key that only
// the session and the servers have: whoever else may write there can take it away, or say
// again what was said, and both change nothing that counts.

// AckKey is the key of a session's acknowledgements, from a secret of the servers. Every
// server can compute it, and none stores it.
func AckKey(secret []byte, session string) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, nil, "acknowledgement v1 "+session, sha256.Size)
}

// ackField is the field of a session's acknowledgement, beside its slot.
func ackField(session string) string { return session + ":a" }

// sealAck writes an acknowledgement: <position>:<head>:<HMAC-SHA-256, Base64URL>.
func sealAck(key []byte, session string, position, head uint64) string {
	text := decimal(position) + ":" + decimal(head)
	return text + ":" + base64.RawURLEncoding.EncodeToString(ackMAC(key, session, text))
}

func ackMAC(key []byte, session, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(session + " " + text))
	return mac.Sum(nil)
}

// openAck reads an acknowledgement; false for one that the session did not make.
func openAck(key []byte, session, sealed string) (position, head uint64, ok bool) {
	end := strings.LastIndexByte(sealed, ':')
	if end < 0 {
		return 0, 0, false
	}
	text := sealed[:end]
	mac, err := base64.RawURLEncoding.DecodeString(sealed[end+1:])
	if err != nil || !hmac.Equal(mac, ackMAC(key, session, text)) {
		return 0, 0, false
	}
	at, of, _ := strings.Cut(text, ":")
	position, errPosition := strconv.ParseUint(at, 10, 63)
	head, errHead := strconv.ParseUint(of, 10, 63)
	return position, head, errPosition == nil && errHead == nil
}
