package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/redisfeed/redistest"
)

// impatient is an actor who waits for receipts as long as that, or not at all.
func impatient(wait time.Duration) keys.Actor {
	by := keys.Program("test")
	by.Wait = wait
	return by
}

// joinSilent stores a session that never polls.
func (r *running) joinSilent(name string, lease time.Duration) keys.Session {
	r.t.Helper()
	key := r.key("operator", keys.Access{Scopes: []string{keys.FeedScope}})
	session := newSession(name, lease)
	session.ClientID, session.Via, session.Protocol = key.Key.ClientID, "ver_elsewhere", 2
	if err := r.sql.Join(context.Background(), session, r.relay.admits(session, "")); err != nil {
		r.t.Fatal(err)
	}
	return session
}

// cuts returns the entries of the log that cut something of a subject.
func (h *house) cuts(subject tokens.Subject) (list []tokens.Entry) {
	h.t.Helper()
	page, err := h.sql.Read(context.Background(), 0, 10000)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range page.Entries {
		if e.Subject == subject && e.Kind == tokens.Cut {
			list = append(list, e)
		}
	}
	return list
}

// TestHangingUpLosesNothing: with the default lease and a silent verifier, a caller who
// hangs up and one who waits a moment are told that it waits, the wait goes on, whoever
// asks again joins it, on whatever server, and all are told the same in the end.
func TestHangingUpLosesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.url = "shared by two servers"
	s, other := h.start(0), h.start(0)
	silent := s.joinSilent("silent", tokens.DefaultLease)
	c := s.demoKey()
	ctx, hangUp := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer hangUp()
	begun := time.Now()
	_, first, err := s.registry.Revoke(ctx, keys.Program("test"), "org", c.Key.ID, "leaked")
	latest := begun.Add(silent.Lease + margin(silent.Lease))
	if err != nil || first.State != keys.Waiting || first.Latest.Before(latest) || first.Latest.After(latest.Add(2*time.Second)) {
		t.Fatalf("hung up: %+v, %v", first, err)
	}
	_, second, err := s.registry.Revoke(context.Background(), impatient(time.Second), "org", c.Key.ID, "again")
	if err != nil || second.State != keys.Waiting || second.Position != first.Position || second.Reason != "leaked" {
		t.Fatalf("asked again: %+v, %v", second, err)
	}
	var receipts [3]keys.Receipt
	var all sync.WaitGroup
	for i, at := range []*running{s, other, other} {
		all.Go(func() {
			var err error
			if _, receipts[i], err = at.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	r := receipts[0]
	if r.State != keys.LeaseEnded || r.Confirmed != 2 || r.Total != 3 || r.Waited < silent.Lease {
		t.Errorf("receipt %+v", r)
	}
	for _, same := range receipts[1:] {
		if diff := cmp.Diff(r, same); diff != "" {
			t.Errorf("two servers say different things: %s", diff)
		}
	}
	for _, m := range r.Members {
		if m.ID == silent.PublicID() && (m.State != keys.LeaseEnded || m.At.Before(begun.Add(silent.Lease))) {
			t.Errorf("the silent verifier: %+v", m)
		}
	}
	if n := len(h.cuts(tokens.Client(c.Key.ClientID))); n != 1 {
		t.Errorf("%d entries for one revocation", n)
	}
}

// TestWhatIsSoAlreadyAppendsNothing: each change that cuts, asked for twice, is one entry,
// and both answers have the same receipt.
func TestWhatIsSoAlreadyAppendsNothing(t *testing.T) {
	s := newHouse(t).start(0)
	ctx := context.Background()
	free, err := s.registry.CreateOrganization(ctx, keys.Program("test"), keys.Organization{Name: "Free soon", Plan: "Starter"})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(by keys.Actor, c keys.Created) (keys.Receipt, error){
		"revoke": func(by keys.Actor, c keys.Created) (keys.Receipt, error) {
			_, r, err := s.registry.Revoke(ctx, by, "org", c.Key.ID, "")
			return r, err
		},
		"suspend": func(by keys.Actor, c keys.Created) (keys.Receipt, error) {
			_, r, err := s.registry.Suspend(ctx, by, "org", c.Key.ID, "")
			return r, err
		},
		"narrow": func(by keys.Actor, c keys.Created) (keys.Receipt, error) {
			_, r, err := s.registry.Edit(ctx, by, "org", c.Key.ID, func(e *keys.KeyEdit) { e.Scopes = []string{"alerts:read"} })
			return r, err
		},
		"end a leaked secret": func(by keys.Actor, c keys.Created) (keys.Receipt, error) {
			_, r, err := s.registry.EndSecret(ctx, by, "org", c.Key.ID, c.Secret.CredentialID(), true)
			return r, err
		},
		"report a leak": func(by keys.Actor, c keys.Created) (keys.Receipt, error) {
			leak, err := s.registry.ReportLeak(ctx, by, c.Secret, "a log")
			return leak.Receipt, err
		},
		"token": func(by keys.Actor, c keys.Created) (keys.Receipt, error) {
			return s.registry.RevokeToken(ctx, by, "org", "jti of "+c.Key.ID)
		},
		"plan": func(by keys.Actor, _ keys.Created) (keys.Receipt, error) {
			_, r, err := s.registry.SetPlan(ctx, by, free.ID, "Free", "")
			return r, err
		},
	} {
		c := s.demoKey()
		hurried, err := change(impatient(-1), c)
		if err != nil || hurried.Position == 0 {
			t.Errorf("%s: %+v, %v", name, hurried, err)
			continue
		}
		before, err := s.sql.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := change(keys.Program("test"), c)
		if err != nil || receipt.State != keys.Confirmed || receipt.Position != hurried.Position {
			t.Errorf("%s again: %+v after %+v, %v", name, receipt, hurried, err)
		}
		if page, err := s.sql.Read(ctx, before.Watermark, 10); err != nil || len(page.Entries) > 0 {
			t.Errorf("%s again: appended %+v, %v", name, page.Entries, err)
		}
	}
}

// counted counts how often the list of sessions is read.
type counted struct {
	*sqlstore.Store
	rolls, lists atomic.Int64
}

func (c *counted) Roll(ctx context.Context, positions ...uint64) (keys.Roll, error) {
	c.rolls.Add(1)
	return c.Store.Roll(ctx, positions...)
}

func (c *counted) Sessions(ctx context.Context) ([]keys.Session, error) {
	c.lists.Add(1)
	return c.Store.Sessions(ctx)
}

// TestThousandWaitsReadTheListAsOneDoes: a thousand waits for one silent verifier read the
// list of sessions less than a hundred times a second, all together, and each ends one
// lease after its own commit.
func TestThousandWaitsReadTheListAsOneDoes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	store := &counted{Store: h.sql}
	h.store = store
	s := h.start(0)
	lease := tokens.DefaultLease
	s.joinSilent("silent", lease)
	before, begun := store.rolls.Load()+store.lists.Load(), time.Now()
	var all sync.WaitGroup
	for i := range 1000 {
		commit, err := h.sql.Append(context.Background(), keys.Entry{Kind: tokens.Cut, Subject: tokens.Token(fmt.Sprint(i))})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			r, err := s.relay.Confirm(context.Background(), commit)
			// It ends by the verifier's lease, never before.
			if err != nil || r.State != keys.LeaseEnded || r.Confirmed != 1 || r.Waited < lease+margin(lease) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	all.Wait()
	seconds := time.Since(begun).Seconds()
	reads := store.rolls.Load() + store.lists.Load() - before
	t.Logf("%d reads of the list in %.1f s", reads, seconds)
	if float64(reads) > 100*seconds {
		t.Errorf("the list was read %d times in %.1f s", reads, seconds)
	}
}

// forgetful cannot store receipts while it is on.
type forgetful struct {
	*sqlstore.Store
	on    atomic.Bool
	tries atomic.Int64
}

func (f *forgetful) PutReceipts(ctx context.Context, receipts []keys.Receipt) ([]keys.Receipt, error) {
	if f.on.Load() {
		f.tries.Add(1)
		return nil, keys.ErrUnavailable
	}
	return f.Store.PutReceipts(ctx, receipts)
}

// TestReceiptThatIsNotStoredIsNotGiven: what nobody could read again is not said. It is
// tried until the store is back, without haste.
func TestReceiptThatIsNotStoredIsNotGiven(t *testing.T) {
	h := newHouse(t)
	store := &forgetful{Store: h.sql}
	h.store = store
	s := h.start(0)
	c := s.demoKey()
	store.on.Store(true)
	_, r, err := s.registry.Revoke(context.Background(), impatient(2*time.Second), "org", c.Key.ID, "")
	if err != nil || r.State != keys.Waiting {
		t.Errorf("%+v, %v", r, err)
	}
	if n := store.tries.Load(); n < 2 || n > 40 {
		t.Errorf("%d tries in two seconds", n)
	}
	store.on.Store(false)
	_, r, err = s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
	if err != nil || r.State != keys.Confirmed {
		t.Errorf("%+v, %v", r, err)
	}
}

// switchable is a database that fails over to another one, which lost the tail.
type switchable struct {
	*sqlstore.Store
	to atomic.Pointer[sqlstore.Store]
}

func (s *switchable) now() *sqlstore.Store {
	if to := s.to.Load(); to != nil {
		return to
	}
	return s.Store
}

func (s *switchable) Read(ctx context.Context, after uint64, limit int) (keys.LogPage, error) {
	return s.now().Read(ctx, after, limit)
}

func (s *switchable) Append(ctx context.Context, e keys.Entry) (keys.Commit, error) {
	return s.now().Append(ctx, e)
}

func (s *switchable) Snapshot(ctx context.Context) (keys.LogSnapshot, error) {
	return s.now().Snapshot(ctx)
}

func (s *switchable) Sessions(ctx context.Context) ([]keys.Session, error) {
	return s.now().Sessions(ctx)
}

func (s *switchable) Roll(ctx context.Context, positions ...uint64) (keys.Roll, error) {
	return s.now().Roll(ctx, positions...)
}

func (s *switchable) Receipt(ctx context.Context, position uint64) (keys.Receipt, error) {
	return s.now().Receipt(ctx, position)
}

func (s *switchable) PutReceipts(ctx context.Context, receipts []keys.Receipt) ([]keys.Receipt, error) {
	return s.now().PutReceipts(ctx, receipts)
}

func (s *switchable) Leave(ctx context.Context, id string) error { return s.now().Leave(ctx, id) }
func (s *switchable) Join(ctx context.Context, x keys.Session, admit keys.AdmitSession) error {
	return s.now().Join(ctx, x, admit)
}

// copyOf is the database of a house as it is now: a standby that got so far.
func copyOf(t *testing.T, h *house) *sqlstore.Store {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Glob(h.dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	standby, err := sqlstore.OpenSQLite(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { standby.Close() })
	return standby
}

// TestEntriesOfAnotherHistoryAreNotAppliedToThis: a verifier waits for what follows an entry
// that a failover loses. A cut takes its position, another entry comes after that, and
// reaches the verifier first: over HTTP since its poll waits at the server meanwhile, over
// Redis since the stream is replaced while it reads. It must not take it for the next.
func TestEntriesOfAnotherHistoryAreNotAppliedToThis(t *testing.T) {
	ctx := context.Background()
	touch := keys.Entry{Kind: tokens.Touch, Subject: tokens.Organization("x")}
	for _, way := range []string{"HTTP", "Redis"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			if way == "Redis" {
				h.redis = redistest.New(t)
			}
			database := &switchable{Store: h.sql}
			h.store = database
			s := h.start(0)
			var api *apiVerifier
			if way == "Redis" {
				api = s.followRedis("api", 0, s.redis.Address())
			} else {
				api, _ = s.gated("api", tokens.DefaultLease)
			}
			c := s.demoKey()
			raw := s.token(c)
			standby := copyOf(t, h)
			lost, err := h.sql.Append(ctx, touch)
			if err != nil {
				t.Fatal(err)
			}
			s.relay.Publish(ctx, lost)
			eventually(t, "it waits for what follows the entry that will be lost", func() bool {
				s.relay.mu.Lock()
				defer s.relay.mu.Unlock()
				for _, f := range s.relay.followers {
					if f.position < lost.Position {
						return false
					}
				}
				return api.feed.Revocations().Watermark() == lost.Position
			})
			cut, err := standby.Append(ctx, keys.Entry{Kind: tokens.Cut, Subject: tokens.Client(c.Key.ClientID)})
			if err != nil || cut.Position != lost.Position {
				t.Fatal(err, cut, lost)
			}
			if way == "HTTP" {
				if _, err := standby.Append(ctx, touch); err != nil {
					t.Fatal(err)
				}
			}
			database.to.Store(standby)
			if way == "Redis" {
				client := s.redis.Client()
				defer client.Close()
				eventually(t, "the stream is replaced", func() bool {
					n, err := client.XLen(ctx, "{rev:"+s.issuer+"}:log").Result()
					return err == nil && n == 0
				})
				after, err := standby.Append(ctx, touch)
				if err != nil {
					t.Fatal(err)
				}
				s.relay.Publish(ctx, after)
			}
			r, err := s.relay.Confirm(ctx, cut)
			if err != nil || !r.Settled() {
				t.Errorf("%+v, %v", r, err)
			}
			if _, err := api.Verify(raw); err == nil {
				t.Errorf("accepted after %s %d of %d in %v", r.State, r.Confirmed, r.Total, r.Waited)
			}
		})
	}
}

// TestAcknowledgementOfAnotherHistoryCountsForNothing: the database fails over to a
// standby that lost three entries, which a verifier has acknowledged, and the next cut has
// the first of these positions. The verifier does not have it, and the receipt does not
// say so.
func TestAcknowledgementOfAnotherHistoryCountsForNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	database := &switchable{Store: h.sql}
	h.store = database
	s := h.start(0)
	api, network := s.gated("api", tokens.DefaultLease)
	c := s.demoKey()
	raw := s.token(c)
	standby := copyOf(t, h)
	var last keys.Commit
	var err error
	for range 3 { // these are lost
		if last, err = h.sql.Append(context.Background(), keys.Entry{Kind: tokens.Touch, Subject: tokens.Organization("x")}); err != nil {
			t.Fatal(err)
		}
	}
	s.relay.wake()
	eventually(t, "the verifier has acknowledged what will be lost", func() bool {
		s.relay.mu.Lock()
		defer s.relay.mu.Unlock()
		behind := 0
		for _, f := range s.relay.followers {
			if f.position < last.Position {
				behind++
			}
		}
		return behind == 0
	})
	network.set(true)
	database.to.Store(standby)
	commit, err := database.Append(context.Background(), keys.Entry{Kind: tokens.Cut, Subject: tokens.Client(c.Key.ClientID)})
	if err != nil || commit.Position > last.Position {
		t.Fatalf("%+v, %v", commit, err)
	}
	r, err := s.relay.Confirm(context.Background(), commit)
	if _, late := api.Verify(raw); late == nil {
		t.Errorf("the verifier accepts, and the receipt says %+v", r)
	}
	if err != nil || r.State != keys.LeaseEnded {
		t.Errorf("receipt %+v, %v", r, err)
	}
}

