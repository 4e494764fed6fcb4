//go:build unix

package authz

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// TestVerifierOfARevokedKeyStopsAtOnce: over HTTP and over Redis, its session ends with its
// key in one transaction, it accepts nothing once the receipt is there, and no token lets
// it poll again.
func TestVerifierOfARevokedKeyStopsAtOnce(t *testing.T) {
	for _, way := range []string{"HTTP", "Redis"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := newRedisHouse(t).start(0)
			api := s.follow("api", time.Second)
			if way == "Redis" {
				api.stop()
				api = s.followRedis("api", 2*time.Second, s.redis.Address())
			}
			raw := s.token(s.demoKey())
			if _, err := api.Verify(raw); err != nil {
				t.Fatal(err)
			}
			_, r, err := s.registry.Revoke(context.Background(), keys.Program("test"), "operator", api.key.Key.ID, "")
			if err != nil || !r.Settled() {
				t.Errorf("%+v, %v", r, err)
			}
			if _, err := api.Verify(raw); !errors.Is(err, tokens.ErrStale) {
				t.Errorf("after its key was revoked: %v", err)
			}
			eventually(t, "it is no longer listed", func() bool {
				sessions, err := s.store.Sessions(context.Background())
				return err == nil && len(sessions) == 1
			})
			_, r, err = s.registry.Revoke(context.Background(), keys.Program("test"), "org", s.demoKey().Key.ID, "")
			if err != nil || r.State != keys.Confirmed || r.Total != 1 {
				t.Errorf("the next revocation: %+v, %v", r, err)
			}
		})
	}
}

// TestOneCredentialHoldsNobodyUp: all silent sessions that one key may have hold a revocation
// up as long as one; once the key is revoked, a revocation waits for what is left of their
// leases, and then not at all.
func TestOneCredentialHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	s := newHouse(t).start(0)
	key := s.key("operator", keys.Access{Scopes: []string{keys.FeedScope}})
	const flood = 100 // so that the last has joined before the lease of the first ends
	few := func(e *keys.KeyEdit) { e.Verifier.Sessions = flood }
	if _, _, err := s.registry.Edit(context.Background(), keys.Program("test"), "operator", key.Key.ID, few); err != nil {
		t.Fatal(err)
	}
	for i := range flood {
		session := newSession(fmt.Sprint("flood ", i), tokens.DefaultLease)
		session.ClientID, session.Via, session.Protocol = key.Key.ClientID, "ver_elsewhere", 2
		if err := s.sql.Join(context.Background(), session, s.relay.admits(session, "")); err != nil {
			t.Fatal(err)
		}
	}
	one := newSession("one too many", time.Second)
	one.ClientID = key.Key.ClientID
	if err := s.sql.Join(context.Background(), one, s.relay.admits(one, "")); !errors.Is(err, keys.ErrSessions) {
		t.Errorf("over the limit: %v", err)
	}
	begun := time.Now()
	_, r, err := s.registry.Revoke(context.Background(), keys.Program("test"), "operator", key.Key.ID, "it floods")
	longest := tokens.DefaultLease + margin(tokens.DefaultLease)
	if err != nil || r.State != keys.LeaseEnded || r.Total != flood+1 || r.Waited < longest {
		t.Errorf("the flood: %s %d of %d after %v, %v", r.State, r.Confirmed, r.Total, r.Waited, err)
	}
	_, r, err = s.registry.Revoke(context.Background(), keys.Program("test"), "org", s.demoKey().Key.ID, "")
	if err != nil || r.Waited > longest/2 {
		t.Errorf("the next, %v after the flood was ended: %s after %v, %v", time.Since(begun), r.State, r.Waited, err)
	}
	eventually(t, "the flood is gone", func() bool {
		sessions, err := s.store.Sessions(context.Background())
		return err == nil && len(sessions) == 1
	})
}

// TestCutThatALaggingServerLacksEndsItsVerifiers: a verifier follows a server that reads the
// log late, and its key is revoked at another. Once the receipt is there it accepts nothing,
// and the lagging server, which takes its token for good, admits no session of it any more.
func TestCutThatALaggingServerLacksEndsItsVerifiers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHouse(t)
	s := h.start(0)
	slow := &stuck{Store: h.sql}
	h.store = slow
	behind := h.start(time.Second)
	h.store = h.sql
	api := behind.follow("api", 2*time.Second)
	raw, own := s.token(s.demoKey()), behind.token(api.key)
	tip, err := h.sql.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second server is up to date", func() bool { return behind.relay.revocations.Watermark() == tip.Watermark })
	if _, err := api.Verify(raw); err != nil {
		t.Fatal(err)
	}
	slow.still.Store(true)
	_, r, err := s.registry.Revoke(ctx, keys.Program("test"), "operator", api.key.Key.ID, "")
	if err != nil || r.State != keys.LeaseEnded || r.Total != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := api.Verify(raw); !errors.Is(err, tokens.ErrStale) {
		t.Errorf("after its key was revoked: %v", err)
	}
	joined := send(t, feedRequest(t, behind.url, own, `{"name":"again","lease_ms":1000}`))
	if joined.status/100 == 2 {
		t.Errorf("the lagging server admits it again: %d %s", joined.status, joined.body)
	}
	sessions, err := h.sql.Sessions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range sessions {
		if x.Name == "again" {
			t.Errorf("%+v", x)
		}
	}
}

// stuck is a store of which one server does not get the log while it stands still.
type stuck struct {
	*sqlstore.Store
	still atomic.Bool
}

func (s *stuck) Read(ctx context.Context, after uint64, limit int) (keys.LogPage, error) {
	if s.still.Load() {
		<-ctx.Done()
		return keys.LogPage{}, ctx.Err()
	}
	return s.Store.Read(ctx, after, limit)
}

