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

	"github.com/google/go-cmp/cmp"

	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/history"
)

// race verifies a token at all verifiers without pause while revoke runs, and
// fails if they decide what revocation promises not to happen. It returns the
// receipt and how many verifications succeeded.
func race(t *testing.T, apis []*apiVerifier, raw string, revoke func() (keys.Key, keys.Receipt, error)) (keys.Receipt, int64) {
	t.Helper()
	var accepted atomic.Int64
	var decisions history.History
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i, api := range apis {
		all.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				switch _, err := api.Verify(raw); {
				case errors.Is(err, tokens.ErrRevoked):
					decisions.Refused(fmt.Sprint(i), "key", time.Now())
					return
				case err == nil:
					decisions.Accepted(fmt.Sprint(i), "key", begun)
					accepted.Add(1)
				case !errors.Is(err, tokens.ErrStale):
					t.Error(err)
				}
			}
		})
	}
	decisions.Revoking("key", time.Now())
	_, receipt, err := revoke()
	decisions.Returned("key", time.Now())
	if err != nil {
		t.Error(err)
	}
	for i, api := range apis {
		if _, err := api.Verify(raw); err == nil {
			t.Errorf("verifier %d accepts after the revoke returned (%+v)", i, receipt)
		}
	}
	stop()
	all.Wait()
	for _, violation := range decisions.Violations() {
		t.Error(violation)
	}
	return receipt, accepted.Load()
}

// raceAll revokes n keys of s under their verifiers, and calls harm before each. It
// returns the receipts.
func raceAll(t *testing.T, s *running, apis []*apiVerifier, n int, harm func(i int)) (receipts []keys.Receipt) {
	t.Helper()
	sum := int64(0)
	for i := range n {
		c := s.demoKey()
		raw := s.token(c)
		receipt, accepted := race(t, apis, raw, func() (keys.Key, keys.Receipt, error) {
			harm(i)
			return s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
		})
		sum += accepted
		receipts = append(receipts, receipt)
	}
	if sum == 0 {
		t.Error("no verification succeeded before a revoke: nothing was raced")
	}
	return receipts
}

// TestNoVerifierAcceptsAfterRevokeReturns: eight verifiers verify without pause
// while keys are revoked under them, and every receipt counts every one.
func TestNoVerifierAcceptsAfterRevokeReturns(t *testing.T) {
	s := newHouse(t).start(0)
	var apis []*apiVerifier
	for i := range 8 {
		apis = append(apis, s.follow(fmt.Sprintf("api %d", i), 0))
	}
	receipts := raceAll(t, s, apis, 40, func(int) {})
	for _, r := range receipts {
		stored, err := s.store.Receipt(context.Background(), r.Position)
		if err != nil || !cmp.Equal(stored, r) {
			t.Fatalf("stored %v, and it says %s", err, cmp.Diff(stored, r))
		}
		if r.State != keys.Confirmed || r.Confirmed != 9 || r.Total != 9 {
			t.Fatalf("receipt %+v", r)
		}
	}
}

