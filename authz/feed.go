package authz

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// pollFeed answers GET /feed/sessions/{session}.
func (s *Server) pollFeed(w http.ResponseWriter, r *http.Request) error {
	web.Background(w)
	query := r.URL.Query()
	after, errAfter := strconv.ParseUint(query.Get("after"), 10, 63)
	head, errHead := strconv.ParseUint(query.Get("head"), 10, 63)
	wait, errWait := strconv.ParseUint(query.Get("wait_ms"), 10, 16)
	if errAfter != nil || errHead != nil || errWait != nil || len(query.Get("nonce")) > 64 {
		return invalidRequest("nonce, after, head and wait_ms are required.")
	}
	page, err := s.config.Relay.poll(r.Context(), r.PathValue("session"), callerOf(r), after, head,
		min(time.Duration(wait)*time.Millisecond, httpfeed.MaxWait))
	if err != nil {
		return err
	}
	page.Session, page.Nonce = r.PathValue("session"), query.Get("nonce")
	return web.WriteJSON(w, http.StatusOK, page)
}

// leaveFeed answers DELETE /feed/sessions/{session}.
func (s *Server) leaveFeed(w http.ResponseWriter, r *http.Request) error {
	if err := s.config.Relay.attached(r.Context(), r.PathValue("session"), callerOf(r)); err != nil {
		return err
	}
	if err := s.config.Relay.end(r.Context(), r.PathValue("session")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// join stores a session and returns the log's state. Unproved are the rules that the
// verifier broke.
func (r *Relay) join(
	ctx context.Context, join httpfeed.Join, clientID, unproved string,
) (httpfeed.Joined, error) {
	session := newSession(join.Name, leaseOf(join))
	if join.Protocol >= httpfeed.Protocol { // one from before does not know that it may get less
		session.Lease = r.flaps.grant(clientID, session.Lease, time.Now())
	}
	session.AcceptStale = time.Duration(join.AcceptStaleMS) * time.Millisecond
	session.Protocol, session.Implementation = join.Protocol, join.Implementation
	session.Unproved = unproved
	own := r.own()
	session.ClientID, session.Via = clientID, own
	if join.Over == httpfeed.OverRedis {
		session.Via = viaRedis
	} else if own == "" {
		return httpfeed.Joined{}, errNotFollowing
	}
	if err := r.enroll(ctx, session, join.Replaces); err != nil {
		return httpfeed.Joined{}, err
	}
	if join.Over == "" {
		r.mu.Lock()
		if r.session == own { // or its first poll attaches it
			r.followers[session.ID] = &follower{clientID: clientID, since: time.Now(), current: time.Now()}
		}
		r.mu.Unlock()
	}
	snapshot, err := r.snapshot(ctx)
	if err == nil && ended(session.ID, snapshot.Cuts) {
		err = keys.ErrNotFound
	}
	joined := httpfeed.Joined{Session: session.ID, LeaseMS: session.Lease.Milliseconds(), Cuts: list(snapshot.Cuts),
		Watermark: snapshot.Watermark, Floor: snapshot.Floor, Head: snapshot.Head}
	if err == nil && session.Via == viaRedis {
		joined.AckKey, err = r.config.Publisher.AckKey(session.ID)
	}
	return joined, err
}

// enroll stores a session, when its turn comes: a fleet that joins at once would time out in
// the store.
func (r *Relay) enroll(ctx context.Context, session keys.Session, replaces string) error {
	select {
	case r.joins <- struct{}{}:
		defer func() { <-r.joins }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.config.Log.Join(ctx, session, r.admits(session, replaces))
}

// admits decides about a session that replaces another, with the store's word on its key
// and on the others that this has. Over the limit the longest silent make room.
func (r *Relay) admits(session keys.Session, replaces string) keys.AdmitSession {
	return func(k keys.Key, others []keys.Session) (end []keys.Session, err error) {
		if err := k.MayJoin(session, time.Now()); err != nil {
			return nil, err
		}
		live, silent := r.bySilence(others, replaces)
		switch room := k.MaxSessions() - 1 - live; {
		case room < 0:
			return nil, keys.ErrSessions
		case len(silent) > room:
			end = silent[:len(silent)-room]
		}
		if k.Crowded(live) {
			r.config.Logger.Warn("a key has nearly as many verifiers as it may have", "client_id", k.ClientID, "live", live, "limit", k.MaxSessions())
		}
		return end, nil
	}
}

// bySilence counts the sessions of a key that are alive, and returns those that are silent,
// the longest first. One that has ended, or is replaced, counts for neither.
func (r *Relay) bySilence(others []keys.Session, replaces string) (live int, silent []keys.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := make(map[string]time.Time)
	for _, x := range others {
		f := r.followers[x.ID]
		switch _, over := r.ends[x.ID]; {
		case over, x.ID == replaces:
		case f != nil && time.Since(f.current) > patience(x, f.polled):
			since[x.ID] = f.current
			silent = append(silent, x)
		default:
			live++ // as far as this server knows
		}
	}
	slices.SortFunc(silent, func(a, b keys.Session) int { return since[a.ID].Compare(since[b.ID]) })
	return live, silent
}

// snapshot returns the log's state as of now or a moment ago, read once for all who
// join meanwhile. It may be from before a session was stored: what counts is that the
// session's first poll comes after, and brings what the snapshot lacks.
func (r *Relay) snapshot(ctx context.Context) (keys.LogSnapshot, error) {
	select {
	case r.snapshots <- struct{}{}:
		defer func() { <-r.snapshots }()
	case <-ctx.Done():
		return keys.LogSnapshot{}, ctx.Err()
	}
	if time.Since(r.snapshotAt) < snapshotLife {
		return r.lastSnapshot, nil
	}
	at := time.Now()
	snapshot, err := r.config.Log.Snapshot(ctx)
	if err == nil {
		r.lastSnapshot, r.snapshotAt = snapshot, at
	}
	return snapshot, err
}

// snapshotLife is how long a snapshot serves who joins.
const snapshotLife = time.Second

// poll acknowledges position after for a session, and returns what follows it:
// at once when there is something, else after wait. It returns [keys.ErrNotFound]
// for a session that ended, and errSession when the follower's log is another.
func (r *Relay) poll(ctx context.Context, session, clientID string, after, head uint64, wait time.Duration) (httpfeed.Page, error) {
	arrived := time.Now()
	if err := r.attached(ctx, session, clientID); err != nil {
		return httpfeed.Page{}, err
	}
	if err := r.sameHistory(ctx, after, head); err != nil {
		return httpfeed.Page{}, err
	}
	r.mu.Lock()
	if _, over := r.ends[session]; over {
		// Whatever token it brings. Its end stays in the list until its lease has passed.
		r.mu.Unlock()
		return httpfeed.Page{}, keys.ErrNotFound
	}
	if f := r.followers[session]; f == nil || f.position == left {
		r.mu.Unlock()
		return httpfeed.Page{}, keys.ErrNotFound
	}
	r.followers[session].polled = true
	since := r.followers[session].since
	unread := r.fresh.Before(since)
	r.advance(session, keys.Ack{Position: after, Head: head})
	r.mu.Unlock()
	if unread { // at its first poll here
		if err := r.readSince(ctx, since); err != nil {
			return httpfeed.Page{}, err
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for over := wait == 0; ; {
		page, advanced, err := r.page(ctx, after, head, arrived)
		if err != nil || over || len(page.Entries) > 0 {
			return page, err
		}
		select {
		case <-advanced:
		case <-timer.C:
			over = true
		case <-ctx.Done():
			return httpfeed.Page{}, ctx.Err()
		}
	}
}

// readSince returns when the log was read after a moment.
func (r *Relay) readSince(ctx context.Context, since time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for {
		r.mu.Lock()
		fresh, advanced := r.fresh, r.advanced
		r.mu.Unlock()
		if !fresh.Before(since) {
			return nil
		}
		r.wake()
		select {
		case <-advanced:
		case <-ctx.Done():
			return fmt.Errorf("%w: it has not read the log since the session was stored", tokens.ErrStale)
		}
	}
}

// page returns the entries after a position as far as this process has read the
// log, and a channel that is closed when it reads on. The log may have become another while
// the poll waited: entries are for who has the one before them, and else it is errHistory.
func (r *Relay) page(
	ctx context.Context, after, head uint64, arrived time.Time,
) (httpfeed.Page, <-chan struct{}, error) {
	r.mu.Lock()
	if r.fresh.IsZero() {
		r.mu.Unlock()
		return httpfeed.Page{}, nil, fmt.Errorf("%w: it has not read the log yet", tokens.ErrStale)
	}
	page := httpfeed.Page{Entries: []tokens.Entry{}, Tip: r.tip, Floor: r.floor}
	// The longer of the two clocks' word, as a verifier takes it: the monotonic one
	// stands still while the machine is suspended.
	if age := max(arrived.Sub(r.fresh), arrived.Round(0).Sub(r.fresh.Round(0))); age > 0 {
		page.AgeUS = age.Microseconds() + 1
	}
	advanced := r.advanced
	first := r.tip - uint64(len(r.tail)) // position before the first of the tail
	if after >= first && after <= r.tip && !r.holds(after, head) {
		r.mu.Unlock()
		return httpfeed.Page{}, nil, errHistory
	}
	if after >= first {
		from := min(after-first, uint64(len(r.tail)))
		page.Entries = append(page.Entries, r.tail[from:min(int(from)+pageLimit, len(r.tail))]...)
	}
	r.mu.Unlock()
	if after < first {
		stored, err := r.config.Log.Read(ctx, after, pageLimit)
		if err != nil {
			return httpfeed.Page{}, nil, err
		}
		if stored.Head != head {
			return httpfeed.Page{}, nil, errHistory
		}
		page.Entries = list(stored.Entries)
	}
	return page, advanced, nil
}

// list is never nil: other languages stumble over null where a list belongs.
func list(entries []tokens.Entry) []tokens.Entry {
	if entries == nil {
		return []tokens.Entry{}
	}
	return entries
}

// sameHistory compares the follower's last entry with ours, or with the store's
// if it is not among those in memory: the snapshot that a follower began with may
// be newer than our last round.
func (r *Relay) sameHistory(ctx context.Context, after, head uint64) error {
	r.mu.Lock()
	tip, first := r.tip, r.tip-uint64(len(r.tail))
	if after > first && after <= tip {
		same := r.holds(after, head)
		r.mu.Unlock()
		if !same {
			return errHistory
		}
		return nil
	}
	r.mu.Unlock()
	stored, err := r.config.Log.Read(ctx, after, 1)
	if err != nil {
		return err
	}
	if stored.Tip < after || stored.Head != head {
		return errHistory
	}
	return nil
}

// errHistory: a follower knows a log that is not ours; it must join again.
var errHistory = errors.New("another history of the revocation log")

// callerOf is the client of a request that guardFeed admitted.
func callerOf(r *http.Request) string {
	claims, _ := tokens.FromContext(r.Context())
	return claims.ClientID
}

// guardFeed admits tokens for the management audience with the scope of the feed.
func (s *Server) guardFeed(next http.Handler) http.Handler {
	return s.verifier.Require(keys.FeedScope)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		web.Observe(w, "client_id", callerOf(r))
		next.ServeHTTP(w, r)
	}))
}
