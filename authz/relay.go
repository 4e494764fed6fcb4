package authz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/redisfeed"
	"github.com/imara/apikeys/tokens/signing"
)

// RelayConfig configures a [Relay]. Log, Name and Logger are required.
type RelayConfig struct {
	Log keys.Log
	// Name of this server, as operators see it.
	Name string
	// Lease is how old the server's own view may become; 0 is [tokens.DefaultLease].
	Lease time.Duration
	// Publisher publishes to Redis; nil does not.
	Publisher *redisfeed.Publisher
	// Ring of this server is loaded before an entry about a signing key counts as
	// applied; nil: it signs nothing.
	Ring *signing.Ring
	// Alone: no other process uses the store, so nothing is reported through it.
	Alone  bool
	Logger *slog.Logger
}

// A Relay follows the revocation log in the store. It is the feed of the
// server's own verifiers, the source of the HTTP feed, and what revocations wait
// on: it implements [tokens.Feed] and [keys.Relay].
type Relay struct {
	config      RelayConfig
	revocations *tokens.Revocations
	// changes holds the newest entry of either kind: what cached records are
	// checked against.
	changes *tokens.Positions
	// oldest is the position from which on changes is complete: records that were
	// read before are read again.
	oldest atomic.Uint64
	// resources is the newest position at which any resource changed.
	resources atomic.Uint64
	kick      chan struct{}
	reporting chan struct{}    // wakes the reporter
	committed chan keys.Commit // for the publisher
	waits     *waits
	flaps     flaps
	joins     chan struct{} // how many are stored at once: the others queue here, not in the store
	stop      func()        // tells those who wait that the server ends
	retired   atomic.Bool   // our own session has ended, says the store
	deaf      atomic.Bool   // acknowledgements cannot be read from Redis
	waiverAt  atomic.Int64  // when a session with a waiver was last listed, in microseconds
	// snapshots is held by who uses the two below.
	snapshots    chan struct{}
	snapshotAt   time.Time
	lastSnapshot keys.LogSnapshot

	mu        sync.Mutex
	session   string // our own
	head      uint64 // of the entry at the watermark
	tail      []tokens.Entry
	base      uint64 // head of the entry before the tail
	tip       uint64
	floor     uint64
	fresh     time.Time     // the tip was read at or after
	advanced  chan struct{} // closed when tail or fresh changes
	followers map[string]*follower
	// ends is when this server first read of the end of a session that is still listed: no
	// lease of it was renewed after that.
	ends map[string]time.Time
	// restored is a restore of the store that this server waits out until heldUntil.
	restored  uint64
	heldUntil time.Time
}

const (
	roundInterval = 200 * time.Millisecond
	pageLimit     = 1000  // entries of one read or answer
	tailLimit     = 20000 // entries kept in memory for followers
)

// NewRelay starts nothing: run [Relay.Run].
func NewRelay(config RelayConfig) (*Relay, error) {
	if config.Log == nil {
		return nil, errors.New("relay: a log is required")
	}
	config.Lease = cmp.Or(config.Lease, tokens.DefaultLease)
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	waits := newWaits()
	return &Relay{
		config:      config,
		waits:       waits,
		joins:       make(chan struct{}, 4),
		stop:        sync.OnceFunc(func() { close(waits.stopping) }),
		revocations: tokens.NewRevocations(config.Lease),
		changes:     tokens.NewPositions(),
		kick:        make(chan struct{}, 1),
		reporting:   make(chan struct{}, 1),
		committed:   make(chan keys.Commit, 1000),
		advanced:    make(chan struct{}),
		ends:        make(map[string]time.Time),
		snapshots:   make(chan struct{}, 1),
	}, nil
}

// Revocations implements [tokens.Feed].
func (r *Relay) Revocations() *tokens.Revocations { return r.revocations }

// Run follows the log and looks after the sessions until ctx ends, then leaves.
func (r *Relay) Run(ctx context.Context) error {
	var background sync.WaitGroup
	background.Go(func() { r.keepHouse(ctx) })
	background.Go(func() { r.settle(ctx) })
	if !r.config.Alone {
		background.Go(func() { r.report(ctx) })
	}
	if r.config.Publisher != nil {
		background.Go(func() { r.publish(ctx) })
	}
	err := r.follow(ctx)
	r.stop()
	background.Wait()
	r.revocations.Forget()
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if e := r.config.Log.Leave(leave, r.own()); e != nil {
		r.config.Logger.Warn("left without notice: the next revocation waits for the lease", "error", e)
	}
	return err
}