// gate is a network that can be cut. Requests on their way hang, as in a
// partition, until their own bound ends them.
type gate struct {
	http.RoundTripper
	mu  sync.Mutex
	cut chan struct{} // not nil while cut; closed when it is mended
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := g.RoundTripper.RoundTrip(r)
	g.mu.Lock()
	cut := g.cut
	g.mu.Unlock()
	if cut != nil {
		if err == nil {
			response.Body.Close()
		}
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return response, err
}

func (g *gate) set(cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if cut {
		g.cut = make(chan struct{})
	} else {
		g.cut = nil
	}
}

// gated is a verifier behind a gate.
func (r *running) gated(name string, lease time.Duration) (*apiVerifier, *gate) {
	g := &gate{RoundTripper: http.DefaultTransport}
	return r.followWith(name, lease, g), g
}

// TestVerifierWithoutContactRefusesBeforeTheRevokeReturns: the revoke waits out
// the lease, says so, and by then the verifier answers 503. When contact is back
// it finds that it was retired, joins again, and refuses the token as revoked.
func TestVerifierWithoutContactRefusesBeforeTheRevokeReturns(t *testing.T) {
	s := newHouse(t).start(0)
	api, network := s.gated("cut off", time.Second)
	healthy := s.follow("healthy", 0)
	c, untouched := s.demoKey(), s.demoKey()
	raw, other := s.token(c), s.token(untouched)
	if _, err := api.Verify(raw); err != nil {
		t.Fatal(err)
	}
	network.set(true)
	_, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
	if _, late := api.Verify(raw); late == nil {
		t.Error("accepted after the revoke returned")
	}
	if err != nil || receipt.State != keys.LeaseEnded || receipt.Confirmed != 2 || receipt.Total != 3 || receipt.Waited < time.Second {
		t.Errorf("receipt %+v, %v", receipt, err)
	}
	if _, err := api.Verify(other); !errors.Is(err, tokens.ErrStale) {
		t.Errorf("a token that nobody revoked, without contact: %v", err)
	}
	if _, err := healthy.Verify(other); err != nil {
		t.Errorf("at a verifier with contact: %v", err)
	}
	eventually(t, "the silent verifier is retired", func() bool {
		sessions, err := s.store.Sessions(context.Background())
		return err == nil && len(sessions) == 2
	})
	d := s.demoKey()
	if _, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", d.Key.ID, ""); err != nil || receipt.State != keys.Confirmed || receipt.Total != 2 {
		t.Errorf("after it was retired: %+v, %v", receipt, err)
	}
	network.set(false)
	eventually(t, "the verifier is back", func() bool { _, err := api.Verify(other); return err == nil })
	if _, err := api.Verify(raw); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("the revoked token, with contact again: %v", err)
	}
}

// TestVerifierThatLeftIsNotWaitedFor: leaving is at once, and a verifier that
// left accepts nothing.
func TestVerifierThatLeftIsNotWaitedFor(t *testing.T) {
	s := newHouse(t).start(0)
	api := s.follow("leaving", 30*time.Second)
	c := s.demoKey()
	raw := s.token(c)
	api.stop()
	if _, err := api.Verify(raw); !errors.Is(err, tokens.ErrStale) {
		t.Errorf("after it left: %v", err)
	}
	if _, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil || receipt.Total != 1 || receipt.State != keys.Confirmed {
		t.Errorf("receipt %+v, %v", receipt, err)
	}
}

// beginRevoke returns when the key is revoked in the store, and the receipt later.
func (r *running) beginRevoke(c keys.Created) <-chan keys.Receipt {
	r.t.Helper()
	done := make(chan keys.Receipt, 1)
	go func() {
		_, receipt, err := r.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
		if err != nil {
			r.t.Error(err)
		}
		done <- receipt
	}()
	eventually(r.t, "the key is revoked in the store", func() bool {
		k, err := r.store.Key(context.Background(), "org", c.Key.ID)
		return err == nil && !k.RevokedAt.IsZero()
	})
	return done
}

// TestVerifierThatLeavesDuringARevokeIsNotWaitedFor: it accepts nothing any more,
// which is as good as a confirmation.
func TestVerifierThatLeavesDuringARevokeIsNotWaitedFor(t *testing.T) {
	s := newHouse(t).start(0)
	api, network := s.gated("leaving", 30*time.Second)
	c := s.demoKey()
	network.set(true)
	// Its poll may still be in flight on the server; only its absence is sure.
	done := s.beginRevoke(c)
	eventually(t, "it is waited for", func() bool {
		for _, w := range s.relay.waits.list() {
			s.relay.waits.mu.Lock()
			total := w.seen.Total
			s.relay.waits.mu.Unlock()
			if total == 2 {
				return true
			}
		}
		return false
	})
	network.set(false)
	api.stop()
	if receipt := <-done; receipt.State != keys.Confirmed || receipt.Total != 2 {
		t.Errorf("receipt %+v", receipt)
	}
}

