package tokens

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stage is a verifier whose feed is the test.
type stage struct {
	*Revocations
	*Verifier
	t        testing.TB
	position uint64
}

type scripted struct{ r *Revocations }

func (f scripted) Revocations() *Revocations { return f.r }
func (f scripted) Run(context.Context) error { return nil }

type noKeys struct{}

func (noKeys) Key(string) (Key, error) { return Key{}, ErrUnknownKey }

// newStage is at position 100, and current.
func newStage(t testing.TB, lease time.Duration, stale Stale) *stage {
	t.Helper()
	r := NewRevocations(lease)
	v, err := NewVerifier(Config{Issuer: "https://issuer.example", Audience: "https://api.example.com",
		Feed: scripted{r}, Keys: noKeys{}, Stale: stale})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{Revocations: r, Verifier: v, t: t, position: 100}
	s.Start(nil, 100, 1)
	s.Confirm(time.Now(), 1)
	return s
}

// claims are those of a token that was minted at rv and lives for an hour.
func claims(rv uint64) *Claims {
	return &Claims{Issuer: "https://issuer.example", Audience: Audience{"https://api.example.com"},
		IssuedAt: time.Now().Unix(), ExpiresAt: time.Now().Add(time.Hour).Unix(),
		ID: "jti", ClientID: "client", Organization: "org", Credential: "secret",
		Position: rv, kid: "kid"}
}

// A waited is a watched context and its channel, which somebody waits for from the
// beginning and who so is told only when he is woken.
type waited struct {
	context.Context
	done <-chan struct{}
}

// watch watches until the test ends.
func (s *stage) watch(v *Verifier, c *Claims) waited {
	ctx, cancel := v.Watch(context.Background(), c)
	s.t.Cleanup(cancel)
	return waited{ctx, ctx.(watched).Context.Done()}
}

func (s *stage) stream(c *Claims) waited { return s.watch(s.Verifier, c) }

// cut applies one.
func (s *stage) cut(subject Subject) {
	s.t.Helper()
	s.position++
	if err := s.Apply([]Entry{{Position: s.position, Subject: subject, Kind: Cut}}); err != nil {
		s.t.Fatal(err)
	}
}

// want checks why a stream has ended, nil when it goes on, for who waited, and in every
// way that a context can be asked.
func want(t testing.TB, when string, ctx waited, cause error) {
	t.Helper()
	select {
	case <-ctx.done:
		if cause == nil {
			t.Errorf("%s: who waited was woken", when)
		}
	default:
		if cause != nil {
			t.Errorf("%s: who waited was not woken", when)
		}
	}
	if got := context.Cause(ctx); !errors.Is(got, cause) {
		t.Errorf("%s: ended with %v, want %v", when, got, cause)
	}
	if ended := ctx.Err() != nil; ended != (cause != nil) {
		t.Errorf("%s: the error is %v, want for %v", when, ctx.Err(), cause)
	}
	select {
	case <-ctx.Done():
		if cause == nil {
			t.Errorf("%s: it is done", when)
		}
	default:
		if cause != nil {
			t.Errorf("%s: it is not done, want %v", when, cause)
		}
	}
}