// TestChangeThatAFailoverLostIsAnError: its position belongs to another change by now.
func TestChangeThatAFailoverLostIsAnError(t *testing.T) {
	h := newHouse(t)
	database := &switchable{Store: h.sql}
	h.store = database
	s := h.start(0)
	s.joinSilent("silent", tokens.DefaultLease)
	standby := copyOf(t, h)
	commit, err := h.sql.Append(context.Background(), keys.Entry{Kind: tokens.Cut, Subject: tokens.Client("x")})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := s.relay.Confirm(context.Background(), commit)
		failed <- err
	}()
	eventually(t, "it waits", func() bool { w := s.relay.waits.of(commit.Position); return w != nil })
	database.to.Store(standby)
	if err := <-failed; !errors.Is(err, keys.ErrLost) || !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("lost: %v", err)
	}
}

// alone is a relay over a store in memory, in virtual time.
func alone(t *testing.T, store *keystest.Memory, name string) (relay *Relay, stop func()) {
	t.Helper()
	relay = newRelay(t, RelayConfig{Log: store, Name: name, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); relay.Run(ctx) }()
	<-relay.revocations.Ready()
	return relay, func() { cancel(); <-done }
}

// TestRecoveredReceiptSaysOnlyThatEveryLeaseHasEnded: a server died between the commit and
// the list of those who had to confirm. Whoever was in it and is gone by now is nobody's
// to count.
func TestRecoveredReceiptSaysOnlyThatEveryLeaseHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystest.NewMemory()
		commit, err := store.Append(context.Background(), keys.Entry{Kind: tokens.Cut, Subject: tokens.Client("client")})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		relay, stop := alone(t, store, "next")
		defer stop()
		early, cancel := context.WithTimeout(context.Background(), longestWait-5*time.Second)
		defer cancel()
		r, err := relay.Reached(early, commit.Position)
		if err != nil || r.State != keys.Waiting {
			t.Errorf("before every lease can have ended: %+v, %v", r, err)
		}
		r, err = relay.Reached(context.Background(), commit.Position)
		if err != nil || r.State != keys.LeaseEnded || !r.Recovered || r.Confirmed != 0 || r.Total != 0 {
			t.Errorf("receipt %+v, %v", r, err)
		}
		if waited := time.Since(begun); waited < longestWait || waited > longestWait+10*time.Second {
			t.Errorf("after %v", waited)
		}
	})
}

