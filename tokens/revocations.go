package tokens

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// A Feed keeps a view of the revocations current. Package httpfeed follows an
// issuer over HTTP; the authorization server's own relay reads its database.
type Feed interface {
	// Revocations returns the view that the feed keeps.
	Revocations() *Revocations
	// Run follows the log until ctx ends and then takes leave. It is called
	// once. It returns early, with the reason, only when it can never succeed.
	Run(ctx context.Context) error
}

// Revocations is one verifier's view of the revocation log, and the lease that
// says how long the view may be relied on. Feeds write it, one goroutine at a
// time; verifiers ask it without locks.
type Revocations struct {
	lease  time.Duration
	grant  time.Duration // the lease of the sessions that start next
	waiver waiver
	view   atomic.Pointer[view] // what checks ask
	next   atomic.Pointer[view] // of a session that was not confirmed yet
	ready  chan struct{}
	once   sync.Once
	// watchers are the streams that view decides about.
	watchers watchers
	// trouble is why the feed does not follow, as it last said.
	trouble atomic.Pointer[error]
	// signing are the entries about signing keys: each says that the issuer's have changed.
	signing changes
}

// changes counts something, and wakes who waits for more of it.
type changes struct {
	mu    sync.Mutex
	count uint64
	next  chan struct{} // closed at the next one; nil when nobody waits
}

func (c *changes) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

// seen returns how many there were, and a channel that the next one closes.
func (c *changes) seen() (count uint64, next <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = make(chan struct{})
	}
	return c.count, c.next
}

// view is what one session of a feed knows. A new session makes a new view, so
// that no check mixes the table of one with the freshness of another.
type view struct {
	lease     time.Duration
	cuts      *Positions
	watermark atomic.Uint64             // every entry up to it is applied
	floor     atomic.Uint64             // entries up to it are dropped, tokens below it dead
	fresh     atomic.Pointer[time.Time] // complete as of then; nil: nothing is known
	lapsed    atomic.Bool               // the lease is over, whatever fresh says
}

// DefaultLease rides out a restart of the issuer or a short failover of its
// database. A healthy revocation takes milliseconds whatever the lease is.
const DefaultLease = 10 * time.Second

// NewRevocations returns a view that knows nothing yet and so answers
// [ErrStale]. A lease of 0 is [DefaultLease].
func NewRevocations(lease time.Duration) *Revocations {
	if lease <= 0 {
		lease = DefaultLease
	}
	r := &Revocations{lease: lease, grant: lease, ready: make(chan struct{})}
	r.view.Store(r.blank())
	return r
}

// blank is a view that knows nothing.
func (r *Revocations) blank() *view { return &view{lease: r.grant, cuts: NewPositions()} }

// Lease is how long the view may be relied on after it was last complete, at most.
func (r *Revocations) Lease() time.Duration { return r.lease }

// Grant says how long the issuer lets the sessions that start next rely on their views, and
// returns how long they do: [Revocations.Lease] at most, and for 0. Feeds call it before
// [Revocations.Start].
func (r *Revocations) Grant(lease time.Duration) time.Duration {
	if r.grant = r.lease; lease > 0 {
		r.grant = min(lease, r.lease)
	}
	return r.grant
}

// Ready is closed when the view has been complete for the first time.
func (r *Revocations) Ready() <-chan struct{} { return r.ready }

// Watermark is the position up to which every entry is applied, by the session
// that was started last.
func (r *Revocations) Watermark() uint64 { return r.newest().watermark.Load() }

// newest is the view that the feed writes.
func (r *Revocations) newest() *view {
	if next := r.next.Load(); next != nil {
		return next
	}
	return r.view.Load()
}

// waiver is the longest Stale.AcceptUntil of the verifiers. Once a feed has told the
// issuer, it grows no more.
type waiver struct {
	sync.Mutex
	until time.Duration
	told  bool
}

// Waiver is how old a view its verifiers accept, as their owners configured it; 0
// when they refuse past the lease. Feeds tell the issuer when they join, whose
// receipts say so: a verifier that comes later and accepts for longer is an error.
func (r *Revocations) Waiver() time.Duration {
	r.waiver.Lock()
	defer r.waiver.Unlock()
	r.waiver.told = true
	return r.waiver.until
}

func (r *Revocations) waive(until time.Duration) error {
	r.waiver.Lock()
	defer r.waiver.Unlock()
	if until > r.waiver.until && r.waiver.told {
		return errors.New("the feed runs: make verifiers that accept a stale view before, so that the issuer hears of it")
	}
	r.waiver.until = max(r.waiver.until, until)
	return nil
}

// Age is how old the view is; the largest duration when it knows nothing.
func (r *Revocations) Age() time.Duration { return r.view.Load().age() }

// Start begins a new session from a snapshot: the live cuts as of position
// watermark. It is what checks ask from its first [Revocations.Confirm] on; until
// then they ask the session before, which ages.
func (r *Revocations) Start(cuts []Entry, watermark, floor uint64) {
	v, before := r.blank(), r.newest()
	v.apply(cuts)
	v.watermark.Store(watermark)
	v.floor.Store(floor)
	r.next.Store(v)
	for _, e := range cuts {
		if e.Subject.IsSigningKey() && before.cuts.Newest(e.Subject) == 0 {
			r.signing.add()
		}
	}
}