// follow joins and runs rounds; whatever ends a session begins the next.
func (r *Relay) follow(ctx context.Context) error {
	for {
		err := r.begin(ctx)
		for err == nil {
			err = r.round(ctx)
			if errors.Is(err, errSession) {
				r.config.Logger.Error("the revocation log is not the one that was followed; starting again", "error", err)
				break
			}
			if err != nil && ctx.Err() == nil {
				r.config.Logger.Error("revocation log not read", "age", r.revocations.Age().Round(time.Millisecond), "error", err)
				err = nil
			}
			if !r.rest(ctx) {
				return ctx.Err()
			}
		}
		if !r.rest(ctx) {
			return ctx.Err()
		}
	}
}

// rest waits for the next round, or for somebody who cannot wait.
func (r *Relay) rest(ctx context.Context) bool {
	select {
	case <-time.After(roundInterval):
	case <-r.kick:
	case <-ctx.Done():
		return false
	}
	return true
}

// begin joins under a new session and takes a snapshot. It renews no lease: the
// first round does, which reads after the session was stored.
func (r *Relay) begin(ctx context.Context) error {
	r.revocations.Forget()
	if old := r.own(); old != "" {
		// It vouches for nothing any more, so nobody has to wait for it.
		if err := r.config.Log.Leave(ctx, old); err != nil {
			return err
		}
	}
	session := newSession(r.config.Name, r.revocations.Lease())
	session.Via = session.ID
	// It decides with the code of this process, which needs no examination.
	session.Protocol, session.Implementation = httpfeed.Protocol, "imara-server/"+tokens.Version
	if r.config.Publisher != nil {
		session.Implementation += withRedis
	}
	if err := r.config.Log.Join(ctx, session, nil); err != nil {
		r.config.Logger.Error("did not join the revocation log", "error", err)
		return err
	}
	snapshot, err := r.config.Log.Snapshot(ctx)
	if err == nil && ended(session.ID, snapshot.Cuts) {
		err = errSession // retired before it began
	}
	if err == nil && r.config.Ring != nil {
		err = r.config.Ring.Load(ctx) // whatever changed up to the snapshot
	}
	if err != nil {
		r.config.Logger.Error("revocation log not read", "error", err)
		return errors.Join(err, r.config.Log.Leave(ctx, session.ID))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session, r.head, r.tail, r.base = session.ID, snapshot.Head, nil, snapshot.Head
	r.tip, r.floor, r.fresh = snapshot.Watermark, snapshot.Floor, time.Time{}
	if snapshot.Restored != 0 && snapshot.Restored != r.restored {
		// Verifiers that the backup does not know may hold leases from before.
		r.restored, r.heldUntil = snapshot.Restored, time.Now().Add(longestWait)
	}
	for _, e := range snapshot.Cuts {
		r.noteEnd(e.Subject)
	}
	// Whoever followed through the session before attaches again.
	r.followers = map[string]*follower{session.ID: {current: time.Now()}}
	r.retired.Store(false)
	r.oldest.Store(snapshot.Watermark)
	r.resources.Store(snapshot.Watermark)
	r.changes.Drop(left)
	r.revocations.Start(snapshot.Cuts, snapshot.Watermark, snapshot.Floor)
	return nil
}

// errSession: our session was cut, or the log is not the one we followed.
var errSession = errors.New("session ended")

// round reads the log once. The moment before it read is what it can vouch for.
func (r *Relay) round(ctx context.Context) error {
	for {
		read := time.Now()
		after := r.revocations.Watermark()
		if r.retired.Swap(false) {
			return fmt.Errorf("%w: retired by another server", errSession)
		}
		bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
		page, err := r.config.Log.Read(bounded, after, pageLimit)
		cancel()
		if err != nil {
			return err
		}
		if page.Tip < after || page.Head != r.headNow() || len(page.Entries) == 0 && page.Tip > after {
			return fmt.Errorf("%w: position %d has another history", errSession, after)
		}
		if err := r.apply(ctx, page, read); err != nil {
			return err
		}
		if r.revocations.Watermark() >= page.Tip {
			return nil
		}
	}
}

// apply makes a page known: to the ring that signs and the cache of records first, then
// to our verifiers, then to followers, and last of all as our own acknowledgement. When
// the ring cannot be loaded nothing is applied, and the next round tries again.
func (r *Relay) apply(ctx context.Context, page keys.LogPage, read time.Time) error {
	about := func(e tokens.Entry) bool { return e.Subject.IsSigningKey() }
	if r.config.Ring != nil && slices.ContainsFunc(page.Entries, about) {
		bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := r.config.Ring.Load(bounded)
		cancel()
		if err != nil {
			return fmt.Errorf("signing keys: %w", err)
		}
	}
	for _, e := range page.Entries {
		r.changes.Raise(e.Subject, e.Position)
		if e.Subject.IsResource() {
			r.resources.Store(e.Position)
		}
		if e.Subject == tokens.Session(r.own()) {
			return fmt.Errorf("%w: retired by another server", errSession)
		}
	}
	if err := r.revocations.Apply(page.Entries); err != nil {
		return fmt.Errorf("%w: %w", errSession, err)
	}
	watermark := r.revocations.Watermark()
	if watermark >= page.Tip {
		if page.Floor > r.oldest.Load() {
			// First this: a record that finds no entry any more finds itself too old.
			r.oldest.Store(page.Floor)
			r.changes.Drop(page.Floor)
		}
		r.revocations.Confirm(read, page.Floor)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range page.Entries {
		r.noteEnd(e.Subject)
	}
	if n := len(page.Entries); n > 0 {
		r.head = page.Entries[n-1].Head
		r.tail = append(r.tail, page.Entries...)
		if over := len(r.tail) - tailLimit; over > tailLimit/2 {
			r.base = r.tail[over-1].Head
			r.tail = append([]tokens.Entry(nil), r.tail[over:]...)
		}
	}
	r.tip, r.floor = watermark, page.Floor
	if watermark >= page.Tip {
		r.fresh = read
	}
	close(r.advanced)
	r.advanced = make(chan struct{})
	r.advance(r.session, keys.Ack{Position: watermark, Head: r.head})
	return nil
}

// held returns an error while this server waits out a restore of the store: then it makes
// no receipt and issues no token, since verifiers that the backup does not know may hold
// leases from before.
func (r *Relay) held() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.restored == 0 || time.Now().After(r.heldUntil) {
		return nil
	}
	return fmt.Errorf("%w: the store was restored; leases from before end at %s", tokens.ErrStale, r.heldUntil.UTC().Format(time.TimeOnly))
}

// noteEnd remembers the end of a session, if a subject is one. It is called with mu held.
func (r *Relay) noteEnd(subject tokens.Subject) {
	id, ok := subject.SessionID()
	if _, known := r.ends[id]; ok && !known {
		r.ends[id] = time.Now()
	}
}

// holds tells whether the log that our session follows has an entry with a head at a
// position, as far as it is in memory. It is called with mu held.
func (r *Relay) holds(position, head uint64) bool {
	first := r.tip - uint64(len(r.tail))
	switch {
	case position == first:
		return head == r.base
	case position < first, position > r.tip:
		return false
	}
	return r.tail[position-first-1].Head == head
}

func (r *Relay) own() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session
}

