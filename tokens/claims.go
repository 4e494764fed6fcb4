package tokens

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Type is the typ header of an access token (RFC 9068 §2.1).
const Type = "at+jwt"

// Claims of an access token, RFC 9068 §2.2 and four of ours. All are required
// but scope, client_name, crd and nbf.
type Claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience Audience `json:"aud"`
	// ExpiresAt and IssuedAt are seconds since 1970.
	ExpiresAt int64  `json:"exp"`
	IssuedAt  int64  `json:"iat"`
	ID        string `json:"jti"`
	ClientID  string `json:"client_id"`
	// ClientName is the name that its owners gave the key (client_name of RFC 7591 §2), as it
	// was when the token was minted. It identifies nothing. Tokens of older servers have none.
	ClientName string `json:"client_name,omitempty"`
	// Scope is a space-separated list (RFC 6749 §3.3).
	Scope string `json:"scope,omitempty"`
	// Organization owns the API key.
	Organization string `json:"org"`
	// Credential is the id of the secret that the token was bought with. Tokens of
	// older servers have none.
	Credential string `json:"crd,omitempty"`
	// Position in the revocation log that the minting server had applied.
	Position uint64 `json:"rv"`
	// NotBefore is in seconds since 1970, or 0 (RFC 7519 §4.1.5). Our issuer sets none.
	NotBefore int64 `json:"nbf,omitempty"`

	kid   string // of the key that signed it; empty in claims that no verifier returned
	bound bool   // to a key of the client's
}

// about is a subject of the log, parted: 'c' and the client id.
type about struct {
	dimension byte
	id        string
}

// subjects are those whose cut denies the token. A new dimension is added here, for
// checks and streams alike.
func (c *Claims) subjects(kid string) [6]about {
	credential := about{'s', c.Credential}
	if c.Credential == "" {
		credential = about{'*', ""} // once more
	}
	return [...]about{{'c', c.ClientID}, {'o', c.Organization}, {'j', c.ID},
		credential, {'k', kid}, {'*', ""}}
}

// HasScope tells whether every one of scopes was granted.
func (c *Claims) HasScope(scopes ...string) bool {
	for _, want := range scopes {
		if !listed(c.Scope, want) {
			return false
		}
	}
	return true
}

// Expires is the time at which the token ends.
func (c *Claims) Expires() time.Time { return time.Unix(c.ExpiresAt, 0).UTC() }

// listed looks for want in a space-separated list without allocating.
func listed(list, want string) bool {
	for len(list) > 0 {
		var item string
		item, list, _ = strings.Cut(list, " ")
		if item == want && want != "" {
			return true
		}
	}
	return false
}

// Audience is the aud claim: a string or an array of strings (RFC 7519 §4.1.3).
type Audience []string

// MarshalJSON writes a single audience as a string, which every consumer reads.
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON reads both forms. An array has strings only, and null is neither form.
func (a *Audience) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*a = make(Audience, 1)
		return json.Unmarshal(data, &(*a)[0])
	}
	var list []*string
	if err := json.Unmarshal(data, &list); err != nil || list == nil || slices.Contains(list, nil) {
		return fmt.Errorf("%w: neither a string nor strings", ErrMalformed)
	}
	*a = make(Audience, len(list))
	for i, audience := range list {
		(*a)[i] = *audience
	}
	return nil
}

// Has tells whether audience is one of a, compared as it stands.
func (a Audience) Has(audience string) bool {
	for _, x := range a {
		if x == audience {
			return true
		}
	}
	return false
}

// claimFields are the claims that mean something to a verifier. Their names are exact,
// null is a value of none, and numbers are integers below 2^53.
var claimFields = []field[Claims]{
	{"iss", func(c *Claims, v []byte) error { return readText(v, &c.Issuer) }},
	{"sub", func(c *Claims, v []byte) error { return readText(v, &c.Subject) }},
	{"aud", (*Claims).readAudience},
	{"exp", func(c *Claims, v []byte) error { return readInteger(v, &c.ExpiresAt) }},
	{"iat", func(c *Claims, v []byte) error { return readInteger(v, &c.IssuedAt) }},
	{"jti", func(c *Claims, v []byte) error { return readText(v, &c.ID) }},
	{"client_id", func(c *Claims, v []byte) error { return readText(v, &c.ClientID) }},
	{"scope", func(c *Claims, v []byte) error { return readText(v, &c.Scope) }},
	{"client_name", func(c *Claims, v []byte) error { return readText(v, &c.ClientName) }},
	{"org", func(c *Claims, v []byte) error { return readText(v, &c.Organization) }},
	{"crd", func(c *Claims, v []byte) error { return readText(v, &c.Credential) }},
	{"rv", (*Claims).readPosition},
	{"nbf", func(c *Claims, v []byte) error { return readInteger(v, &c.NotBefore) }},
	{"cnf", func(c *Claims, _ []byte) error { c.bound = true; return nil }},
}

func (c *Claims) readAudience(value []byte) error {
	if value[0] == '"' {
		c.Audience = make(Audience, 1)
		return readText(value, &c.Audience[0])
	}
	return c.Audience.UnmarshalJSON(value)
}

func (c *Claims) readPosition(value []byte) error {
	var n int64
	err := readInteger(value, &n)
	c.Position = uint64(n)
	return err
}

// UnmarshalJSON is as strict as a [Verifier] is: it wraps [ErrMalformed] for what another
// verifier may read differently, and for a claim of ours that is of another type or null.
// Whether a claim is missing is for the verifier.
func (c *Claims) UnmarshalJSON(data []byte) error {
	*c = Claims{}
	return readObject(data, c, claimFields)
}

// complete reports which required claim is missing or empty, and the claim that asks for
// what no verifier here does: cnf binds a token to a key whose proof has to be checked
// (RFC 8705 §3, RFC 9449 §7.2).
func (c *Claims) complete() error {
	if c.bound {
		return fmt.Errorf("%w: cnf: it is bound to a key, whose proof is not checked here", ErrMalformed)
	}
	for _, claim := range []struct {
		name    string
		present bool
	}{
		{"iss", c.Issuer != ""}, {"sub", c.Subject != ""}, {"aud", len(c.Audience) > 0},
		{"exp", c.ExpiresAt > 0}, {"iat", c.IssuedAt > 0}, {"jti", c.ID != ""},
		{"client_id", c.ClientID != ""}, {"org", c.Organization != ""}, {"rv", c.Position > 0},
	} {
		if !claim.present {
			return fmt.Errorf("%w: claim %s is missing", ErrMalformed, claim.name)
		}
	}
	return nil
}

type claimsKey struct{}

// FromContext returns the claims of the token that [Verifier.Require] admitted.
func FromContext(ctx context.Context) (*Claims, bool) {
	c, ok := ctx.Value(claimsKey{}).(*Claims)
	return c, ok
}
