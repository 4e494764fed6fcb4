//go:build unix

package authz

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// TestTenRetirementsInAnHourMakeLeasesShort, until an hour has passed without one.
func TestTenRetirementsInAnHourMakeLeasesShort(t *testing.T) {
	var f flaps
	now := time.Now()
	grant := func() time.Duration { return f.grant("client", 10*time.Second, now) }
	retire := func() { f.retired("client", now) }
	for range flapLimit - 1 {
		retire()
	}
	if got := grant(); got != 10*time.Second {
		t.Errorf("after nine: %v", got)
	}
	now = now.Add(flapWindow + time.Second)
	for range flapLimit - 1 {
		retire()
	}
	if got := grant(); got != 10*time.Second {
		t.Errorf("eighteen in two hours: %v", got)
	}
	retire()
	if got := grant(); got != time.Second {
		t.Errorf("ten in an hour: %v", got)
	}
	if got := f.grant("another", 10*time.Second, now); got != 10*time.Second {
		t.Errorf("another key: %v", got)
	}
	now = now.Add(flapWindow - time.Second)
	retire()
	now = now.Add(flapWindow - time.Second)
	if got := grant(); got != time.Second {
		t.Errorf("not yet an hour without: %v", got)
	}
	now = now.Add(2 * time.Second)
	if got := grant(); got != 10*time.Second || len(f.of) != 0 {
		t.Errorf("an hour without: %v, %d remembered", got, len(f.of))
	}
}

// TestVerifierOfAFlappingKeyHasAShortLease: over HTTP and over Redis it takes, when it joins
// again, the lease that it is granted, and goes on. When it is cut off it refuses once that
// has passed, and a revocation waits no longer.
func TestVerifierOfAFlappingKeyHasAShortLease(t *testing.T) {
	for _, way := range []string{"HTTP", "Redis"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			s := newRedisHouse(t).start(0)
			network := &gate{RoundTripper: http.DefaultTransport}
			api := s.followWith("api", 0, network)
			if way == "Redis" {
				api.stop()
				api = s.followRedis("api", 0, s.redis.Address())
			}
			for range flapLimit {
				s.relay.flaps.retired(api.key.Key.ClientID, time.Now())
			}
			before := keys.Session{}
			session := func() keys.Session {
				sessions, err := s.sql.Sessions(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range sessions {
					if x.Name == "api" && x.ID != before.ID {
						return x
					}
				}
				return keys.Session{}
			}
			before = session()
			if before.Lease != tokens.DefaultLease {
				t.Errorf("before: %v", before.Lease)
			}
			if err := s.relay.EndVerifier(ctx, keys.Program("test"), before.PublicID()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it has joined again", func() bool { return session().Lease == shortLease })
			raw := s.token(s.demoKey())
			eventually(t, "it verifies", func() bool { _, err := api.Verify(raw); return err == nil })
			begun := time.Now()
			eventually(t, "it goes on for longer than its lease", func() bool {
				_, err := api.Verify(raw)
				return err == nil && time.Since(begun) > 3*shortLease
			})
			if way == "Redis" {
				return // it would go around over HTTP
			}
			network.set(true)
			_, r, err := s.registry.Revoke(ctx, keys.Program("test"), "org", s.demoKey().Key.ID, "")
			if err != nil || r.State != keys.LeaseEnded || r.Waited < shortLease || r.Waited > tokens.DefaultLease/2 {
				t.Errorf("%+v, %v", r, err)
			}
			if _, err := api.Verify(raw); !errors.Is(err, tokens.ErrStale) {
				t.Errorf("cut off: %v", err)
			}
		})
	}
}