// TestEveryKindOfCutEndsTheStreamsOfItsSubject when Apply returns, and no others.
func TestEveryKindOfCutEndsTheStreamsOfItsSubject(t *testing.T) {
	other := claims(100)
	other.ClientID, other.Organization, other.ID = "client2", "org2", "jti2"
	other.Credential, other.kid = "", "kid2"
	for _, row := range []struct {
		entry Entry
		rv    uint64
		cause error
	}{
		{Entry{Subject: Client("client"), Kind: Cut}, 100, ErrRevoked},
		{Entry{Subject: Organization("org"), Kind: Cut}, 100, ErrRevoked},
		{Entry{Subject: Token("jti"), Kind: Cut}, 100, ErrRevoked},
		{Entry{Subject: Credential("secret"), Kind: Cut}, 100, ErrRevoked},
		{Entry{Subject: Credential(""), Kind: Cut}, 100, nil},
		{Entry{Subject: SigningKey("kid"), Kind: Cut}, 100, ErrRevoked},
		{Entry{Subject: Everything, Kind: Cut}, 100, ErrRevoked},
		{Entry{Subject: SigningKey("kid"), Kind: Cut, Terminal: true}, 1 << 60, ErrRevoked},
		{Entry{Subject: Client("client"), Kind: Cut}, 101, nil}, // it was minted with the cut
		{Entry{Subject: Client("client"), Kind: Touch}, 100, nil},
		{Entry{Subject: Client("org"), Kind: Cut}, 100, nil},
		{Entry{Subject: Organization("client"), Kind: Cut}, 100, nil},
		{Entry{Subject: Session("client"), Kind: Cut}, 100, nil},
		{Entry{Subject: Resource("client"), Kind: Touch}, 100, nil},
	} {
		s := newStage(t, time.Minute, Stale{})
		ctx, unconcerned := s.stream(claims(row.rv)), s.stream(other)
		want(t, "before", ctx, nil)
		row.entry.Position = 101
		if err := s.Apply([]Entry{row.entry}); err != nil {
			t.Fatal(err)
		}
		when := fmt.Sprintf("%s of %s at 101, rv %d", row.entry.Kind, row.entry.Subject, row.rv)
		want(t, when, ctx, row.cause)
		if row.entry.Subject != Everything {
			want(t, when+", another's", unconcerned, nil)
		} else {
			want(t, when+", another's", unconcerned, ErrRevoked)
		}
		want(t, when+", begun after it", s.stream(claims(row.rv)), row.cause)
	}
}

// TestCutWakesWhoWaits, also when they are too many to be woken at once, and contexts
// within.
func TestCutWakesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, time.Minute, Stale{})
		var woken sync.WaitGroup
		for range 3 * batch {
			done := s.stream(claims(100)).done
			woken.Go(func() { <-done })
		}
		child, cancel := context.WithCancel(s.stream(claims(100)))
		defer cancel()
		begun := time.Now()
		s.cut(Client("client"))
		woken.Wait()
		<-child.Done()
		if took := time.Since(begun); took != 0 { // else another timer woke them
			t.Errorf("it took %v", took)
		}
		if cause := context.Cause(child); !errors.Is(cause, ErrRevoked) {
			t.Errorf("a context within ended with %v", cause)
		}
	})
}

// TestCutRightAfterTheFirstLookIsNotMissed: what the log of a stale view says, that it
// is accepted, comes between that look and the answer to the caller.
func TestCutRightAfterTheFirstLookIsNotMissed(t *testing.T) {
	s := newStage(t, time.Minute, Stale{AcceptUntil: time.Hour})
	s.Lapse()
	s.config.Logger = slog.New(slog.NewTextHandler(writer(func() { s.cut(Client("client")) }), nil))
	want(t, "cut when it had been looked at", s.stream(claims(100)), ErrRevoked)
}

// writer calls a function when something is written.
type writer func()

func (f writer) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

// TestCutsBeforeAGapEndStreams: the page is refused, what was applied of it counts.
func TestCutsBeforeAGapEndStreams(t *testing.T) {
	s := newStage(t, time.Minute, Stale{})
	ctx := s.stream(claims(100))
	cut := Entry{Position: 101, Subject: Client("client"), Kind: Cut}
	err := s.Apply([]Entry{{Position: 100, Subject: Everything, Kind: Cut}, cut, cut,
		{Position: 103, Subject: Client("x"), Kind: Cut}})
	if err == nil || s.Watermark() != 101 {
		t.Errorf("watermark %d, %v", s.Watermark(), err)
	}
	want(t, "after a gap", ctx, ErrRevoked)
}

func TestRaisedFloorEndsTheStreamsBelowIt(t *testing.T) {
	s := newStage(t, time.Minute, Stale{})
	below, at := s.stream(claims(59)), s.stream(claims(60))
	s.Confirm(time.Now(), 60)
	want(t, "below the floor", below, ErrRevoked)
	want(t, "at the floor", at, nil)
}

