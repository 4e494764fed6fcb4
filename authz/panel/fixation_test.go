package panel

import (
	"net/url"
	"testing"

	"github.com/imara/apikeys/keys"
)

// TestSigningInBeginsAnotherSession: whatever session the browser came with, made up,
// somebody's or one's own, is not the one that it is signed in with.
func TestSigningInBeginsAnotherSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.organization("acme", "Professional")
	s.memberOf("acme", "zoe", keys.Owner)
	s.memberOf("acme", "ann", keys.Admin)
	chosen := s.post(s.link("ann@example.com"), "", "same-origin", url.Values{"password": {password}, "again": {password}})
	own := sessionOf(chosen).Value
	for _, brought := range []string{"AAAA", own} {
		answer := s.post("/panel/sign-in", brought, "same-origin", url.Values{"email": {"ann@example.com"}, "password": {password}})
		c := sessionOf(answer)
		if c == nil || c.Value == brought {
			t.Fatalf("brought %q: %d %v", brought, answer.StatusCode, c)
		}
		if status, _ := s.get("/panel/o/acme/keys", c.Value); status != 200 {
			t.Errorf("the new session: %d", status)
		}
		if status, _ := s.get("/panel/o/acme/keys", brought); status != 303 {
			t.Errorf("the session that was brought: %d", status)
		}
	}
}
