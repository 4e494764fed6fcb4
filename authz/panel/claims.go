package panel

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/imara/apikeys/keys"
)

// claims are what a provider says of somebody: the ID token's, and those of UserInfo where
// it was asked (OpenID Connect Core 1.0, 5.3). A claim that stands in neither is unknown,
// which is something else than an empty one.
type claims []map[string]any

// parseClaims reads a JSON object; numbers keep their text.
func parseClaims(data []byte) (c map[string]any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err = d.Decode(&c)
	return c, err
}

// find returns a claim by its name, or by a path of names with dots between them, which
// may have dots themselves: what is there first as it stands, then below shorter names.
func (c claims) find(name string) (value any, found bool) {
	for _, source := range c {
		if value, found = below(source, name); found {
			return value, true
		}
	}
	return nil, false
}

func below(object map[string]any, path string) (any, bool) {
	if value := object[path]; value != nil {
		return value, true
	}
	for i, c := range path {
		if inner, ok := object[path[:i]].(map[string]any); ok && c == '.' {
			if value, found := below(inner, path[i+1:]); found {
				return value, true
			}
		}
	}
	return nil, false
}

// texts are the values of a claim: one, or a list of them. Numbers and booleans are their
// text. False: it is an object, or a list with something else, which no rule reads.
func texts(claim any) (list []string, ok bool) {
	switch claim := claim.(type) {
	case string:
		return []string{claim}, true
	case bool:
		return []string{strconv.FormatBool(claim)}, true
	case json.Number:
		return []string{claim.String()}, true
	case []any:
		for _, one := range claim {
			if _, nested := one.([]any); nested {
				return nil, false
			}
			text, ok := texts(one)
			if !ok {
				return nil, false
			}
			list = append(list, text...)
		}
		return list, true
	}
	return nil, false
}

func (c claims) text(name string) string {
	value, _ := c.find(name)
	text, _ := value.(string)
	return text
}

// verified tells whether a source that speaks of this address says that it is verified, as
// a boolean or as the word; absent: none says anything of it.
func (c claims) verified(email string) (is, absent bool) {
	for _, source := range c {
		address, given := source["email"].(string)
		if said := source["email_verified"]; said != nil && (!given || sameAddress(address, email)) {
			return said == true || said == "true", false
		}
	}
	return false, true
}

func sameAddress(a, b string) bool {
	return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
}

// roles are what the rules give, empty where they give nothing. Absent is the first claim
// on which one of them depends and of which nothing that can be read is known: then no
// role is known either.
func (q *Provider) roles(c claims) (roles map[string]keys.Role, absent string) {
	roles = make(map[string]keys.Role)
	for _, r := range q.Rules {
		if roles[r.Organization] != "" {
			continue
		}
		values := []string{r.Value}
		if r.Claim != "" {
			claim, _ := c.find(r.Claim)
			var ok bool
			if values, ok = texts(claim); !ok {
				return nil, r.Claim
			}
		}
		roles[r.Organization] = ""
		if slices.Contains(values, r.Value) {
			roles[r.Organization] = r.Role
		}
	}
	return roles, ""
}

// absent is the first claim that a sign-in needs and that is in none of the sources.
func (q *Provider) absent(c claims) string {
	if _, found := c.find("email"); !found {
		return "email"
	}
	if _, unsaid := c.verified(c.text("email")); unsaid && !q.TrustsEmail {
		return "email_verified"
	}
	_, absent := q.roles(c)
	return absent
}
