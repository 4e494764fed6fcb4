package authz

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/authz/limits"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
)

// limited is a house whose servers count as those that serve starts do.
func limited(t testing.TB) *house {
	h := newHouse(t)
	limiter, err := limits.New(limits.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h.limits = limiter
	return h
}

// unlikely has the form of a secret, and is nobody's.
func (r *running) unlikely() string {
	c := r.demoKey()
	if _, err := r.registry.Rotate(context.Background(), keys.Program("test"), "org", c.Key.ID, keys.Overlap{}); err != nil {
		r.t.Fatal(err)
	}
	return c.Secret.Reveal()
}

// TestFailuresAreSlowedAndOwnersAreNot: after a hundred failures of a client from a network the
// next are told to wait, at every endpoint, whatever is wrong; its right secret works
// meanwhile, and so do others'.
func TestFailuresAreSlowedAndOwnersAreNot(t *testing.T) {
	most, _ := web.FailureRates()
	s := limited(t).start(0)
	wrong := s.unlikely()
	other := s.demoKey()
	for name, row := range map[string]struct {
		path, secret string
		known        bool
	}{
		"wrong secret":                 {"/oauth2/token", wrong, true},
		"unknown client":               {"/oauth2/token", wrong, false},
		"no secret at all":             {"/oauth2/token", "x", true},
		"wrong secret at revoke":       {"/oauth2/revoke", wrong, true},
		"wrong secret at introspect":   {"/oauth2/introspect", wrong, true},
		"unknown client at introspect": {"/oauth2/introspect", wrong, false},
	} {
		c := s.demoKey()
		id := c.Key.ClientID
		if !row.known {
			id = "imara_ci_" + strings.Repeat(strconv.Itoa(len(name)%10), 20)
		}
		fail := func() answer {
			return s.post(row.path, id, row.secret, "grant_type", "client_credentials", "token", "x")
		}
		many := func(n int) (last answer, refused int64) {
			var all sync.WaitGroup
			var count atomic.Int64
			answers := make(chan answer, n)
			for range 20 { // they wait for their reads together
				all.Go(func() {
					for range n / 20 {
						if a := fail(); a.status == http.StatusUnauthorized {
							count.Add(1)
						} else {
							answers <- a
						}
					}
				})
			}
			all.Wait()
			close(answers)
			for last = range answers {
			}
			return last, count.Load()
		}
		if a, n := many(most.Burst); n != int64(most.Burst) {
			t.Errorf("%s: %d of %d are failures: %d %s", name, n, most.Burst, a.status, a.body)
		}
		a, _ := many(60)
		wait, err := strconv.Atoi(a.header.Get("Retry-After"))
		if a.status != http.StatusTooManyRequests || a.json["error"] != "slow_down" || err != nil || wait < 1 {
			t.Errorf("%s: %d %s %v", name, a.status, a.body, a.header)
		}
		if text := a.json["error_description"].(string); !strings.Contains(text, "Unknown client, or the secret does not match.") {
			t.Errorf("%s: %s", name, text)
		}
		if a.header.Get("RateLimit") == "" || a.header.Get("RateLimit-Policy") == "" || a.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %v", name, a.header)
		}
		for range 3 {
			s.token(c)
			s.token(other)
		}
	}
}

// TestAFloodOfWrongSecretsReadsLittle: what has not the form of a secret reads nothing, and
// of one client there is a read each fiftieth of a second at most, whether it exists or not.
// A secret that was made meanwhile works at once all the same.
func TestAFloodOfWrongSecretsReadsLittle(t *testing.T) {
	h := newHouse(t)
	store := &counting{Store: h.store}
	h.store = store
	s := h.start(0)
	wrong, c := s.unlikely(), s.demoKey()
	s.token(c)
	flood := func(id, secret string, while func()) int64 {
		before, begun := store.records.Load(), time.Now()
		var failed atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 25 {
					if s.post("/oauth2/token", id, secret, "grant_type", "client_credentials").status == 401 {
						failed.Add(1)
					}
				}
			})
		}
		while()
		all.Wait()
		if failed.Load() != 200 {
			t.Errorf("%d of 200 were refused", failed.Load())
		}
		return store.records.Load() - before - int64(time.Since(begun)/readPause)
	}
	nothing := func() {}
	for name, secret := range map[string]string{"a typing error": wrong[:len(wrong)-1] + "_", "no secret": "x", "long": strings.Repeat("x", 4000)} {
		before := store.records.Load()
		flood(c.Key.ClientID, secret, nothing)
		if n := store.records.Load() - before; n != 0 {
			t.Errorf("%s: %d reads", name, n)
		}
	}
	rotate := func() {
		second, err := s.registry.Rotate(context.Background(), keys.Program("test"), "org", c.Key.ID, keys.Overlap{Max: time.Hour})
		if err != nil {
			t.Error(err)
			return
		}
		second.Key.ClientID = c.Key.ClientID
		s.token(second)
	}
	for id, while := range map[string]func(){c.Key.ClientID: rotate, "imara_ci_00000000000000000000": nothing} {
		if n := flood(id, wrong, while); n > 4 { // the first, and those of the rotation
			t.Errorf("%s: %d reads more than one each %v", id, n, readPause)
		}
	}
}

