package tokens

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// The signature algorithms of access tokens (RFC 7518 §3.1, RFC 8037 §3.1).
// ES256 is the default; RS256 is for consumers that know nothing else, with
// keys of 2048 bits or more; EdDSA means Ed25519, and verifiers know it by that name of
// RFC 9864 too.
const (
	ES256 = "ES256"
	RS256 = "RS256"
	EdDSA = "EdDSA"

	ed25519Name = "Ed25519"
)

// canonical is the one name of an algorithm that has two.
func canonical(algorithm string) string {
	if algorithm == ed25519Name {
		return EdDSA
	}
	return algorithm
}

// A Key verifies signatures of exactly one algorithm.
type Key struct {
	Algorithm string
	Public    crypto.PublicKey // *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey
}

// A JWK is a public signing key as RFC 7517 writes it. It has no private member.
type JWK struct {
	KeyType   string `json:"kty"`
	Use       string `json:"use,omitempty"`
	Algorithm string `json:"alg,omitempty"`
	ID        string `json:"kid"`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	N         string `json:"n,omitempty"`
	E         string `json:"e,omitempty"`
}

// A JWKSet is the JWK Set document (RFC 7517 §5).
type JWKSet struct {
	Keys []JWK `json:"keys"`
}

// NewJWK describes key for publication under kid.
func NewJWK(kid string, key Key) (JWK, error) {
	j := JWK{Use: "sig", Algorithm: key.Algorithm, ID: kid}
	switch pub := key.Public.(type) {
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			return JWK{}, fmt.Errorf("signing key %s: %w", kid, err)
		}
		j.KeyType, j.Curve = "EC", "P-256"
		j.X, j.Y = b64(point[1:33]), b64(point[33:])
	case *rsa.PublicKey:
		j.KeyType = "RSA"
		j.N, j.E = b64(pub.N.Bytes()), b64(big.NewInt(int64(pub.E)).Bytes())
	case ed25519.PublicKey:
		j.KeyType, j.Curve, j.X = "OKP", "Ed25519", b64(pub)
	default:
		return JWK{}, fmt.Errorf("signing key %s: no JWK for a %T", kid, key.Public)
	}
	return j, nil
}

// Key returns the public key, or an error that names the member at fault: the
// algorithm must be the one that fits the key type, RSA keys have 2048 bits or
// more and an odd exponent above 1, points lie on their curve.
func (j JWK) Key() (Key, error) {
	fail := func(member string) (Key, error) {
		return Key{}, fmt.Errorf("JWK %.64q: bad %s", j.ID, member)
	}
	switch {
	case j.KeyType == "EC" && j.Curve == "P-256" && j.Algorithm == ES256:
		x, errX := unb64(j.X, 32)
		y, errY := unb64(j.Y, 32)
		if errX != nil || errY != nil {
			return fail("x or y")
		}
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
		if err != nil {
			return fail("x or y")
		}
		return Key{ES256, pub}, nil
	case j.KeyType == "RSA" && j.Algorithm == RS256:
		n, errN := unb64(j.N, 0)
		e, errE := unb64(j.E, 0)
		if errN != nil || errE != nil || len(e) > 4 {
			return fail("n or e")
		}
		pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		if pub.N.BitLen() < 2048 || pub.N.BitLen() > 8192 || pub.E < 3 || pub.E%2 == 0 {
			return fail("n or e")
		}
		return Key{RS256, pub}, nil
	case j.KeyType == "OKP" && j.Curve == "Ed25519" && canonical(j.Algorithm) == EdDSA:
		x, err := unb64(j.X, ed25519.PublicKeySize)
		if err != nil {
			return fail("x")
		}
		return Key{EdDSA, ed25519.PublicKey(x)}, nil
	}
	return fail("kty, crv or alg")
}

// parseJWKSet returns the usable signing keys of a JWK Set by kid. Members that
// are not for signing, or of a type or algorithm it does not know, are passed
// over (RFC 7517 §5); a broken key of a known type, a kid that repeats or a set
// without any usable key is an error.
func parseJWKSet(data []byte) (map[string]Key, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("JWK Set: %w", err)
	}
	keys := make(map[string]Key)
	for _, raw := range set.Keys {
		var j JWK
		if json.Unmarshal(raw, &j) != nil || !j.ours() {
			continue
		}
		key, err := j.Key()
		if err != nil {
			return nil, err
		}
		if _, repeated := keys[j.ID]; repeated {
			return nil, fmt.Errorf("JWK Set: kid %q repeats", j.ID)
		}
		keys[j.ID] = key
	}
	if len(keys) == 0 {
		return nil, errors.New("JWK Set: no usable signing key")
	}
	return keys, nil
}

// ours tells whether j claims to be a signing key of an algorithm we verify.
func (j JWK) ours() bool {
	return methods[j.Algorithm] != nil && (j.Use == "" || j.Use == "sig") && validKID(j.ID)
}

// validKID accepts 1 to 64 of [A-Za-z0-9_-]: a kid is only ever a map key.
func validKID(kid string) bool {
	if len(kid) == 0 || len(kid) > 64 {
		return false
	}
	for i := range len(kid) {
		if !urlSafe(kid[i]) {
			return false
		}
	}
	return true
}

// urlSafe is the base64url alphabet (RFC 4648 §5).
func urlSafe(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// unb64 decodes strictly; a size above 0 is required exactly.
func unb64(s string, size int) ([]byte, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err == nil && (len(data) == 0 || size > 0 && len(data) != size) {
		err = fmt.Errorf("%d bytes", len(data))
	}
	return data, err
}
