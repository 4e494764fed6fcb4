package tokens_test

import (
	"maps"
	"net/http/httptest"
	"testing"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/tokenstest"
)

// TestDecisionsAreCountedByReason: each request once, and those of each audience apart.
func TestDecisionsAreCountedByReason(t *testing.T) {
	const audience = "https://api.example.com"
	issuer := tokenstest.New(t)
	v := issuer.Verifier(audience)
	other, err := v.WithAudience("https://other.example.com")
	if err != nil {
		t.Fatal(err)
	}
	good := issuer.Token(audience, "alerts:read")
	want := other.Decisions()
	for _, row := range []struct{ header, query, scope, reason string }{
		{"Bearer " + good, "", "alerts:read", "accepted"},
		{"Bearer " + good, "", "alerts:write", "insufficient_scope"},
		{"", "", "", "no_token"},
		{"Basic eA==", "", "", "no_token"},
		{"Bearer " + good, "?access_token=x", "", "two_tokens"},
		{"Bearer x", "", "", "malformed"},
		{"Bearer " + good[:len(good)-8] + "AAAAAAAA", "", "", "wrong_signature"},
		{"Bearer " + issuer.Token("https://other.example.com", ""), "", "", "not_for_us"},
		{"Bearer " + issuer.TokenWith(func(c *tokens.Claims) {
			c.Audience, c.ExpiresAt = tokens.Audience{audience}, c.IssuedAt-60
		}), "", "", "expired"},
	} {
		r := httptest.NewRequest("GET", "/"+row.query, nil)
		if row.header != "" {
			r.Header.Set("Authorization", row.header)
		}
		var scopes []string
		if row.scope != "" {
			scopes = []string{row.scope}
		}
		v.Authorize(r, scopes...)
		want[row.reason]++
		if got := v.Decisions(); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", row.reason, got, want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+good)
	issuer.Stall()
	if v.Authorize(r); v.Decisions()["stale"] != 1 {
		t.Errorf("stale: %v", v.Decisions())
	}
	issuer.Recover()
	issuer.Revoke(tokenstest.ClientID)
	if v.Authorize(r); v.Decisions()["revoked"] != 1 {
		t.Errorf("revoked: %v", v.Decisions())
	}
	if n := other.Decisions()["accepted"]; n != 0 {
		t.Errorf("%d of another audience", n)
	}
}