// TestNewSessionDecidesAboutStreamsBeforeTheOldOneLeaves: a feed that goes around
// joins anew while the old session's view serves. What the new one knows counts when
// its first Confirm returns, after which the old session leaves.
func TestNewSessionDecidesAboutStreamsBeforeTheOldOneLeaves(t *testing.T) {
	s := newStage(t, time.Minute, Stale{})
	inSnapshot, inPage, below, untouched := claims(100), claims(100), claims(50), claims(100)
	inPage.ClientID, below.ClientID, untouched.ClientID = "client2", "client3", "client4"
	streams := []waited{s.stream(inSnapshot), s.stream(inPage), s.stream(below)}
	goesOn := s.stream(untouched)
	s.Start([]Entry{{Position: 103, Subject: Client("client"), Kind: Cut}}, 105, 60)
	if err := s.Apply([]Entry{{Position: 106, Subject: Client("client2"), Kind: Cut}}); err != nil {
		t.Fatal(err)
	}
	for _, ctx := range streams {
		want(t, "the old view serves", ctx, nil)
	}
	s.Confirm(time.Now(), 60)
	for _, ctx := range streams {
		want(t, "the new view serves", ctx, ErrRevoked)
	}
	want(t, "not cut", goesOn, nil)
	s.position = 106
	s.cut(Client("client4"))
	want(t, "cut in the new session", goesOn, ErrRevoked)
}

// TestEndOfTheSessionEndsStreams: nobody waits for it any more.
func TestEndOfTheSessionEndsStreams(t *testing.T) {
	s := newStage(t, time.Minute, Stale{AcceptUntil: time.Hour})
	strict, err := s.WithStale(Stale{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, accepts := s.watch(strict, claims(100)), s.stream(claims(100))
	s.Lapse()
	want(t, "lapsed", ctx, ErrStale)
	want(t, "lapsed, and accepted for an hour", accepts, nil)
	s.cut(Client("other"))
	want(t, "another's cut, while lapsed", accepts, nil)
	s.cut(Client("client"))
	want(t, "cut while lapsed", accepts, ErrRevoked)

	again := s.stream(claims(102))
	s.Forget()
	want(t, "nothing is known", again, ErrStale)
	want(t, "begun when nothing is known", s.stream(claims(102)), ErrStale)
}

// TestStaleViewEndsStreamsAsItRefusesRequests: at the lease; nobody is asked about a
// stream; who accepts for longer does so here.
func TestStaleViewEndsStreamsAsItRefusesRequests(t *testing.T) {
	const lease, until = 10 * time.Second, 25 * time.Second
	asks := &Introspection{ClientID: "id", ClientSecret: "secret"}
	for name, row := range map[string]struct {
		stale Stale
		bound time.Duration // how old a view it takes
	}{
		"refuses":           {Stale{}, lease},
		"introspects":       {Stale{Introspect: asks}, lease},
		"accepts":           {Stale{AcceptUntil: until}, until},
		"asks, and accepts": {Stale{AcceptUntil: until, Introspect: asks}, until},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, lease, row.stale)
				ctx := s.stream(claims(100))
				for range 5 {
					time.Sleep(lease - 1)
					s.Confirm(time.Now(), 1)
				}
				time.Sleep(row.bound)
				synctest.Wait()
				want(t, "good enough", ctx, nil)
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				want(t, "too old", ctx, ErrStale)
				want(t, "begun on a view too old", s.stream(claims(100)), ErrStale)
				s.Confirm(time.Now(), 1)
				want(t, "begun when contact is back", s.stream(claims(100)), nil)
				want(t, "ended is ended", ctx, ErrStale)
				if s.Counts().Refused == 0 || (s.Counts().Accepted == 0) != (row.stale.AcceptUntil == 0) {
					t.Errorf("counts %+v", s.Counts())
				}
			})
		})
	}
}

