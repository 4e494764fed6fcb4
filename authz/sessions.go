package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/redisfeed"
)

// follower is what this process knows of a session that follows through it.
type follower struct {
	clientID string // who joined; empty for this server itself
	polled   bool   // at least once
	// since is after the session was stored: what was read of the log before is no evidence
	// for it, since a cut from in between does not wait for it.
	since    time.Time
	position uint64 // applied up to here
	head     uint64 // of the entry there
	reported uint64 // of that, what the other servers were told
	// current is when it last made progress, or had none to make. A session whose
	// polls arrive but whose answers are lost is as silent as a dead one.
	current time.Time
}

// left is the position of a follower that took leave: it accepts nothing any more.
const left = ^uint64(0)

func newSession(name string, lease time.Duration) keys.Session {
	return keys.Session{ID: "ver_" + rand.Text(), Name: name, Lease: lease, JoinedAt: time.Now()}
}

// patience is how long a session may be silent: two leases. One that has not polled
// yet may still read the snapshot.
func patience(s keys.Session, polled bool) time.Duration {
	p := 2 * s.Lease
	if !polled {
		p = max(p, httpfeed.JoinTimeout+s.Lease)
	}
	return p
}

// ended tells whether cuts hold a session's end: it was retired, by a server that
// has waited for it and does so no more.
func ended(session string, cuts []tokens.Entry) bool {
	return slices.ContainsFunc(cuts, func(e tokens.Entry) bool { return e.Subject == tokens.Session(session) })
}

// advance records what a follower has applied. It is called with mu held.
func (r *Relay) advance(session string, ack keys.Ack) {
	f := r.followers[session]
	if ack.Position > f.position || ack.Position >= r.tip {
		f.current = time.Now()
	}
	if ack.Position > f.position {
		f.position, f.head = ack.Position, ack.Head
		r.waits.wake()
		select {
		case r.reporting <- struct{}{}:
		default:
		}
	}
}