// TestWaitIsTakenOverAsFarAsItHadCome: a server that stops hands its waits over, and the
// next one counts the same verifiers, by what each has said since.
func TestWaitIsTakenOverAsFarAsItHadCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystest.NewMemory()
		relay, stop := alone(t, store, "first")
		silent := newSession("silent", tokens.DefaultLease)
		silent.Via = "ver_elsewhere"
		if err := store.Join(context.Background(), silent, nil); err != nil {
			t.Fatal(err)
		}
		commit, err := store.Append(context.Background(), keys.Entry{Kind: tokens.Cut, Subject: tokens.Client("client")})
		if err != nil {
			t.Fatal(err)
		}
		answered := make(chan keys.Receipt, 1)
		go func() {
			r, err := relay.Confirm(context.Background(), commit)
			if err != nil {
				t.Error(err)
			}
			answered <- r
		}()
		time.Sleep(time.Second)
		relay.Stopping()
		if r := <-answered; r.State != keys.Waiting || r.Latest.IsZero() || r.Total != 2 {
			t.Errorf("when the server stops: %+v", r)
		}
		stop()
		next, stop := alone(t, store, "next")
		defer stop()
		r, err := next.Reached(context.Background(), commit.Position)
		if err != nil || r.State != keys.LeaseEnded || r.Recovered || r.Confirmed != 1 || r.Total != 2 {
			t.Errorf("taken over: %+v, %v", r, err)
		}
	})
}

