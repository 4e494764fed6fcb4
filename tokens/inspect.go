package tokens

import "strings"

// Unverified is what a token says of itself. Nobody has checked it.
type Unverified struct {
	Header struct {
		Type      string `json:"typ"`
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	Claims Claims
}

// Inspect decodes a token without verifying anything, for tools and for people
// who debug. It returns [ErrMalformed] for what is not one of our tokens, [ErrSecret] for
// what is exchanged for one.
func Inspect(raw string) (Unverified, error) {
	var u Unverified
	if !compact(raw) {
		return u, malformed(raw)
	}
	parts := strings.Split(raw, ".")
	text, errHeader := unb64(parts[0], 0)
	claims, errClaims := unb64(parts[1], 0)
	var h header
	if errHeader != nil || errClaims != nil || readObject(text, &h, headerFields) != nil ||
		u.Claims.UnmarshalJSON(claims) != nil {
		return Unverified{}, ErrMalformed
	}
	u.Header.Type, u.Header.Algorithm, u.Header.KeyID = h.typ, h.algorithm, h.kid
	return u, nil
}
