package authz

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
)

// TestUsageIsCountedByOutcome: tokens and refusals of a key, the last use of its
// secret and scopes, and where refused attempts came from, without a write for each.
func TestUsageIsCountedByOutcome(t *testing.T) {
	s := newHouse(t).start(0)
	ctx := context.Background()
	c := s.demoKey()
	for range 5 {
		s.token(c, "scope", "alerts:read")
	}
	post := func(secret string, parameters ...string) {
		s.post("/oauth2/token", c.Key.ClientID, secret, append([]string{"grant_type", "client_credentials"}, parameters...)...)
	}
	for range 3 {
		post(c.Secret.Reveal()[:60] + "xxxxxxxxx")
	}
	post(c.Secret.Reveal(), "scope", "admin")
	post(c.Secret.Reveal(), "resource", "https://nothing.example.com")
	s.post("/oauth2/token", "imara_ci_00000000000000000000", c.Secret.Reveal(), "grant_type", "client_credentials")
	if _, _, err := s.registry.Suspend(ctx, keys.Program("test"), "org", c.Key.ID, ""); err != nil {
		t.Fatal(err)
	}
	post(c.Secret.Reveal())
	if err := s.clients.usage.flush(ctx); err != nil {
		t.Fatal(err)
	}
	rows, err := s.registry.Usage(ctx, "org", c.Key.ID, time.Now().Add(-2*time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got := map[keys.Outcome]int64{}
	for _, row := range rows {
		got[row.Outcome] += row.Count
	}
	if want := "map[issued:5 resource:1 scope:1 suspended:1 wrong_secret:3]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	k, err := s.registry.Key(ctx, "org", c.Key.ID)
	if err != nil || k.Credentials[0].LastUsedFrom != "127.0.0.1" || k.Credentials[0].FirstUsedAt.IsZero() || time.Since(k.LastUsedAt()) > time.Minute {
		t.Errorf("%+v, %v", k.Credentials, err)
	}
	scopes, err := s.registry.ScopesUsed(ctx, "org", c.Key.ID)
	if err != nil || len(scopes) != 2 || scopes[0].LastUsedAt.IsZero() || !scopes[1].LastUsedAt.IsZero() {
		t.Errorf("%+v, %v", scopes, err)
	}
	attempts, err := s.registry.Attempts(ctx, "org", c.Key.ID)
	if err != nil || len(attempts) != 4 || attempts[0].Address != "127.0.0.1" {
		t.Errorf("%+v, %v", attempts, err)
	}
	if err := s.clients.usage.flush(ctx); err != nil {
		t.Fatal(err)
	}
	if again, _ := s.registry.Usage(ctx, "org", c.Key.ID, time.Now().Add(-2*time.Hour), time.Hour); fmt.Sprint(again) != fmt.Sprint(rows) {
		t.Errorf("counted twice: %v", again)
	}
}

// refusing is a store that does not take usage for a while.
type refusing struct {
	keys.Store
	down bool
}

func (r *refusing) AddUsage(ctx context.Context, u keys.Usage) error {
	if r.down {
		return keys.ErrUnavailable
	}
	return r.Store.AddUsage(ctx, u)
}

// TestUsageWaitsForTheStore: what cannot be stored is counted with what comes after.
func TestUsageWaitsForTheStore(t *testing.T) {
	h := newHouse(t)
	s := h.start(0)
	c := s.demoKey()
	store := &refusing{Store: h.store, down: true}
	registry, err := keys.New(keys.Config{Store: store, Relay: s.relay, Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))}, CheckpointKey: keystest.CheckpointKey})
	if err != nil {
		t.Fatal(err)
	}
	u := newUsage(registry)
	ctx := context.Background()
	for i := range 3 {
		u.issued(c.Key.ID, "alerts:read", time.Now())
		u.refused(c.Key.ID, keys.ErrCredentials, time.Now(), "203.0.113.9")
		store.down = i < 2
		if err := u.flush(ctx); (err != nil) != store.down {
			t.Fatalf("flush %d: %v", i, err)
		}
	}
	rows, err := registry.Usage(ctx, "org", c.Key.ID, time.Now().Add(-time.Hour), time.Hour)
	if err != nil || len(rows) != 2 || rows[0].Count != 3 || rows[1].Count != 3 {
		t.Errorf("%+v, %v", rows, err)
	}
	for i := range 2 * maxAttempts {
		u.refused(c.Key.ID, keys.ErrCredentials, time.Now(), fmt.Sprint(i))
	}
	if n := len(u.sum.Attempts); n > maxAttempts+1 {
		t.Errorf("%d attempts in memory", n)
	}
}