func feedRequest(t *testing.T, server, token, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest("POST", server+"/feed/sessions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// TestTenThousandSilentSessionsHoldUpAsLongAsOne: of 150 keys, with the default lease. Other
// requests are answered meanwhile.
func TestTenThousandSilentSessionsHoldUpAsLongAsOne(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newHouse(t).start(0)
	const verifierKeys, each = 150, 67
	many := 2 * verifierKeys
	if _, err := s.registry.SetLimit(ctx, keys.Program("test"), "operator", &many, "tests"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	turns := make(chan struct{}, 8)
	for i := range verifierKeys {
		key := s.key("operator", keys.Access{Scopes: []string{keys.FeedScope}})
		all.Go(func() {
			for j := range each {
				turns <- struct{}{}
				session := newSession(fmt.Sprint(i, ".", j), tokens.DefaultLease)
				session.ClientID, session.Via, session.Protocol = key.Key.ClientID, "ver_elsewhere", 2
				if err := s.sql.Join(ctx, session, s.relay.admits(session, "")); err != nil {
					t.Error(err)
				}
				<-turns
			}
		})
	}
	all.Wait()
	c, other := s.demoKey(), s.demoKey()
	answered := make(chan keys.Receipt, 1)
	go func() {
		_, r, err := s.registry.Revoke(ctx, keys.Program("test"), "org", c.Key.ID, "")
		if err != nil {
			t.Error(err)
		}
		answered <- r
	}()
	for n := range 100 {
		select {
		case r := <-answered:
			t.Fatalf("%s after %d tokens and %v", r.State, n, r.Waited)
		default:
			s.token(other)
		}
	}
	longest, r := tokens.DefaultLease+margin(tokens.DefaultLease), <-answered
	if r.State != keys.LeaseEnded || r.Confirmed != 1 || r.Total < verifierKeys*each/4 || r.Waited < longest || r.Waited > 3*longest {
		t.Errorf("%s %d of %d after %v", r.State, r.Confirmed, r.Total, r.Waited)
	}
}

// TestJoinIsLimitedByItsKey: the lease, a waiver and the number of sessions.
func TestJoinIsLimitedByItsKey(t *testing.T) {
	s := newHouse(t).start(0)
	ctx, by := context.Background(), keys.Program("test")
	key := s.key("operator", keys.Access{Scopes: []string{keys.FeedScope}})
	token := s.token(key)
	join := func(body string) answer { return send(t, feedRequest(t, s.url, token, body)) }
	long, waives := `{"name":"api","lease_ms":20000}`, `{"name":"api","lease_ms":10000,"accept_stale_ms":60000}`
	if a := join(long); a.status != 422 || a.json["error"] != "lease_too_long" {
		t.Errorf("a long lease: %d %s", a.status, a.body)
	}
	if a := join(waives); a.status != 403 || a.json["error"] != "insufficient_scope" {
		t.Errorf("a waiver without its scope: %d %s", a.status, a.body)
	}
	allow := func(edit func(*keys.KeyEdit)) {
		t.Helper()
		if _, _, err := s.registry.Edit(ctx, by, "operator", key.Key.ID, edit); err != nil {
			t.Fatal(err)
		}
	}
	allow(func(e *keys.KeyEdit) {
		e.Scopes = append(e.Scopes, keys.WaiveScope)
		e.Verifier = keys.VerifierLimits{Sessions: 2, Lease: 20 * time.Second}
	})
	for _, body := range []string{long, waives} {
		if a := join(body); a.status != 201 {
			t.Errorf("granted: %d %s", a.status, a.body)
		}
	}
	if a := join(long); a.status != 429 || a.header.Get("Retry-After") == "" {
		t.Errorf("a third: %d %s", a.status, a.body)
	}
	sessions, err := s.sql.Sessions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	last := sessions[len(sessions)-1].ID
	if a := join(`{"name":"api","lease_ms":1000,"replaces":"` + last + `"}`); a.status != 201 {
		t.Errorf("in place of one of them: %d %s", a.status, a.body)
	}
	customer := keys.Actor{ClientID: "customer", MemberID: "mem_x", Role: keys.Owner}
	if _, _, err := s.registry.Edit(ctx, customer, "operator", key.Key.ID, func(e *keys.KeyEdit) { e.Verifier.Sessions = 9 }); !errors.Is(err, keys.ErrForbidden) {
		t.Errorf("somebody else's limits: %v", err)
	}
}

// TestVerifierThatIsEndedJoinsAgain: by its public id, which nobody can poll with.
func TestVerifierThatIsEndedJoinsAgain(t *testing.T) {
	s := newHouse(t).start(0)
	api := s.follow("api", 0)
	raw := s.token(s.demoKey())
	verifiers, err := s.relay.Verifiers(context.Background())
	if err != nil || len(verifiers) != 2 {
		t.Fatalf("%+v, %v", verifiers, err)
	}
	first := verifiers[1]
	if err := s.relay.EndVerifier(context.Background(), keys.Program("test"), first.ID); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("by the id that it polls with: %v", err)
	}
	for range 2 {
		if err := s.relay.EndVerifier(context.Background(), keys.Program("test"), first.PublicID()); err != nil {
			t.Error(err)
		}
	}
	if n := len(s.cuts(tokens.Session(first.ID))); n != 1 {
		t.Errorf("%d entries", n)
	}
	eventually(t, "it has joined again", func() bool {
		now, err := s.relay.Verifiers(context.Background())
		return err == nil && len(now) >= 2 && now[len(now)-1].ID != first.ID && now[len(now)-1].EndedAt.IsZero()
	})
	eventually(t, "it verifies", func() bool { _, err := api.Verify(raw); return err == nil })
}