// TestEachStreamHasTheBoundOfItsVerifier: two that share a feed, and one timer.
func TestEachStreamHasTheBoundOfItsVerifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lease = 10 * time.Second
		s := newStage(t, lease, Stale{AcceptUntil: time.Hour})
		short, err := s.WithStale(Stale{AcceptUntil: 12 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		token := claims(100)
		token.ExpiresAt += 7200
		long := s.stream(token)
		time.Sleep(lease + 1)
		synctest.Wait()
		brief := s.watch(short, token) // when the timer waits for the other's
		time.Sleep(2 * time.Second)
		synctest.Wait()
		want(t, "the short bound", brief, ErrStale)
		want(t, "the long bound", long, nil)
		time.Sleep(time.Hour - 12*time.Second)
		synctest.Wait()
		want(t, "past the long bound", long, ErrStale)
	})
}

// TestExpiredTokenEndsItsStream at exp and the leeway, as it is refused.
func TestExpiredTokenEndsItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, time.Minute, Stale{})
		token := claims(100)
		token.ExpiresAt = time.Now().Unix() + 30
		ctx := s.stream(token)
		time.Sleep(35*time.Second - 1)
		synctest.Wait()
		want(t, "within the leeway", ctx, nil)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		want(t, "past the leeway", ctx, ErrExpired)
		want(t, "begun when it has expired", s.stream(token), ErrExpired)
	})
}

// TestOnlyVerifiedClaimsAreWatched: a cut of the signing key would not be noticed.
func TestOnlyVerifiedClaimsAreWatched(t *testing.T) {
	s := newStage(t, time.Minute, Stale{})
	nobodys, another := claims(100), claims(100)
	nobodys.kid = ""
	another.Audience = Audience{"https://other.example"}
	want(t, "claims of nobody", s.stream(nobodys), ErrUnknownKey)
	want(t, "another audience", s.stream(another), ErrNotForUs)
	token := claims(100)
	ctx := s.stream(token)
	token.kid, token.ClientID, token.Audience[0] = "changed", "changed", "changed"
	want(t, "the caller's copy is changed", ctx, nil)
	s.cut(Client("client"))
	want(t, "the caller's copy is changed, and it is cut", ctx, ErrRevoked)
}

// TestShorterLeaseIsTheNextViews: an issuer that grants less than was asked for has it from
// the first evidence of that session on; until then the view before keeps its own. Streams
// end with the lease of the view that decides.
func TestShorterLeaseIsTheNextViews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 10*time.Second, Stale{})
		ctx := s.stream(claims(100))
		s.Grant(time.Second)
		s.Start(nil, 100, 1)
		time.Sleep(5 * time.Second)
		want(t, "the view before keeps its lease", ctx, nil)
		if err := s.Check(claims(100), "kid"); err != nil {
			t.Errorf("the view before keeps its lease: %v", err)
		}
		s.Revocations.Confirm(time.Now(), 1)
		time.Sleep(time.Second)
		synctest.Wait()
		want(t, "within the short lease", ctx, nil)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		want(t, "past the short lease", ctx, ErrStale)
		if err := s.Check(claims(100), "kid"); !errors.Is(err, ErrStale) {
			t.Errorf("past the short lease: %v", err)
		}
		for _, more := range []time.Duration{0, time.Minute} {
			s.Grant(more)
			s.Start(nil, 100, 1)
			s.Revocations.Confirm(time.Now(), 1)
			time.Sleep(10 * time.Second)
			if err := s.Check(claims(100), "kid"); err != nil {
				t.Errorf("granted %v: %v", more, err)
			}
			time.Sleep(time.Millisecond)
			if err := s.Check(claims(100), "kid"); !errors.Is(err, ErrStale) {
				t.Errorf("granted %v, past its own lease: %v", more, err)
			}
		}
	})
}