func (r *Relay) headNow() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head
}

// Publish implements [keys.Relay].
func (r *Relay) Publish(ctx context.Context, at keys.Commit) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	// Once is enough: a round that begins after this call reads the position.
	r.hurry(at)
	for {
		advanced := r.moved()
		if r.revocations.Watermark() >= at.Position {
			return
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return
		}
	}
}

// wake asks for a round now.
func (r *Relay) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// hurry asks for a round now, and for what was just committed in Redis.
func (r *Relay) hurry(commit keys.Commit) {
	r.wake()
	if r.config.Publisher == nil {
		return
	}
	select {
	case r.committed <- commit:
	default: // a round brings it
	}
}

// spread returns when the verifiers that follow have applied the log as it is now, and a
// moment later, in which they fetch the signing keys that it tells of; after two seconds
// it waits for nobody.
func (r *Relay) spread(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	page, err := r.config.Log.Read(ctx, r.revocations.Watermark(), 1)
	if err != nil {
		return
	}
	r.wake()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for behind := true; behind; {
		verifiers, err := r.Verifiers(ctx)
		behind = err != nil || slices.ContainsFunc(verifiers, func(v Verifier) bool {
			return v.EndedAt.IsZero() && v.Applied < page.Tip
		})
		if !behind && len(verifiers) < 2 {
			return // nobody but this server
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// moved returns a channel that is closed when the log has been read on.
func (r *Relay) moved() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.advanced
}

// position returns the rv of a token for a record, and whether the record is
// still current. It is false until this server follows the log.
func (r *Relay) position(record *keys.Record) (rv uint64, current bool) {
	// The watermark first: every entry up to it is then in changes.
	rv = r.revocations.Watermark()
	q := record.Position
	current = r.changes.Newest(tokens.Client(record.Key.ClientID)) <= q &&
		r.changes.Newest(tokens.Organization(record.Organization.ID)) <= q &&
		r.changes.Newest(tokens.Everything) <= q &&
		r.oldest.Load() <= q
	for i := range record.Key.Credentials {
		current = current && r.changes.Newest(tokens.Credential(record.Key.Credentials[i].ID)) <= q
	}
	return max(rv, q), current
}