// TestVerifierFollowsThroughARestart: the next server takes its session over; a
// revocation in between, which nobody published, reaches it, and is confirmed.
func TestVerifierFollowsThroughARestart(t *testing.T) {
	h := newHouse(t)
	first := h.start(0)
	second := h.start(0) // another replica, to which the address moves
	move := &detour{RoundTripper: http.DefaultTransport, to: first.url}
	api := first.followWith("steady", 0, move)
	c, untouched := first.demoKey(), first.demoKey()
	raw, other := first.token(c), first.token(untouched)
	first.stop()
	_, err := h.store.Append(context.Background(), keys.Entry{Kind: tokens.Cut, Subject: tokens.Client(c.Key.ClientID)})
	if err != nil {
		t.Fatal(err)
	}
	move.set(second.url)
	eventually(t, "the verifier refuses", func() bool { _, err := api.Verify(raw); return errors.Is(err, tokens.ErrRevoked) })
	if _, err := api.Verify(other); err != nil {
		t.Errorf("a token that nobody revoked: %v", err)
	}
	_, receipt, err := second.registry.Revoke(context.Background(), keys.Program("test"), "org", untouched.Key.ID, "")
	if err != nil || receipt.State != keys.Confirmed || receipt.Total != 2 {
		t.Errorf("receipt at the second server: %+v, %v", receipt, err)
	}
}

// detour sends requests to a server wherever it is now.
type detour struct {
	http.RoundTripper
	mu sync.Mutex
	to string
}

func (d *detour) set(to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = to
}

func (d *detour) RoundTrip(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	host := strings.TrimPrefix(d.to, "http://")
	d.mu.Unlock()
	r = r.Clone(r.Context())
	r.URL.Host = host
	return d.RoundTripper.RoundTrip(r)
}

// lagging is a store whose log stands still for one server.
type lagging struct {
	*sqlstore.Store
	mu     sync.Mutex
	frozen *keys.LogPage
}

func (l *lagging) Read(ctx context.Context, after uint64, limit int) (keys.LogPage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen != nil {
		page := *l.frozen
		page.Entries = nil
		return page, nil
	}
	return l.Store.Read(ctx, after, limit)
}

func (l *lagging) freeze(page *keys.LogPage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = page
}

