package signing

import (
	"crypto"
	"crypto/cipher"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// Sealed is a signing key as it is stored.
type Sealed struct {
	ID        string    // kid
	Issuer    string    // whose key it is
	Algorithm string    // ES256, RS256 or EdDSA
	Replaces  string    // kid of the newest key before it; empty for the first
	CreatedAt time.Time // published from then on
	ActiveAt  time.Time // signs from then on, until a newer one does; [Never] at first
	Box       []byte    // nonce (24 bytes) and the sealed PKCS #8 key
	// Withdrawn is the position of the terminal cut of its tokens, 0 while there is
	// none. The revocation log says it, and nothing else: it is read, never written.
	Withdrawn uint64
}

// Never is when a key becomes active that waits to be the next one.
var Never = time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC)

// ErrUnseal: a stored key was sealed for another issuer or under another
// key-encryption key, or was changed.
var ErrUnseal = errors.New("the key-encryption key does not open it")

// ErrIssuer: a stored key is another issuer's.
var ErrIssuer = errors.New("another issuer's signing key")

// sealer seals the keys of one issuer.
type sealer struct {
	issuer string
	aead   cipher.AEAD
}

// newSealer takes a key-encryption key of 32 bytes.
func newSealer(kek []byte, issuer string) (sealer, error) {
	aead, err := chacha20poly1305.NewX(kek)
	return sealer{issuer, aead}, err
}

func (s sealer) seal(id, algorithm string, private crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, der, s.bound(id, algorithm)), nil
}

// open returns a key that can sign, unless it was withdrawn: then nobody needs it.
func (s sealer) open(stored Sealed) (*key, error) {
	if stored.Withdrawn != 0 {
		return &key{Sealed: stored}, nil
	}
	if stored.Issuer != s.issuer {
		return nil, fmt.Errorf("%w: %s belongs to %s, and this is %s", ErrIssuer, stored.ID, stored.Issuer, s.issuer)
	}
	if len(stored.Box) < chacha20poly1305.NonceSizeX {
		return nil, fmt.Errorf("signing key %s: %w", stored.ID, ErrUnseal)
	}
	nonce, box := stored.Box[:chacha20poly1305.NonceSizeX], stored.Box[chacha20poly1305.NonceSizeX:]
	der, err := s.aead.Open(nil, nonce, box, s.bound(stored.ID, stored.Algorithm))
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", stored.ID, ErrUnseal)
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", stored.ID, err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("signing key %s: %T does not sign", stored.ID, private)
	}
	return newKey(stored, signer)
}

// bound is what a sealed key belongs to, authenticated with it.
func (s sealer) bound(id, algorithm string) []byte {
	return []byte("imara signing key v1\x00" + id + "\x00" + algorithm + "\x00" + s.issuer)
}
