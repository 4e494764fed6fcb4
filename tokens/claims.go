package tokens

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Type is the typ header of an access token (RFC 9068 §2.1).
const Type = "at+jwt"

// Claims of an access token, RFC 9068 §2.2 and three of ours. All are required
// but scope and crd.
type Claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience Audience `json:"aud"`
	// ExpiresAt and IssuedAt are seconds since 1970.
	ExpiresAt int64  `json:"exp"`
	IssuedAt  int64  `json:"iat"`
	ID        string `json:"jti"`
	ClientID  string `json:"client_id"`
	// Scope is a space-separated list (RFC 6749 §3.3).
	Scope string `json:"scope,omitempty"`
	// Organization owns the API key.
	Organization string `json:"org"`
	// Credential is the id of the secret that the token was bought with. Tokens of
	// older servers have none.
	Credential string `json:"crd,omitempty"`
	// Position in the revocation log that the minting server had applied.
	Position uint64 `json:"rv"`

	kid string // of the key that signed it; empty in claims that no verifier returned
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

// UnmarshalJSON reads both forms.
func (a *Audience) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*a = make(Audience, 1)
		return json.Unmarshal(data, &(*a)[0])
	}
	return json.Unmarshal(data, (*[]string)(a))
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

// UnmarshalJSON refuses what encoding/json lets pass: members that repeat or
// differ only in case, which another verifier may read the other way round.
func (c *Claims) UnmarshalJSON(data []byte) error {
	if err := singleMembers(data); err != nil {
		return err
	}
	type plain Claims
	return json.Unmarshal(data, (*plain)(c))
}

// singleMembers reports an object whose member names are not distinct, upper
// and lower case being the same.
func singleMembers(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%w: not a JSON object", ErrMalformed)
	}
	var names [32]string
	n := 0
	for ; d.More(); n++ {
		t, err := d.Token()
		if err != nil || n == len(names) {
			return fmt.Errorf("%w: not a JSON object of at most %d members", ErrMalformed, len(names))
		}
		names[n], _ = t.(string)
		for _, earlier := range names[:n] {
			if strings.EqualFold(earlier, names[n]) {
				return fmt.Errorf("%w: a member repeats", ErrMalformed)
			}
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return fmt.Errorf("%w: not a JSON object", ErrMalformed)
		}
	}
	return nil
}

// complete reports which required claim is missing or empty.
func (c *Claims) complete() error {
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
