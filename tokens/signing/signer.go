package signing

import (
	"crypto"
	"encoding/base64"

	"github.com/imara/apikeys/tokens"
)

// A Signer signs under a key that is in no ring and is never stored: what it signs is
// for examinations and test vectors, and is good nowhere.
type Signer struct{ key *key }

// NewSigner makes a key for one algorithm.
func NewSigner(kid, algorithm string) (*Signer, error) {
	private, err := generate(algorithm)
	if err != nil {
		return nil, err
	}
	return SignerOf(kid, algorithm, private)
}

// SignerOf uses a key that is there. It must fit the algorithm.
func SignerOf(kid, algorithm string, private crypto.Signer) (*Signer, error) {
	k, err := newKey(Sealed{ID: kid, Algorithm: algorithm}, private)
	return &Signer{k}, err
}

// JWK is the public key.
func (s *Signer) JWK() (tokens.JWK, error) { return tokens.NewJWK(s.key.ID, s.key.public) }

// JWS returns the compact JWS of a payload under a header, both as they are given.
func (s *Signer) JWS(header, payload []byte) (string, error) {
	signer := *s.key
	signer.header = base64.RawURLEncoding.EncodeToString(header)
	return signer.sign(payload)
}