// Apply records entries in the order of their positions. An entry that is
// already applied changes nothing; a gap is an error and nothing after it is
// applied. When it returns, the streams of the tokens that they deny have ended: only
// then may the entries be acknowledged.
func (r *Revocations) Apply(entries []Entry) error {
	v, n, signing := r.newest(), 0, false
	watermark := v.watermark.Load()
	for n < len(entries) && entries[n].Position <= watermark+1 {
		if entries[n].Position > watermark {
			v.apply(entries[n : n+1])
			watermark++
			signing = signing || entries[n].Subject.IsSigningKey()
		}
		n++
	}
	// The table first, then the streams, then the watermark. The streams are not those
	// of a session that was not confirmed: its first Confirm looks at them all.
	if v == r.view.Load() {
		settle(r.watchers.concerned(entries[:n]))
	}
	v.watermark.Store(watermark)
	if signing {
		r.signing.add()
	}
	if n < len(entries) {
		return fmt.Errorf("revocation log: entry %d follows %d", entries[n].Position, watermark)
	}
	return nil
}

// Confirm renews the lease: the log was read at or after fresh, every entry up
// to that reading is applied, and tokens below floor are dead. fresh must carry
// a monotonic reading; an earlier one than is known changes nothing, and one in
// the future is no evidence of anything: then it returns false.
//
// When the first Confirm of a session returns, the session has decided anew about
// every stream: only then may the session before it leave.
func (r *Revocations) Confirm(fresh time.Time, floor uint64) bool {
	if fresh.After(time.Now()) {
		return false
	}
	v := r.newest()
	first, raised := r.next.Load() == v, floor > v.floor.Load()
	if raised {
		// The floor first: a check that no longer finds a dropped entry finds the floor.
		v.floor.Store(floor)
		v.cuts.Drop(floor)
	}
	if old := v.fresh.Load(); old == nil || fresh.After(*old) {
		v.fresh.Store(&fresh)
	}
	if first {
		r.view.Store(v)
		r.next.Store(nil)
	}
	if first || raised {
		settle(r.watchers.all())
	}
	if first {
		r.watchers.hurry(r.patience(0), r.late) // its lease may be shorter
	}
	r.once.Do(func() { close(r.ready) })
	return true
}

// Forget ends the session, and every stream: nothing is known until the next one.
func (r *Revocations) Forget() {
	r.next.Store(nil)
	r.view.Store(r.blank())
	settle(r.watchers.all())
}

// Lapse ends the lease at once, because revocations no longer wait for this
// session. What it knew serves only those who accept a stale view; the streams of the
// others have ended when it returns.
func (r *Revocations) Lapse() {
	r.next.Store(nil)
	r.view.Load().lapsed.Store(true)
	settle(r.watchers.all())
}

// Check returns nil, [ErrRevoked] or [ErrStale] for a token with these claims
// signed by kid.
func (r *Revocations) Check(c *Claims, kid string) error {
	_, err := r.check(c, kid, 0)
	return err
}

// check is Check for one who accepts a view past its lease until it has some age;
// 0 does not. It tells whether the lease had passed.
func (r *Revocations) check(c *Claims, kid string, acceptUntil time.Duration) (stale bool, err error) {
	v := r.view.Load()
	// The order is the proof. Freshness first: an entry that the look-ups below
	// miss was committed after it, so that the age, read last, exceeds the lease
	// before the revocation can have returned without us. Then the table, then
	// the floor, which was stored before any entry was dropped.
	fresh := v.fresh.Load()
	rv := min(c.Position, terminal-1) // whoever has a signing key can write any
	revoked := false
	for _, s := range c.subjects(kid) {
		revoked = revoked || v.cuts.newest(s.dimension, s.id) > rv
	}
	revoked = revoked || rv < v.floor.Load()
	age := age(fresh)
	stale = age > v.lease || v.lapsed.Load()
	switch {
	case revoked && fresh != nil:
		return stale, ErrRevoked
	case stale && (acceptUntil == 0 || age > acceptUntil): // nothing known is infinitely old
		return true, v.stale()
	}
	return stale, nil
}

func (v *view) stale() error {
	if v.fresh.Load() == nil {
		return fmt.Errorf("%w: it has no view of the revocations yet, or no more", ErrStale)
	}
	return fmt.Errorf("%w: its view of the revocations is older than %v", ErrStale, v.lease)
}

// Fresh returns nil, or [ErrStale] when the view is older than the lease.
func (r *Revocations) Fresh() error {
	if v := r.view.Load(); v.age() > v.lease || v.lapsed.Load() {
		return v.stale()
	}
	return nil
}

// Explain says why the feed does not follow, for those who wait for it; nil when it does.
func (r *Revocations) Explain(err error) { r.trouble.Store(&err) }

// why is what the feed said last.
func (r *Revocations) why() error {
	if err := r.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// terminal is a position above every rv.
const terminal = math.MaxUint64

func (v *view) apply(entries []Entry) {
	for _, e := range entries {
		if e.Kind != Cut {
			continue
		}
		position := e.Position
		if e.Terminal {
			position = terminal
		}
		v.cuts.Raise(e.Subject, position)
	}
}

func (v *view) age() time.Duration { return age(v.fresh.Load()) }

// age takes the longer of the monotonic and the wall clock's word: the
// monotonic clock stands still while the machine is suspended, the wall clock
// can be set back.
func age(fresh *time.Time) time.Duration {
	if fresh == nil {
		return math.MaxInt64
	}
	now := time.Now()
	return max(now.Sub(*fresh), now.Round(0).Sub(fresh.Round(0)))
}
