package panel

import (
	"crypto/ecdsa"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/imara/apikeys/keys"
)

// TestClaimsAreFoundAndComparedByTheirText: by name, by path, through names with dots;
// booleans and numbers as they are written.
func TestClaimsAreFoundAndComparedByTheirText(t *testing.T) {
	said, err := parseClaims([]byte(`{"groups":["a","b"],"one":"a","admin":true,"level":12345678901234567890,
		"ratio":1.50,"mixed":["x",7,false],"none":[],"empty":"","null":null,
		"realm_access":{"roles":["a"]},"resource_access":{"my.client":{"roles":["a"]}},
		"https://acme.example/groups":["a"],"a.b":"exact","a":{"b":"inner","c":{"d":"deep"}},
		"objects":[{"name":"a"}],"lists":[["a"]]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		claim, value string
		fits, known  bool
	}{
		{"groups", "b", true, true}, {"groups", "c", false, true}, {"one", "a", true, true},
		{"admin", "true", true, true}, {"admin", "True", false, true}, {"admin", "1", false, true},
		{"level", "12345678901234567890", true, true}, {"ratio", "1.50", true, true}, {"ratio", "1.5", false, true},
		{"mixed", "7", true, true}, {"mixed", "false", true, true}, {"none", "a", false, true},
		{"empty", "a", false, true}, {"null", "a", false, false}, {"missing", "a", false, false},
		{"realm_access.roles", "a", true, true}, {"realm_access", "a", false, false},
		{"realm_access.groups", "a", false, false}, {"resource_access.my.client.roles", "a", true, true},
		{"https://acme.example/groups", "a", true, true}, {"a.b", "exact", true, true},
		{"a.b", "inner", false, true}, {"a.c.d", "deep", true, true}, {"groups.a", "a", false, false},
		{"objects", "a", false, false}, {"lists", "a", false, false},
	} {
		q := Provider{Rules: []Rule{{row.claim, row.value, "acme", keys.Admin}}}
		roles, absent := q.roles(claims{said})
		if known := absent == ""; known != row.known || (roles["acme"] == keys.Admin) != row.fits || !known && absent != row.claim {
			t.Errorf("%s is %s: %v, absent %q", row.claim, row.value, roles, absent)
		}
	}
	first := Provider{Rules: []Rule{{"one", "a", "acme", keys.Admin}, {"missing", "a", "acme", keys.Owner}}}
	if roles, absent := first.roles(claims{said}); absent != "" || roles["acme"] != keys.Admin {
		t.Errorf("what does not decide is asked for: %v %q", roles, absent)
	}
}

// TestAbsentIsUnknown: a claim that is nowhere, or that nobody can read, refuses the
// sign-in by its name and touches no membership; an empty list is none, and ends it.
func TestAbsentIsUnknown(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	if answer := s.through("Bob", "", "", nil); sessionOf(answer) == nil {
		t.Fatal(body(t, answer))
	}
	member := func() bool {
		members, err := s.registry.Members(t.Context(), "acme")
		s.must(err)
		return slices.ContainsFunc(members, func(m keys.Member) bool { return m.Email == "bob@acme.example" && m.Active() })
	}
	for name, groups := range map[string]any{"null": nil, "elsewhere": map[string]any{"x": "y"}} {
		s.idp.set(func() { s.idp.people["Bob"]["groups"] = groups })
		answer := s.through("Bob", "", "", nil)
		if page := body(t, answer); answer.StatusCode != 403 || !strings.Contains(page, "does not say “groups”") || !member() {
			t.Errorf("%s: %d, member %v, %s", name, answer.StatusCode, member(), page)
		}
	}
	s.idp.set(func() { delete(s.idp.people["Bob"], "groups") })
	if answer := s.through("Bob", "", "", nil); answer.StatusCode != 403 || !member() {
		t.Errorf("absent: %d, member %v", answer.StatusCode, member())
	}
	if log := s.log.String(); !strings.Contains(log, `the claim \"groups\" is absent`) {
		t.Error("the log does not name the claim")
	}
	s.idp.set(func() { s.idp.people["Bob"]["groups"] = []string{} })
	if answer := s.through("Bob", "", "", nil); answer.StatusCode != 403 || member() {
		t.Errorf("an empty list: %d, member %v", answer.StatusCode, member())
	}
}

// TestClaimsMayStandInUserInfo: what the ID token lacks is asked for there, and counts
// only when it is of the same subject.
func TestClaimsMayStandInUserInfo(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	s.idp.set(func() {
		s.idp.people["Eve"] = jwt.MapClaims{"email_verified": nil}
		s.idp.info = map[string]map[string]any{}
	})
	says := func(more map[string]any) {
		s.idp.set(func() {
			info := map[string]any{"sub": "Eve", "email": "eve@acme.example", "email_verified": "true", "groups": []string{"engineers"}}
			maps.Copy(info, more)
			s.idp.info["Eve"] = info
		})
	}
	for name, row := range map[string]struct {
		more   map[string]any
		status int
		want   string
	}{
		"another subject": {map[string]any{"sub": "Bob"}, 403, "cannot be trusted"},
		"no subject":      {map[string]any{"sub": nil}, 403, "cannot be trusted"},
		"not verified":    {map[string]any{"email_verified": false}, 403, "does not vouch"},
		"no groups":       {map[string]any{"groups": nil}, 403, "does not say “groups”"},
		"all":             {nil, 303, ""},
	} {
		says(row.more)
		answer := s.through("Eve", "", "", nil)
		if page := body(t, answer); answer.StatusCode != row.status || !strings.Contains(page, row.want) {
			t.Errorf("%s: %d %s", name, answer.StatusCode, page)
		}
	}
	// It is not asked where nothing is missing, and its word for another address is none.
	s.idp.set(func() { s.idp.info = map[string]map[string]any{} })
	if answer := s.through("Bob", "", "", nil); sessionOf(answer) == nil {
		t.Errorf("asked for nothing: %s", body(t, answer))
	}
	c := claims{{"email": "eve@acme.example"}, {"email": "bob@acme.example", "email_verified": true}}
	if is, absent := c.verified("eve@acme.example"); is || !absent {
		t.Error("verified for another address")
	}
}

// TestOddProvidersWork: two audiences with ours in azp, the word for verified, keys that
// nobody can read before the one that signs.
func TestOddProvidersWork(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	s.idp.set(func() {
		s.idp.extra = []any{
			map[string]string{"kty": "EC", "crv": "P-256", "kid": "1", "x": "AA", "y": "AA"},
			map[string]any{"kty": "RSA", "kid": 7}, map[string]string{"kty": "new"}, "no key", nil,
			map[string]string{"kty": "oct", "kid": "1", "k": "AAAA"},
		}
		s.idp.spoil = func(c jwt.MapClaims, sign *ecdsa.PrivateKey) *ecdsa.PrivateKey {
			c["aud"], c["azp"], c["email_verified"] = []string{"panel", "another"}, "panel", "true"
			return sign
		}
	})
	if answer := s.through("Eve", "", "", nil); sessionOf(answer) == nil {
		t.Errorf("%d %s", answer.StatusCode, body(t, answer))
	}
}

// TestAnIssuerThatDiffersIsNamed: by a slash, on the page and in the log.
func TestAnIssuerThatDiffersIsNamed(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	s.idp.set(func() { s.idp.issuer = s.idp.URL + "/" })
	status, page := s.get("/panel/sign-in/acme", "")
	if status != 503 || !strings.Contains(page, s.idp.URL+"/&#34;") || !strings.Contains(s.log.String(), s.idp.URL+`/`) {
		t.Errorf("%d %s", status, page)
	}
}

// TestAnAddressIsOnePersons: another subject with the same address gets nothing, also not
// where it would lose a membership, until the operator unbinds the address; then the old
// person's sessions are over.
func TestAnAddressIsOnePersons(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	old := sessionOf(s.through("Eve", "", "", nil)).Value
	s.idp.set(func() {
		s.idp.people["Heir"] = jwt.MapClaims{"email": "eve@acme.example", "groups": []string{}}
	})
	for range 2 {
		answer := s.through("Heir", "", "", nil)
		if page := body(t, answer); answer.StatusCode != 403 || sessionOf(answer) != nil || !strings.Contains(page, "another person than the one who has eve@acme.example") {
			t.Errorf("%d %s", answer.StatusCode, page)
		}
	}
	if status, _ := s.get("/panel/o/acme/keys", old); status != 200 {
		t.Errorf("who was there first: %d", status)
	}
	s.must(s.registry.Unbind(t.Context(), tester, "Eve@acme.example"))
	if status, _ := s.get("/panel/o/acme/keys", old); status != 303 {
		t.Errorf("the session of before: %d", status)
	}
	s.idp.set(func() { s.idp.people["Heir"]["groups"] = "engineers" })
	if answer := s.through("Heir", "", "", nil); sessionOf(answer) == nil {
		t.Errorf("%s", body(t, answer))
	}
	if answer := s.through("Eve", "", "", nil); sessionOf(answer) != nil {
		t.Error("both have it")
	}
}
