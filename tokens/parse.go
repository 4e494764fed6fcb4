package tokens

import (
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// A header is the JOSE header of a token (RFC 7515 §4).
type header struct {
	encoded   string // how the token has it
	typ, kid  string
	algorithm string
	needless  string // a member that an access token must not have
}

var headerFields = append([]field[header]{
	{"typ", func(h *header, v []byte) error { return readText(v, &h.typ) }},
	{"alg", func(h *header, v []byte) error { return readText(v, &h.algorithm) }},
	{"kid", func(h *header, v []byte) error { return readText(v, &h.kid) }},
}, needless("crit", "b64", "jku", "jwk", "x5u", "x5c", "cty", "zip", "enc", "p2c")...)

// needless are members that offer a key, or change what the signature or the text means.
func needless(names ...string) []field[header] {
	var fields []field[header]
	for _, name := range names {
		fields = append(fields, field[header]{name, func(h *header, _ []byte) error {
			h.needless = name
			return nil
		}})
	}
	return fields
}

// methods verify signatures, by the alg of a header. Only this is golang-jwt's: it checks
// neither typ nor crit, matches claims in any case, and takes a token in many spellings.
var methods = map[string]jwt.SigningMethod{
	ES256: jwt.SigningMethodES256, RS256: jwt.SigningMethodRS256,
	EdDSA: jwt.SigningMethodEdDSA, ed25519Name: jwt.SigningMethodEdDSA,
}

// parse checks header, signature and the presence of every claim.
func (v *Verifier) parse(raw string) (verified, error) {
	signed := raw[:strings.LastIndexByte(raw, '.')]
	encoded, payload, _ := strings.Cut(signed, ".")
	h, err := v.knownHeader(encoded)
	if err != nil {
		return verified{}, err
	}
	key, err := v.signer(h)
	if err != nil {
		return verified{}, err
	}
	claims, errClaims := unb64(payload, 0)
	signature, errSignature := unb64(raw[len(signed)+1:], 0)
	if errClaims != nil || errSignature != nil {
		return verified{}, ErrMalformed
	}
	if err := methods[h.algorithm].Verify(signed, signature, key.Public); err != nil {
		return verified{}, ErrSignature
	}
	if v.header.Load() != h {
		v.header.Store(h)
	}
	token := verified{new(Claims), h.kid}
	if err := readObject(claims, token.claims, claimFields); err != nil {
		return verified{}, err
	}
	return token, token.claims.complete()
}

// knownHeader returns a header that an access token may have.
func (v *Verifier) knownHeader(encoded string) (*header, error) {
	if known := v.header.Load(); known != nil && known.encoded == encoded {
		return known, nil
	}
	decoded, err := unb64(encoded, 0)
	if err != nil {
		return nil, ErrMalformed
	}
	h := &header{encoded: strings.Clone(encoded)}
	if err := readObject(decoded, h, headerFields); err != nil {
		return nil, err
	}
	switch {
	case !strings.EqualFold(h.typ, Type) && !strings.EqualFold(h.typ, "application/"+Type):
		return nil, fmt.Errorf("%w: typ is not %s", ErrMalformed, Type)
	case h.needless != "":
		return nil, fmt.Errorf("%w: header %s", ErrMalformed, h.needless)
	case methods[h.algorithm] == nil:
		return nil, fmt.Errorf("%w: alg", ErrMalformed)
	case !validKID(h.kid):
		return nil, ErrUnknownKey
	}
	return h, nil
}

// signer finds the key that the header names. A key has one algorithm, and is used with
// no other.
func (v *Verifier) signer(h *header) (Key, error) {
	key, err := v.keys.Key(h.kid)
	if err == nil && canonical(key.Algorithm) != canonical(h.algorithm) {
		err = ErrUnknownKey
	}
	return key, err
}