// TestWatchingLeavesNothingBehind, whoever ends it.
func TestWatchingLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, time.Minute, Stale{})
		empty := func(when string) {
			t.Helper()
			synctest.Wait()
			w := &s.watchers
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.of) != 0 || w.timer != nil {
				t.Errorf("%s: %d subjects are watched, timer %v", when, len(w.of), w.timer)
			}
		}
		begin := func(ctx context.Context) (waited, context.CancelFunc) {
			ctx, cancel := s.Watch(ctx, claims(100))
			return waited{ctx, ctx.Done()}, cancel
		}
		ctx, cancel := begin(context.Background())
		first := ctx.Context.(watched).watcher
		second, cancelSecond := begin(context.Background())
		if len(s.watchers.of) != 6 || len(s.watchers.all()) != 2 {
			t.Errorf("%v", s.watchers.of)
		}
		cancel()
		cancel()
		want(t, "canceled", ctx, context.Canceled)
		if first.expiry.Stop() {
			t.Error("canceled: its timer is left")
		}
		want(t, "the other", second, nil)
		cancelSecond()
		empty("canceled")

		parent, end := context.WithCancelCause(context.Background())
		ctx, cancel = begin(parent)
		end(ErrMissing)
		want(t, "the parent has ended", ctx, ErrMissing)
		empty("the parent has ended")
		cancel()

		ctx, cancel = begin(context.Background())
		s.cut(Client("client"))
		cancel()
		want(t, "canceled after it was cut", ctx, ErrRevoked)
		empty("cut")
	})
}

// TestNoCutPassesAStreamThatBeginsMeanwhile: it has ended for whoever asks when the
// cut may be acknowledged, and whoever waits is woken.
func TestNoCutPassesAStreamThatBeginsMeanwhile(t *testing.T) {
	s := newStage(t, time.Minute, Stale{})
	const clients = 8
	token := func(i int) *Claims {
		c := claims(s.position)
		c.ClientID = fmt.Sprint("client ", i)
		return c
	}
	var mu sync.Mutex
	type begun struct {
		token *Claims
		ctx   context.Context
	}
	var streams []begun
	newest := make([]*Claims, clients)
	for i := range newest {
		newest[i] = token(i)
	}
	ctx, stop := context.WithCancel(context.Background())
	live := make(chan struct{}, 100)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				select {
				case live <- struct{}{}:
				case <-ctx.Done():
					return
				}
				mu.Lock()
				c := newest[rand.IntN(clients)]
				mu.Unlock()
				stream, cancel := s.Watch(context.Background(), c)
				if rand.IntN(4) == 0 {
					cancel()
				}
				done := stream.Done()
				all.Go(func() { <-done; cancel(); <-live })
				mu.Lock()
				streams = append(streams, begun{c, stream})
				mu.Unlock()
			}
		})
	}
	for i := range 2000 {
		s.position++
		cut := Entry{Position: s.position, Subject: Client(fmt.Sprint("client ", i%clients)), Kind: Cut}
		switch rand.IntN(4) {
		case 0: // in the snapshot of a new session
			s.Start([]Entry{cut}, s.position, s.position-clients)
			s.Confirm(time.Now(), 1)
		case 1: // by the floor
			if err := s.Apply([]Entry{{Position: s.position, Subject: "c:nobody", Kind: Touch}}); err != nil {
				t.Fatal(err)
			}
			s.Confirm(time.Now(), s.position)
		default:
			if err := s.Apply([]Entry{cut}); err != nil {
				t.Fatal(err)
			}
		}
		mu.Lock()
		for _, b := range streams {
			if refused := s.Check(b.token, "kid"); refused != nil && b.ctx.Err() == nil {
				t.Errorf("a stream goes on, and its token is refused: %v", refused)
			}
		}
		streams = streams[:0]
		newest[i%clients] = token(i % clients)
		mu.Unlock()
	}
	stop()
	s.cut(Everything)
	all.Wait()
	if n := len(s.watchers.all()); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// serve runs handler behind the stage's verifier, as RequireStream does with a request
// whose token has the claims.
func (s *stage) serve(w http.ResponseWriter, c *Claims, handler http.HandlerFunc) error {
	return s.Verifier.stream(handler, w, httptest.NewRequest("GET", "/", nil), c)
}

// TestHandlerLeavesNothingBehind, also one that panics.
func TestHandlerLeavesNothingBehind(t *testing.T) {
	s := newStage(t, time.Minute, Stale{})
	s.serve(httptest.NewRecorder(), claims(100), func(w http.ResponseWriter, r *http.Request) {
		if len(s.watchers.all()) != 1 {
			t.Error("it is not watched")
		}
	})
	func() {
		defer func() { recover() }()
		aborts := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		s.serve(httptest.NewRecorder(), claims(100), aborts)
	}()
	if len(s.watchers.of) != 0 || s.watchers.timer != nil {
		t.Errorf("%v is watched", s.watchers.of)
	}
}

