package authz

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// TestReceiptTellsOfAWaiver: a verifier that loses contact and may accept for
// longer does so, and the receipt does not say that nobody does. It is not retired
// while it may accept. In contact it confirms like any other.
func TestReceiptTellsOfAWaiver(t *testing.T) {
	h := newHouse(t)
	s := h.start(0)
	h.stale = tokens.Stale{AcceptUntil: time.Hour}
	waiving, network := s.gated("lenient", time.Second)
	h.stale = tokens.Stale{}
	c, other := s.demoKey(), s.demoKey()
	raw, early := s.token(c), s.token(other)
	_, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", other.Key.ID, "")
	if err != nil || receipt.State != keys.Confirmed || receipt.Total != 2 {
		t.Errorf("in contact: %+v, %v", receipt, err)
	}
	network.set(true)
	_, receipt, err = s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
	if err != nil || receipt.State != keys.Waived || receipt.Confirmed != 1 || receipt.Total != 2 {
		t.Errorf("cut off: %+v, %v", receipt, err)
	}
	if _, err := waiving.Verify(raw); err != nil {
		t.Errorf("it was let accept for an hour: %v", err)
	}
	if _, err := waiving.Verify(early); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("revoked before it was cut off: %v", err)
	}
	eventually(t, "the server finds it silent", func() bool { return strings.Contains(h.log.String(), "verifier is retired") })
	if sessions, err := s.store.Sessions(context.Background()); err != nil || len(sessions) != 2 {
		t.Errorf("it may accept, and is not listed: %+v, %v", sessions, err)
	}
	more := s.demoKey()
	if _, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", more.Key.ID, ""); err != nil || receipt.State != keys.Waived {
		t.Errorf("silent for long: %+v, %v", receipt, err)
	}
	network.set(false)
	eventually(t, "contact is back, and it knows", func() bool { _, err := waiving.Verify(raw); return errors.Is(err, tokens.ErrRevoked) })
	eventually(t, "its new session is the only one, and confirms", func() bool {
		_, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", s.demoKey().Key.ID, "")
		return err == nil && receipt.State == keys.Confirmed && receipt.Total == 2
	})
	if _, err := waiving.WithStale(tokens.Stale{AcceptUntil: time.Hour - 1}); err != nil {
		t.Errorf("a bound that the issuer knows of: %v", err)
	}
	if _, err := tokens.NewVerifier(tokens.Config{Issuer: s.issuer, Audience: demoAPI, Feed: s.follow("strict", 0).feed, Stale: tokens.Stale{AcceptUntil: time.Hour}}); err == nil {
		t.Error("a feed that runs takes a verifier that waives, and the issuer does not hear of it")
	}
}

// TestVerifierWithoutTheFeedAsksTheServer: its feed is cut off, introspection is
// not. It goes on to decide, and a revocation counts at once.
func TestVerifierWithoutTheFeedAsksTheServer(t *testing.T) {
	h := newHouse(t)
	s := h.start(0)
	asking := s.key("operator", keys.Access{Scopes: []string{introspectScope}, Resources: []string{demoAPI, ManagementAudience(s.issuer)}})
	h.stale = tokens.Stale{Introspect: &tokens.Introspection{URL: s.url + "/oauth2/introspect",
		ClientID: asking.Key.ClientID, ClientSecret: tokens.Secret(asking.Secret.Reveal())}}
	api, network := s.gated("asks", time.Second)
	c := s.demoKey()
	raw := s.token(c)
	network.set(true)
	eventually(t, "its view is stale", func() bool { _, err := api.Verify(raw); return errors.Is(err, tokens.ErrStale) })
	if claims, err := api.VerifyContext(context.Background(), raw); err != nil || claims.ClientID != c.Key.ClientID {
		t.Errorf("introspected: %+v, %v", claims, err)
	}
	_, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
	if err != nil || receipt.State != keys.LeaseEnded {
		t.Errorf("%+v, %v", receipt, err)
	}
	if _, err := api.VerifyContext(context.Background(), raw); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("introspected after the revocation: %v", err)
	}
	s.stop()
	if _, err := api.VerifyContext(context.Background(), raw); !errors.Is(err, tokens.ErrStale) {
		t.Errorf("nobody to ask: %v", err)
	}
	if strings.Contains(h.log.String(), raw) || strings.Contains(h.log.String(), asking.Secret.Reveal()) {
		t.Error("a token or a secret is in the log")
	}
}

// TestSkewedClocksLetNothingThrough: tokens of a server whose clock is fast or
// slow, and a floor raised by one an hour ahead: what is revoked stays refused, and
// a new token is accepted (F-06, F-35).
func TestSkewedClocksLetNothingThrough(t *testing.T) {
	s := newHouse(t).start(0)
	api := s.follow("api", 0)
	ctx := context.Background()
	for _, skew := range []time.Duration{-time.Minute, -4 * time.Second, 0, 4 * time.Second} {
		c := s.demoKey()
		u, err := tokens.Inspect(s.token(c))
		if err != nil {
			t.Fatal(err)
		}
		u.Claims.IssuedAt += int64(skew.Seconds())
		u.Claims.ExpiresAt += int64(skew.Seconds())
		raw, err := s.config.Ring.Sign(tokens.ES256, &u.Claims)
		if err != nil {
			t.Fatal(err)
		}
		receipt, accepted := race(t, []*apiVerifier{api}, raw, func() (keys.Key, keys.Receipt, error) {
			return s.registry.Revoke(ctx, keys.Program("test"), "org", c.Key.ID, "")
		})
		if accepted == 0 || receipt.State != keys.Confirmed {
			t.Errorf("a clock at %v: accepted %d times before, %+v", skew, accepted, receipt)
		}
	}
	live, revoked := s.demoKey(), s.demoKey()
	before, dead := s.token(live), s.token(revoked)
	if _, _, err := s.registry.Revoke(ctx, keys.Program("test"), "org", revoked.Key.ID, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.store.RaiseFloor(ctx, time.Now().Add(keys.Retention+time.Hour)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a floor that is too high refuses too much", func() bool { _, err := api.Verify(before); return errors.Is(err, tokens.ErrRevoked) })
	if _, err := api.Verify(dead); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("revoked, and below the floor: %v", err)
	}
	if _, err := api.Verify(s.token(live)); err != nil {
		t.Errorf("a token from after the floor: %v", err)
	}
}