// TestTokenOfALaggingServerIsDeadOnArrival: a replica that has not heard of the
// revocation mints from its cache; no verifier accepts the token (H8).
func TestTokenOfALaggingServerIsDeadOnArrival(t *testing.T) {
	h := newHouse(t)
	s := h.start(0)
	slow := &lagging{Store: h.sql}
	h.store = slow
	behind := h.start(0)
	h.store = h.sql
	api := s.follow("api", 0)
	c := s.demoKey()
	if _, err := api.Verify(behind.token(c)); err != nil {
		t.Fatal(err)
	}
	tip, err := h.sql.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second server is up to date", func() bool { return behind.relay.revocations.Watermark() == tip.Watermark })
	slow.freeze(&keys.LogPage{Tip: tip.Watermark, Floor: tip.Floor, Head: tip.Head})
	// Not Revoke: it waits for the lagging server, which is a verifier too.
	_, commit, err := h.store.ChangeKey(context.Background(), "org", c.Key.ID, func(_ keys.Organization, _ int, k *keys.Key) (keys.Entry, error) {
		k.RevokedAt = time.Now()
		return keys.Entry{Kind: tokens.Cut, Subject: tokens.Client(k.ClientID)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	minted := behind.token(c)
	eventually(t, "the verifier has the cut", func() bool { return api.feed.Revocations().Watermark() >= commit.Position })
	if _, err := api.Verify(minted); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("minted by a server that did not know: %v", err)
	}
	slow.freeze(nil)
	eventually(t, "the lagging server knows", func() bool {
		return behind.post("/oauth2/token", c.Key.ClientID, c.Secret.Reveal(), "grant_type", "client_credentials").status == 401
	})
}

// TestVerifierOutlivesTheCutOfItsOwnToken: its key is suspended, which ends its session and
// the access token that it polls with; when the key is resumed it joins again by itself.
func TestVerifierOutlivesTheCutOfItsOwnToken(t *testing.T) {
	s := newHouse(t).start(0)
	api := s.follow("api", 5*time.Second)
	raw := s.token(s.demoKey())
	if _, _, err := s.registry.Suspend(context.Background(), keys.Program("test"), "operator", api.key.Key.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.registry.Resume(context.Background(), keys.Program("test"), "operator", api.key.Key.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it verifies again", func() bool { _, err := api.Verify(raw); return err == nil })
	before := api.feed.Revocations().Watermark()
	c := s.demoKey()
	if _, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil ||
		receipt.State != keys.Confirmed && receipt.State != keys.LeaseEnded { // of the session that was cut
		t.Errorf("%+v, %v", receipt, err)
	}
	if _, err := api.Verify(raw); err != nil || api.feed.Revocations().Watermark() <= before {
		t.Errorf("%v", err)
	}
}

// TestNobodySpeaksForAnotherVerifier: neither an end nor an acknowledgement of a
// session comes from a key that did not join it.
func TestNobodySpeaksForAnotherVerifier(t *testing.T) {
	s := newHouse(t).start(0)
	api, network := s.gated("victim", 2*time.Second)
	stranger := s.token(s.key("operator", keys.Access{Scopes: []string{keys.FeedScope}}))
	sessions, err := s.store.Sessions(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var victim string
	for _, session := range sessions {
		if session.Name == "victim" {
			victim = session.ID
		}
	}
	c := s.demoKey()
	raw := s.token(c)
	network.set(true)
	done := s.beginRevoke(c)
	tip, err := s.store.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for method, query := range map[string]string{"DELETE": "", "GET": fmt.Sprintf("?nonce=n&wait_ms=0&after=%d&head=%d", tip.Watermark, tip.Head)} {
		request, err := http.NewRequest(method, s.url+"/feed/sessions/"+victim+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+stranger)
		if a := send(t, request); a.status != 404 {
			t.Errorf("%s: %d %s", method, a.status, a.body)
		}
	}
	if receipt := <-done; receipt.State != keys.LeaseEnded {
		t.Errorf("receipt %+v", receipt)
	}
	if _, err := api.Verify(raw); err == nil {
		t.Error("accepted after the revoke returned")
	}
}

// TestRestoredDatabaseRefusesWhatItCannotKnow: tokens of the time after a backup
// have positions beyond its log; a cut of the restored database covers them.
func TestRestoredDatabaseRefusesWhatItCannotKnow(t *testing.T) {
	h := newHouse(t)
	s := h.start(0)
	api := s.follow("api", 0)
	c, later := s.demoKey(), s.demoKey()
	// The token's time is after the backup: its position is beyond what follows.
	for range 50 {
		if _, err := s.registry.Rotate(context.Background(), keys.Program("test"), "org", later.Key.ID, keys.Overlap{}); err != nil {
			t.Fatal(err)
		}
	}
	raw := s.token(c)
	s.stop()
	api.stop()
	if err := errors.Join(h.sql.Restored(context.Background()), h.sql.Waited(context.Background())); err != nil {
		t.Fatal(err)
	}
	again := h.start(0)
	after := again.follow("api", 0)
	if _, err := after.Verify(raw); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("a token from before: %v", err)
	}
	fresh := again.token(c)
	if _, err := after.Verify(fresh); err != nil {
		t.Errorf("a new token: %v", err)
	}
	if _, receipt, err := again.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil || receipt.Total != 2 {
		t.Errorf("%+v, %v", receipt, err)
	}
	if _, err := after.Verify(fresh); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("revoked: %v", err)
	}
}

// TestResumedKeyWorksAtOnceAndOldTokensStayDead: rv needs no un-revocation (H9).
func TestResumedKeyWorksAtOnceAndOldTokensStayDead(t *testing.T) {
	s := newHouse(t).start(0)
	api := s.follow("api", 0)
	c := s.demoKey()
	for range 20 {
		old := s.token(c)
		if _, _, err := s.registry.Suspend(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := api.Verify(old); !errors.Is(err, tokens.ErrRevoked) {
			t.Fatalf("suspended: %v", err)
		}
		if _, err := s.registry.Resume(context.Background(), keys.Program("test"), "org", c.Key.ID); err != nil {
			t.Fatal(err)
		}
		fresh := s.token(c)
		if _, err := api.Verify(old); !errors.Is(err, tokens.ErrRevoked) {
			t.Fatalf("an old token after the resume: %v", err)
		}
		if _, err := api.Verify(fresh); err != nil {
			t.Fatalf("a new token after the resume: %v", err)
		}
	}
}

// TestNoFalseDenials: keys that nobody touches are never refused, whatever
// happens around them.
func TestNoFalseDenials(t *testing.T) {
	s := newHouse(t).start(0)
	api := s.follow("api", 0)
	c := s.demoKey()
	raw := s.token(c)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for ctx.Err() == nil {
			if _, err := api.Verify(raw); err != nil {
				t.Error(err)
				return
			}
			if _, err := api.Verify(s.token(c)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 50 {
		d := s.demoKey()
		if _, _, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", d.Key.ID, ""); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	all.Wait()
}

// TestAnotherHistoryIsNoticed: a database that was put back, with the same
// number of entries but others, makes server and verifiers begin again.
func TestAnotherHistoryIsNoticed(t *testing.T) {
	h := newHouse(t)
	forked := &forkable{Store: h.sql}
	h.store = forked
	s := h.start(0)
	api := s.follow("api", 0)
	c := s.demoKey()
	raw := s.token(c)
	session := func() string {
		sessions, err := h.sql.Sessions(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, x := range sessions {
			names = append(names, x.ID)
		}
		return strings.Join(names, " ")
	}
	before := session()
	forked.on.Store(true)
	eventually(t, "both have new sessions", func() bool {
		now := session()
		for id := range strings.FieldsSeq(before) {
			if strings.Contains(now, id) {
				return false
			}
		}
		return len(strings.Fields(now)) >= 2
	})
	eventually(t, "the verifier decides again", func() bool { _, err := api.Verify(raw); return err == nil })
	if !strings.Contains(h.log.String(), "another history") {
		t.Error("nobody was told")
	}
}

// forkable pretends that every head is another.
type forkable struct {
	*sqlstore.Store
	on atomic.Bool
}

func (f *forkable) Read(ctx context.Context, after uint64, limit int) (keys.LogPage, error) {
	page, err := f.Store.Read(ctx, after, limit)
	if f.on.Load() && page.Head != 0 {
		page.Head++
		for i := range page.Entries {
			page.Entries[i].Head++
		}
	}
	return page, err
}

func (f *forkable) Snapshot(ctx context.Context) (keys.LogSnapshot, error) {
	snapshot, err := f.Store.Snapshot(ctx)
	if f.on.Load() && snapshot.Head != 0 {
		snapshot.Head++
	}
	return snapshot, err
}

// TestStoreThatFailsMakesServersRefuse: reads fail, so past the lease nothing is
// issued and nothing is accepted; then all is well again (F-11, I9).
func TestStoreThatFailsMakesServersRefuse(t *testing.T) {
	h := newHouse(t)
	broken := &breakable{Store: h.sql}
	h.store = broken
	s := h.start(time.Second)
	api := s.follow("api", time.Second)
	c := s.demoKey()
	raw := s.token(c)
	ask := func() answer {
		return s.post("/oauth2/token", c.Key.ClientID, c.Secret.Reveal(), "grant_type", "client_credentials")
	}
	broken.on.Store(true)
	if a := ask(); a.status != 200 {
		t.Errorf("within the lease: %d %s", a.status, a.body)
	}
	eventually(t, "the server refuses", func() bool { return ask().status == 503 })
	eventually(t, "the verifier refuses", func() bool { _, err := api.Verify(raw); return errors.Is(err, tokens.ErrStale) })
	if a := ask(); a.json["error"] != "temporarily_unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s %v", a.status, a.body, a.header)
	}
	request, err := http.NewRequest("GET", s.url+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := send(t, request); a.status != 503 {
		t.Errorf("readyz: %d", a.status)
	}
	broken.on.Store(false)
	eventually(t, "the server issues", func() bool { return ask().status == 200 })
	eventually(t, "the verifier accepts", func() bool { _, err := api.Verify(raw); return err == nil })
}

// breakable fails to read the log.
type breakable struct {
	*sqlstore.Store
	on atomic.Bool
}

func (b *breakable) Read(ctx context.Context, after uint64, limit int) (keys.LogPage, error) {
	if b.on.Load() {
		return keys.LogPage{}, fmt.Errorf("%w: pulled the plug", keys.ErrUnavailable)
	}
	return b.Store.Read(ctx, after, limit)
}