// TestRestoredServerSaysNothingUntilEveryLeaseHasEnded: verifiers that the backup does not
// know may hold leases from before it. Until these have ended the server makes no receipt
// and issues no token; then it does, and says so to the next one.
func TestRestoredServerSaysNothingUntilEveryLeaseHasEnded(t *testing.T) {
	h := newHouse(t)
	s := h.start(0)
	c := s.demoKey()
	if err := h.sql.Restored(context.Background()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the running server has seen it", func() bool { return s.relay.held() != nil })
	ask := func(s *running) answer {
		return s.post("/oauth2/token", c.Key.ClientID, c.Secret.Reveal(), "grant_type", "client_credentials")
	}
	if a := ask(s); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("a token: %d %s", a.status, a.body)
	}
	_, r, err := s.registry.Revoke(context.Background(), impatient(time.Second), "org", c.Key.ID, "")
	if err != nil || r.State != keys.Waiting {
		t.Errorf("a receipt: %+v, %v", r, err)
	}
	s.relay.mu.Lock()
	if left := time.Until(s.relay.heldUntil); left < longestWait-10*time.Second {
		t.Errorf("it waits %v", left)
	}
	s.relay.heldUntil = time.Now() // a minute later
	s.relay.mu.Unlock()
	_, r, err = s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
	if err != nil || r.State != keys.Confirmed {
		t.Errorf("the receipt then: %+v, %v", r, err)
	}
	c = s.demoKey()
	if a := ask(s); a.status != 200 {
		t.Errorf("a token then: %d %s", a.status, a.body)
	}
	s.relay.settleDown(context.Background(), time.Now())
	s.stop()
	if a := ask(h.start(0)); a.status != 200 {
		t.Errorf("at the next server: %d %s", a.status, a.body)
	}
}