// TestFirstUseOfTheNewSecretEndsTheOldOne: over the token endpoint, and on every server.
func TestFirstUseOfTheNewSecretEndsTheOldOne(t *testing.T) {
	s := newHouse(t).start(0)
	ctx := context.Background()
	c := s.demoKey()
	s.token(c)
	second, err := s.registry.Rotate(ctx, keys.Program("test"), "org", c.Key.ID, keys.DefaultOverlap)
	if err != nil {
		t.Fatal(err)
	}
	s.token(c)
	ends := func() time.Time {
		if err := s.clients.usage.flush(ctx); err != nil {
			t.Fatal(err)
		}
		k, err := s.registry.Key(ctx, "org", c.Key.ID)
		if err != nil {
			t.Fatal(err)
		}
		return k.Credentials[1].EndsAt
	}
	if left := time.Until(ends()); left < 6*24*time.Hour {
		t.Errorf("before the first use, it ends in %v", left)
	}
	for range 3 {
		s.token(second)
	}
	if left := time.Until(ends()); left > 24*time.Hour || left < 23*time.Hour {
		t.Errorf("after the first use, it ends in %v", left)
	}
	events, err := s.registry.Events(ctx, "org", keys.EventPage{Action: "secret.first_use"})
	if err != nil || len(events) != 1 || len(events[0].Changes) == 0 {
		t.Errorf("%+v, %v", events, err)
	}
	s.token(c) // it still works
}

// TestKeyWorksFromItsNetworksOnly: of the key, and of the organisation's policy.
func TestKeyWorksFromItsNetworksOnly(t *testing.T) {
	s := newHouse(t).start(0)
	ctx := context.Background()
	here, elsewhere := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	c := s.key("org", keys.Access{Scopes: []string{"alerts:read"}, Networks: here, TokenTTL: 90 * time.Second})
	if got, err := s.Verifier().VerifySignature(s.token(c)); err == nil && got.ExpiresAt-got.IssuedAt > 90 {
		t.Errorf("the token lives %d s", got.ExpiresAt-got.IssuedAt)
	}
	refused := func(what string) {
		t.Helper()
		a := s.post("/oauth2/token", c.Key.ClientID, c.Secret.Reveal(), "grant_type", "client_credentials")
		if a.json["error"] != "unauthorized_client" || a.json["error_description"] != "This key may not be used from this network." {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
		if a = s.post("/oauth2/token", c.Key.ClientID, "wrong", "grant_type", "client_credentials"); a.json["error"] != "invalid_client" {
			t.Errorf("%s, wrong secret: %s", what, a.body)
		}
	}
	if _, _, err := s.registry.Edit(ctx, keys.Program("test"), "org", c.Key.ID, func(e *keys.KeyEdit) { e.Networks = elsewhere }); err != nil {
		t.Fatal(err)
	}
	refused("the key's network")
	if _, _, err := s.registry.Edit(ctx, keys.Program("test"), "org", c.Key.ID, func(e *keys.KeyEdit) { e.Networks = nil }); err != nil {
		t.Fatal(err)
	}
	s.token(c)
	if _, err := s.registry.EditPolicy(ctx, keys.Program("test"), "org", func(p *keys.Policy) { p.Networks = elsewhere }); err != nil {
		t.Fatal(err)
	}
	refused("the organisation's network")
}
