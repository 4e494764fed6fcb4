package tokens

import (
	"encoding/json"
	"strings"
)

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
// who debug. It returns [ErrMalformed] for what is not one of our tokens.
func Inspect(raw string) (Unverified, error) {
	var u Unverified
	if !compact(raw) {
		return u, ErrMalformed
	}
	parts := strings.Split(raw, ".")
	header, errHeader := unb64(parts[0], 0)
	claims, errClaims := unb64(parts[1], 0)
	if errHeader != nil || errClaims != nil || json.Unmarshal(header, &u.Header) != nil || json.Unmarshal(claims, &u.Claims) != nil {
		return Unverified{}, ErrMalformed
	}
	return u, nil
}