// report tells the other servers, through the store, what our followers have
// applied, at once, and that this server lives, each second.
func (r *Relay) report(ctx context.Context) {
	for {
		applied := make(map[string]keys.Ack)
		r.mu.Lock()
		server := r.session
		for id, f := range r.followers {
			if f.position > f.reported && f.position != left {
				applied[id] = keys.Ack{Position: f.position, Head: f.head}
			}
		}
		r.mu.Unlock()
		var err error
		if server != "" { // it has joined
			err = r.config.Log.Report(ctx, server, applied)
		}
		if errors.Is(err, keys.ErrNotFound) {
			r.mu.Lock()
			r.retired.Store(r.session == server) // not of a session that has ended since
			r.mu.Unlock()
			r.wake()
		} else if err != nil && ctx.Err() == nil {
			r.config.Logger.Warn("other servers not told what verifiers have applied", "error", err)
		} else {
			r.mu.Lock()
			for id, ack := range applied {
				if f := r.followers[id]; f != nil {
					f.reported = max(f.reported, ack.Position)
				}
			}
			r.mu.Unlock()
		}
		select {
		case <-r.reporting:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

// errNotFollowing: this server has not joined the log yet, so nobody can follow
// through it.
var errNotFollowing = fmt.Errorf("%w: it does not follow the log yet", tokens.ErrStale)

// attached returns nil for a client's session that follows through this server,
// now that it polls here.
func (r *Relay) attached(ctx context.Context, session, clientID string) error {
	r.mu.Lock()
	f, own := r.followers[session], r.session
	r.mu.Unlock()
	if f != nil {
		if f.clientID != clientID {
			return keys.ErrNotFound
		}
		return nil
	}
	if own == "" {
		return errNotFollowing
	}
	if err := r.config.Log.Attach(ctx, session, clientID, own); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.followers[session] == nil && r.session == own {
		r.followers[session] = &follower{clientID: clientID, since: time.Now(), current: time.Now()}
	}
	return nil
}

// end removes a session that accepts nothing any more.
func (r *Relay) end(ctx context.Context, session string) error {
	if err := r.config.Log.Leave(ctx, session); err != nil {
		return err
	}
	r.mu.Lock()
	if r.followers[session] != nil {
		r.advance(session, keys.Ack{Position: left})
	}
	r.mu.Unlock()
	if r.config.Publisher != nil {
		ctx, cancel := context.WithTimeout(ctx, redisfeed.Timeout)
		defer cancel()
		if err := r.config.Publisher.Remove(ctx, session); err != nil {
			r.config.Logger.Debug("session not forgotten in Redis", "error", err)
		}
	}
	return nil
}

// A Verifier is one that must confirm every revocation, as operators see it. Its
// Via is "redis", "http", or "server" for a server's own.
type Verifier struct {
	keys.Session
	// Behind is how many entries of the log it has not applied.
	Behind uint64
	// EndedAt is when this server read that it was ended; zero for one that follows.
	EndedAt time.Time
}

// RefusesAfter is from when on it accepts nothing that was cut at a moment, at the latest:
// it has applied the cut, or its view is too old to accept anything.
func (v Verifier) RefusesAfter(cut time.Time) time.Time {
	longest := max(v.Lease, v.AcceptStale)
	return cut.Add(longest + margin(longest))
}

// Verifiers lists who follows, and how far each has come.
func (r *Relay) Verifiers(ctx context.Context) ([]Verifier, error) {
	sessions, err := r.config.Log.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	r.overRedis(ctx, sessions)
	tip := r.revocations.Watermark()
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Verifier, 0, len(sessions))
	for _, s := range sessions {
		v := Verifier{Session: s, EndedAt: r.ends[s.ID]}
		switch {
		case s.Server():
			v.Via = "server"
		case s.Via != viaRedis:
			v.Via = "http"
		}
		if f := r.followers[s.ID]; f != nil && f.position != left {
			v.Applied = max(v.Applied, f.position)
		}
		if v.Applied < tip {
			v.Behind = tip - v.Applied
		}
		list = append(list, v)
	}
	return list, nil
}

// watch is what the housekeeping remembers of sessions that are not its own.
type watch struct {
	beat  uint64
	poll  string
	since time.Time // this beat was first seen, or the server was first missed
}

// retire ends sessions that were silent for too long, or whose key may no longer follow,
// so that revocations no longer wait for them: each is cut like any other subject. A
// verifier that was only paused finds its own cut and joins again.
//
// Each server answers for those who follow through it. Another server that no
// longer beats, and whoever followed through one that is gone, are everybody's.
//
// It tells whether every session speaks protocol 2, as far as it could be read.
func (r *Relay) retire(ctx context.Context, watched map[string]watch) (modern bool) {
	sessions, err := r.config.Log.Sessions(ctx)
	if err != nil {
		return false
	}
	modern = !slices.ContainsFunc(sessions, func(s keys.Session) bool { return s.Protocol < httpfeed.Protocol })
	if slices.ContainsFunc(sessions, func(s keys.Session) bool { return s.AcceptStale > 0 }) {
		r.waiverAt.Store(time.Now().UnixMicro())
	}
	knows := r.overRedis(ctx, sessions)
	for _, s := range r.silentFor(sessions, knows, watched, time.Now()) {
		if r.cut(ctx, s, "silent") {
			r.flaps.retired(s.ClientID, time.Now())
		}
	}
	strays, err := r.config.Log.Strays(ctx, time.Now())
	if err != nil {
		return modern
	}
	for _, s := range strays {
		r.cut(ctx, s, "its key may not follow")
	}
	r.remove(ctx, sessions)
	return modern
}

// cut ends a session, once, and tells whether it did.
func (r *Relay) cut(ctx context.Context, s keys.Session, reason string) bool {
	r.mu.Lock()
	_, over := r.ends[s.ID]
	r.mu.Unlock()
	if over {
		return false
	}
	r.config.Logger.Warn("verifier is retired", "verifier", s.Name, "session", s.ID, "reason", reason, "accepts_stale", s.AcceptStale)
	commit, err := r.config.Log.Append(ctx, keys.SessionEnd(s, keys.Program("server"), reason))
	if err == nil {
		r.Publish(ctx, commit)
	}
	return err == nil
}

// remove takes sessions off the list that were ended and accept nothing any more: their
// leases, or what their owners let them accept, have passed since.
func (r *Relay) remove(ctx context.Context, sessions []keys.Session) {
	listed := make(map[string]bool, len(sessions))
	for _, s := range sessions {
		listed[s.ID] = true
		longest := max(s.Lease, s.AcceptStale)
		if over, ended := r.endOf(s.ID); ended && time.Since(over) > longest+margin(longest) {
			if err := r.end(ctx, s.ID); err != nil {
				r.config.Logger.Error("ended verifier not removed", "session", s.ID, "error", err)
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.ends, func(id string, over time.Time) bool {
		return !listed[id] && time.Since(over) > 2*httpfeed.MaxLease
	})
}

// endOf returns when this server first read of the end of a session.
func (r *Relay) endOf(session string) (over time.Time, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	over, ended = r.ends[session]
	return over, ended
}

// hasEnded tells whether a session with this public id was ended of late, whether or not
// it is still listed.
func (r *Relay) hasEnded(publicID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.ends {
		if s := (keys.Session{ID: id}); s.PublicID() == publicID {
			return true
		}
	}
	return false
}

// EndVerifier ends a session by its public id: it cannot poll again. Revocations wait for
// its lease at most, counted from here. One that was ended already stays so.
// [keys.ErrNotFound] for one that is not listed.
func (r *Relay) EndVerifier(ctx context.Context, by keys.Actor, publicID string) error {
	if r.hasEnded(publicID) {
		return nil
	}
	sessions, err := r.config.Log.Sessions(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(sessions, func(s keys.Session) bool { return s.PublicID() == publicID })
	switch {
	case i < 0:
		return keys.ErrNotFound
	case by.DryRun:
		return nil
	}
	entry := keys.SessionEnd(sessions[i], by, "")
	entry.Action = "verifier.end"
	entry.Changes = keys.Changes{"name": {From: sessions[i].Name}}
	commit, err := r.config.Log.Append(ctx, entry)
	if err == nil {
		r.Publish(ctx, commit)
	}
	return err
}

// silentFor returns the sessions that this server has to retire; those over Redis
// only if it knows what Redis says of them.
func (r *Relay) silentFor(sessions []keys.Session, knowsRedis bool, watched map[string]watch, now time.Time) (gone []keys.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	servers := make(map[string]bool)
	for _, s := range sessions {
		servers[s.ID] = s.Server()
	}
	if !knowsRedis {
		// Without any server that reads Redis, silence there is as long as we have watched.
		knowsRedis = r.config.Publisher == nil && !slices.ContainsFunc(sessions, publishes)
	}
	seen := make(map[string]bool)
	for _, s := range sessions {
		f := r.followers[s.ID]
		switch {
		case s.ID == r.session:
		case s.Via == r.session && f != nil:
			if now.Sub(f.current) > patience(s, f.polled) {
				gone = append(gone, s)
			}
		case !s.Server() && servers[s.Via] && s.Via != r.session:
			delete(r.followers, s.ID) // it moved to another server
		case s.Via == viaRedis && !knowsRedis: // its time begins anew
		default:
			w, known := watched[s.ID]
			if !known || w.beat != s.Beat || s.Poll != "" && w.poll != s.Poll {
				w = watch{s.Beat, s.Poll, now} // a slot that is gone is no sign of life
			}
			watched[s.ID], seen[s.ID] = w, true
			if now.Sub(w.since) > patience(s, s.Via != viaRedis || w.poll != "") {
				gone = append(gone, s)
			}
		}
	}
	for id := range watched {
		if !seen[id] {
			delete(watched, id)
		}
	}
	for id, f := range r.followers {
		if _, listed := servers[id]; !listed && now.Sub(f.current) > 2*httpfeed.MaxLease {
			delete(r.followers, id) // left, here or at another server
		}
	}
	return gone
}

// publishes tells whether a session is a server's that publishes to Redis.
func publishes(s keys.Session) bool {
	return s.Server() && strings.HasSuffix(s.Implementation, withRedis)
}

// withRedis ends the implementation of a server that publishes to Redis.
const withRedis = " redis"