// A deaf response has no deadlines, and a write to it lasts until it is released.
type deaf struct {
	*httptest.ResponseRecorder
	writing, release chan struct{}
}

func (d *deaf) Write(p []byte) (int, error) {
	close(d.writing)
	<-d.release
	return len(p), nil
}

// TestWriteThatCannotBeBrokenOffHoldsUpTheCutBriefly, and no second time.
func TestWriteThatCannotBeBrokenOffHoldsUpTheCutBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, time.Minute, Stale{})
		var handlers sync.WaitGroup
		release := make(chan struct{})
		for range 5 {
			d := &deaf{httptest.NewRecorder(), make(chan struct{}), release}
			handlers.Go(func() {
				s.serve(d, claims(100), func(w http.ResponseWriter, r *http.Request) {
					if _, err := w.Write([]byte("x")); err != nil {
						t.Errorf("what had begun: %v", err)
					}
					if _, err := w.Write([]byte("y")); !errors.Is(err, ErrRevoked) {
						t.Errorf("what had not: %v", err)
					}
				})
			})
			<-d.writing
		}
		for _, want := range []time.Duration{grace, 0} {
			begun := time.Now()
			s.cut(Client("client"))
			if took := time.Since(begun); took != want {
				t.Errorf("the cut took %v, want %v", took, want)
			}
		}
		close(release)
		handlers.Wait()
	})
}

// TestEachWriteIsDecidedUpon, whether or not somebody was told: here the lease is over,
// and the timer late.
func TestEachWriteIsDecidedUpon(t *testing.T) {
	s := newStage(t, time.Minute, Stale{})
	w := httptest.NewRecorder()
	err := s.serve(w, claims(100), func(w http.ResponseWriter, r *http.Request) {
		s.view.Load().lapsed.Store(true)
		if _, err := w.Write([]byte("x")); !errors.Is(err, ErrStale) {
			t.Errorf("the write returned %v", err)
		}
		want(t, "after the write", waited{r.Context(), r.Context().Done()}, ErrStale)
	})
	if !errors.Is(err, ErrStale) || w.Body.Len() != 0 {
		t.Errorf("%v, and %q was written", err, w.Body)
	}
}

// A frail response ends its request, without a cause, when a deadline breaks it off.
type frail struct {
	*httptest.ResponseRecorder
	end context.CancelFunc
}

func (f *frail) SetWriteDeadline(time.Time) error {
	f.end()
	return nil
}

// TestCauseIsOursWhenTheRequestEndsBecauseOfIt: a server ends the context of a request
// to which it cannot write.
func TestCauseIsOursWhenTheRequestEndsBecauseOfIt(t *testing.T) {
	s := newStage(t, time.Minute, Stale{})
	ctx, cancel := context.WithCancel(context.Background())
	r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("x"))
		s.cut(Client("client"))
		want(t, "cut", waited{r.Context(), r.Context().Done()}, ErrRevoked)
	}
	s.Verifier.stream(http.HandlerFunc(handler), &frail{httptest.NewRecorder(), cancel}, r, claims(100))
}

// A hijacker does something while its connection is taken over.
type hijacker struct {
	*httptest.ResponseRecorder
	conn net.Conn
	do   func()
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.do()
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// TestCutDuringTheHijackEndsTheConnection, whose reader would never be told.
func TestCutDuringTheHijackEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, time.Minute, Stale{})
		ours, theirs := net.Pipe()
		defer theirs.Close()
		h := &hijacker{httptest.NewRecorder(), ours, func() { s.cut(Client("client")) }}
		s.serve(h, claims(100), func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a read returned %v", err)
			}
			if _, err := conn.Write([]byte("x")); !errors.Is(err, ErrRevoked) {
				t.Errorf("a write returned %v", err)
			}
		})
	})
}