// TestAReadIsNeverBehind: who asks while a read runs waits for one that begins afterwards,
// all of them for the same, a pause after the first; who goes away leaves the others.
func TestAReadIsNeverBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var mu sync.Mutex
		var at []time.Duration
		r := reads{read: func(context.Context, string) (*keys.Record, error) {
			mu.Lock()
			at = append(at, time.Since(begun))
			mine := len(at)
			mu.Unlock()
			time.Sleep(readPause * 2 / 5)
			return &keys.Record{Position: uint64(mine)}, nil
		}}
		var all sync.WaitGroup
		ask := func(ctx context.Context, want uint64) {
			all.Go(func() {
				if got, err := r.get(ctx, "a"); err != nil || got.Position != want {
					t.Errorf("read %+v, %v, want %d", got, err, want)
				}
			})
			synctest.Wait()
		}
		ask(t.Context(), 1)
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if _, err := r.get(ctx, "a"); err != context.Canceled {
				t.Error(err)
			}
		})
		for range 5 {
			ask(t.Context(), 2)
		}
		cancel()
		time.Sleep(readPause * 3 / 5) // the first has ended, the second not begun
		ask(t.Context(), 2)
		time.Sleep(readPause * 3 / 5) // the second runs
		ask(t.Context(), 3)
		all.Wait()
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(at) != 3 || at[1] != readPause || at[2] != 2*readPause {
			t.Errorf("reads at %v", at)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.of) != 0 {
			t.Errorf("%d are kept", len(r.of))
		}
	})
}

// TestARunawayClientMeetsItsOwnLimit: who buys more tokens than it may is told so, and what
// is left before; another key of the organization goes on, and an operator can grant more.
func TestARunawayClientMeetsItsOwnLimit(t *testing.T) {
	h := limited(t)
	h.tokensPerMinute = 10
	s := h.start(0)
	c, other := s.demoKey(), s.demoKey()
	buy := func() answer {
		return s.post("/oauth2/token", c.Key.ClientID, c.Secret.Reveal(), "grant_type", "client_credentials")
	}
	for i := range 10 {
		a := buy()
		if told := a.header.Get("RateLimit") != ""; a.status != 200 || told != (i > 4) {
			t.Errorf("token %d: %d, %v", i, a.status, a.header)
		}
	}
	a := buy()
	if a.status != 429 || a.json["error"] != "slow_down" || a.header.Get("RateLimit-Policy") != `"tokens";q=10;w=60` || a.header.Get("Retry-After") == "" {
		t.Errorf("one more: %d %s %v", a.status, a.body, a.header)
	}
	s.token(other)
	grant := func(by keys.Actor, n int) error {
		_, _, err := s.registry.Edit(context.Background(), by, "org", c.Key.ID, func(e *keys.KeyEdit) { e.TokensPerMinute = n })
		return err
	}
	owner := keys.Actor{ClientID: "panel", MemberID: "mem", Role: keys.Owner}
	if err := grant(owner, 100); err == nil {
		t.Error("an owner grants it")
	}
	for _, n := range []int{-1, keys.MaxTokensPerMinute + 1} {
		if err := grant(keys.Program("test"), n); err == nil {
			t.Errorf("%d is granted", n)
		}
	}
	if err := grant(keys.Program("test"), 1000); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		s.token(c)
	}
}
