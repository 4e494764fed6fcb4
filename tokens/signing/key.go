package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/imara/apikeys/tokens"
)

// key is an opened signing key, or a withdrawn one, which stays sealed, or one that
// cannot be opened.
type key struct {
	Sealed
	closed  error // why it cannot be opened
	public  tokens.Key
	private crypto.Signer
	until   time.Time // published until then; zero while no newer key signs
	header  string    // of every token it signs, encoded
}

// usable tells whether k was opened, and not withdrawn.
func (k *key) usable() bool { return k.Withdrawn == 0 && k.closed == nil }

// known tells whether keys of an algorithm can be made.
func known(algorithm string) bool {
	return algorithm == tokens.ES256 || algorithm == tokens.RS256 || algorithm == tokens.EdDSA
}

// active tells whether k has begun to sign; a newer key may have taken over since.
func (k *key) active(now time.Time) bool { return !k.ActiveAt.After(now) }

// published tells whether a token of k may still have to be verified, or soon.
func (k *key) published(now time.Time) bool {
	return k.usable() && (k.until.IsZero() || now.Before(k.until))
}

// generate makes a private key: P-256, RSA 2048 (longer ones leave the fast
// path of crypto/rsa and verify six times slower) or Ed25519.
func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case tokens.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case tokens.RS256:
		return rsa.GenerateKey(rand.Reader, 2048)
	case tokens.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("signing algorithm %q: use one of %s",
		algorithm, strings.Join(tokens.Algorithms(), ", "))
}

func newKey(stored Sealed, private crypto.Signer) (*key, error) {
	k := &key{Sealed: stored, private: private}
	k.public = tokens.Key{Algorithm: stored.Algorithm, Public: private.Public()}
	header, err := json.Marshal(struct {
		Type      string `json:"typ"`
		Algorithm string `json:"alg"`
		ID        string `json:"kid"`
	}{tokens.Type, k.Algorithm, k.ID})
	k.header = base64.RawURLEncoding.EncodeToString(header)
	return k, err
}

// sign returns the compact JWS of payload (RFC 7515 §7.1). ES256 signatures are
// deterministic (RFC 6979): they need no randomness, and are a fifth faster.
func (k *key) sign(payload []byte) (string, error) {
	encoding := base64.RawURLEncoding
	out := make([]byte, 0, len(k.header)+1+encoding.EncodedLen(len(payload))+1+encoding.EncodedLen(256))
	out = append(append(out, k.header...), '.')
	out = encoding.AppendEncode(out, payload)
	signature, err := k.signature(out)
	if err != nil {
		return "", fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	return string(encoding.AppendEncode(append(out, '.'), signature)), nil
}

func (k *key) signature(input []byte) ([]byte, error) {
	if k.public.Algorithm == tokens.EdDSA {
		return k.private.Sign(nil, input, crypto.Hash(0))
	}
	digest := sha256.Sum256(input)
	if k.public.Algorithm == tokens.RS256 {
		return k.private.Sign(rand.Reader, digest[:], crypto.SHA256)
	}
	der, err := k.private.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	// RFC 7518 §3.4 wants R and S, 32 bytes each, instead of DER.
	var pair cryptobyte.String
	var r, s []byte
	if outer := cryptobyte.String(der); !outer.ReadASN1(&pair, asn1.SEQUENCE) ||
		!pair.ReadASN1Integer(&r) || !pair.ReadASN1Integer(&s) {
		return nil, fmt.Errorf("unexpected form of an ECDSA signature")
	}
	signature := make([]byte, 64)
	copy(signature[32-len(r):32], r)
	copy(signature[64-len(s):], s)
	return signature, nil
}

// LogValue keeps private keys out of logs.
func (k *key) LogValue() slog.Value { return slog.StringValue(k.ID) }
