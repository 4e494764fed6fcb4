package examination

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"

	"golang.org/x/crypto/chacha20poly1305"
)

// ticket is what a server has to know when the verdicts come.
type ticket struct {
	Ends   int64    `json:"ends"`  // seconds since 1970
	Lease  int64    `json:"lease"` // ms
	Rules  []string `json:"rules"` // of each token
	Stages []string `json:"stages"`
	Expect []string `json:"expect"`
}

// bound is what a ticket belongs to, authenticated with it.
func (e *Examiner) bound(clientID string) []byte {
	return []byte("imara examination v1\x00" + clientID + "\x00" + e.issuer)
}

func (e *Examiner) seal(clientID string, t ticket) (string, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	rand.Read(nonce)
	box := e.aead.Seal(nonce, nonce, text, e.bound(clientID))
	return base64.RawURLEncoding.EncodeToString(box), nil
}

func (e *Examiner) open(clientID, sealed string) (t ticket, err error) {
	box, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(box) < chacha20poly1305.NonceSizeX {
		return ticket{}, ErrTicket
	}
	nonce, box := box[:chacha20poly1305.NonceSizeX], box[chacha20poly1305.NonceSizeX:]
	text, err := e.aead.Open(nil, nonce, box, e.bound(clientID))
	if err != nil {
		return ticket{}, ErrTicket
	}
	return t, json.Unmarshal(text, &t)
}
