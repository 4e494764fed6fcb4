package authz

import (
	"fmt"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
)

// TestAKeyCutsItsTokensAtARate: a hundred at once and ten a second; another key is not held
// up, and who cuts nothing for a while is forgotten.
func TestAKeyCutsItsTokensAtARate(t *testing.T) {
	var c cutRates
	now := time.Now()
	allowed := func(clientID string) (n int) {
		for range 1000 {
			if c.allow(clientID, now) {
				n++
			}
		}
		return n
	}
	if got := allowed("one"); got != cutsAtOnce {
		t.Errorf("%d at once", got)
	}
	if got := allowed("another"); got != cutsAtOnce {
		t.Errorf("another key: %d at once", got)
	}
	now = now.Add(time.Second)
	if got := allowed("one"); got != cutsPerSecond {
		t.Errorf("%d a second later", got)
	}
	now = now.Add(time.Minute)
	for i := range 10 {
		c.allow(fmt.Sprint("new ", i), now)
	}
	if _, there := c.of["one"]; there {
		t.Errorf("%d are remembered", len(c.of))
	}
}

// TestTooManyCutsAreRefusedAndCutNothing: the token is accepted as before, and the answer
// says when to ask again. A token that is cut already is answered all the same.
func TestTooManyCutsAreRefusedAndCutNothing(t *testing.T) {
	s := newHouse(t).start(0)
	c := s.demoKey()
	revoke := func(token string) answer {
		return s.post("/oauth2/revoke", c.Key.ClientID, c.Secret.Reveal(), "token", token)
	}
	first, second := s.token(c), s.token(c)
	if a := revoke(first); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	later := time.Now().Add(time.Hour) // it has done so for as long
	for s.cutRates.allow(c.Key.ClientID, later) {
	}
	a := revoke(second)
	if a.status != 429 || a.header.Get("Retry-After") == "" || a.json["error"] != "temporarily_unavailable" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	claims, err := s.Server.verifier.VerifySignature(second)
	if err != nil {
		t.Fatal(err)
	}
	if cuts := s.cuts(tokens.Token(claims.ID)); len(cuts) != 0 {
		t.Errorf("it is cut all the same: %+v", cuts)
	}
	if a := revoke(first); a.status != 200 {
		t.Errorf("one that is cut already: %d %s", a.status, a.body)
	}
}
