package authz

import (
	"context"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// margin is what clocks that run at different rates may differ by over a lease:
// 3 percent of it, at least 100 ms.
func margin(lease time.Duration) time.Duration {
	return max(lease*3/100, 100*time.Millisecond)
}

// Confirm implements [keys.Relay]. The caller's transaction has committed, so a
// lease that is renewed from now on is renewed by somebody who has the entry.
func (r *Relay) Confirm(ctx context.Context, position uint64) (keys.Receipt, error) {
	began := time.Now()
	r.hurry()
	// After the commit: a session that is stored later has the entry in its first page.
	sessions, err := r.sessions(ctx, began)
	if err != nil {
		return keys.Receipt{}, err
	}
	receipt := keys.Receipt{Position: position, State: keys.Confirmed, Total: len(sessions)}
	for {
		silent, acked := r.silent(sessions, position)
		receipt.Confirmed = len(sessions) - len(silent)
		if len(silent) == 0 {
			break
		}
		var longest time.Duration
		for _, s := range silent {
			longest = max(longest, s.Lease+margin(s.Lease))
		}
		wait := time.Until(began.Add(longest))
		if wait <= 0 {
			receipt.State = keys.LeaseEnded
			break
		}
		timer := time.NewTimer(wait)
		select {
		case <-acked:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return keys.Receipt{}, ctx.Err()
		}
		timer.Stop()
	}
	receipt.Waited = time.Since(began)
	if err := r.log.Confirmed(ctx, receipt); err != nil {
		// What the receipt says is true; that it is not kept costs a second wait.
		r.logger.Warn("receipt not stored", "position", position, "error", err)
	}
	return receipt, nil
}

// sessions reads who must confirm, and tries again until every lease that could
// have been granted has ended: then nobody has to.
func (r *Relay) sessions(ctx context.Context, began time.Time) ([]keys.Session, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		sessions, err := r.log.Sessions(ctx)
		if err == nil || time.Since(began) > httpfeed.MaxLease+margin(httpfeed.MaxLease) {
			return sessions, err
		}
		r.logger.Error("verifiers not listed", "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// silent returns the sessions that have not applied the log up to position, and
// a channel that is closed when one more has.
func (r *Relay) silent(sessions []keys.Session, position uint64) ([]keys.Session, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var silent []keys.Session
	for _, s := range sessions {
		if f := r.followers[s.ID]; f == nil || f.position < position {
			silent = append(silent, s)
		}
	}
	return silent, r.acked
}

// keepHouse does what nobody waits for.
func (r *Relay) keepHouse(ctx context.Context) {
	// Cuts without a receipt, of a server that died between commit and wait. At
	// first those from before this process, later those nobody can be waiting for.
	orphaned := time.Now()
	for last := (time.Time{}); ; {
		r.retire(ctx)
		if time.Since(last) > time.Minute {
			last = time.Now()
			if err := r.log.RaiseFloor(ctx, time.Now()); err != nil && ctx.Err() == nil {
				r.logger.Error("floor not raised", "error", err)
			}
			r.confirmOrphans(ctx, orphaned)
			orphaned = last.Add(-2 * httpfeed.MaxLease)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

func (r *Relay) confirmOrphans(ctx context.Context, before time.Time) {
	for ctx.Err() == nil {
		position, err := r.log.Unconfirmed(ctx, before)
		if err != nil || position == 0 {
			return
		}
		if _, err := r.Confirm(ctx, position); err != nil {
			return
		}
	}
}

// retire ends sessions that were silent for two leases, so that revocations no
// longer wait for them. It cuts them like any other subject and waits as long: a
// verifier that was only paused finds its own cut and joins again.
func (r *Relay) retire(ctx context.Context) {
	sessions, err := r.log.Sessions(ctx)
	if err != nil {
		return
	}
	var gone []keys.Session
	r.mu.Lock()
	now := time.Now()
	for _, s := range sessions {
		f := r.followers[s.ID]
		if f == nil {
			// Of before this process: its time begins now.
			r.followers[s.ID] = &follower{lease: s.Lease, current: now}
		} else if s.ID != r.session && now.Sub(f.current) > 2*s.Lease {
			gone = append(gone, s)
		}
	}
	for id, f := range r.followers {
		if f.position == left && now.Sub(f.current) > 2*httpfeed.MaxLease {
			delete(r.followers, id)
		}
	}
	r.mu.Unlock()
	if len(gone) == 0 {
		return
	}
	var last keys.Commit
	for _, s := range gone {
		r.logger.Warn("verifier is silent; retiring it", "verifier", s.Name, "session", s.ID)
		last, err = r.log.Append(ctx, keys.Entry{Kind: tokens.Cut, Subject: tokens.Session(s.ID), Actor: "server", Reason: "silent"})
		if err != nil {
			return
		}
	}
	if _, err := r.Confirm(ctx, last.Position); err != nil {
		return
	}
	for _, s := range gone {
		if err := r.end(ctx, s.ID); err != nil {
			r.logger.Error("silent verifier not removed", "session", s.ID, "error", err)
		}
	}
}

// end removes a session that accepts nothing any more.
func (r *Relay) end(ctx context.Context, session string) error {
	if err := r.log.Leave(ctx, session); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.followers[session] != nil {
		r.advance(session, left)
	}
	return nil
}
