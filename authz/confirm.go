package authz

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/redisfeed"
)

// margin is what clocks that run at different rates may differ by over a lease:
// 3 percent of it, at least 100 ms.
func margin(lease time.Duration) time.Duration {
	return max(lease*3/100, 100*time.Millisecond)
}

// Confirm implements [keys.Relay]. What the receipt says is true when it returns;
// storing it takes as long as the revocation did, and is left to the background.
func (r *Relay) Confirm(ctx context.Context, at keys.Commit) (keys.Receipt, error) {
	receipt, err := r.await(ctx, at)
	if err == nil {
		r.Logger.Info("revoked", "subject", string(at.Subject), "position", at.Position, "state", string(receipt.State),
			"confirmed", receipt.Confirmed, "total", receipt.Total, "waited_us", receipt.Waited.Microseconds())
		select {
		case r.receipts <- receipt:
		default: // the next server to start stores one for it
			r.Logger.Warn("receipt not stored: too many are waiting", "position", at.Position)
		}
	}
	return receipt, err
}

// storeReceipts stores what Confirm has left, until ctx ends and all are. It lets
// some gather: storing one is a commit like the next revocation's.
func (r *Relay) storeReceipts(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-time.After(receiptInterval):
		case <-ctx.Done():
		}
		r.store(ctx, r.pending())
	}
}

const receiptInterval = 50 * time.Millisecond

// pending takes the receipts that wait to be stored.
func (r *Relay) pending() (receipts []keys.Receipt) {
	for {
		select {
		case receipt := <-r.receipts:
			receipts = append(receipts, receipt)
		default:
			return receipts
		}
	}
}

func (r *Relay) store(ctx context.Context, receipts []keys.Receipt) {
	if len(receipts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	// In one order on every server, so that none waits for another in a circle.
	slices.SortFunc(receipts, func(a, b keys.Receipt) int { return cmp.Compare(a.Position, b.Position) })
	if err := r.Log.Confirmed(ctx, receipts...); err != nil {
		r.Logger.Warn("receipts not stored", "from", receipts[0].Position, "count", len(receipts), "error", err)
	}
}

// await waits for a receipt. The caller's transaction has committed, so a lease
// that is renewed from now on is renewed by somebody who has the entry.
func (r *Relay) await(ctx context.Context, at keys.Commit) (keys.Receipt, error) {
	began, position := time.Now(), at.Position
	r.hurry(at)
	// After the commit: a session that is stored later has the entry in its first page.
	sessions, err := r.sessions(ctx, began)
	if err != nil {
		return keys.Receipt{}, err
	}
	listed, acks := time.Now(), &redisfeed.Acks{Position: position}
	receipt := keys.Receipt{Position: position, State: keys.Confirmed, Total: len(sessions)}
	for {
		silent, elsewhere, acked := r.silent(sessions, position)
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
			if slices.ContainsFunc(silent, func(s keys.Session) bool { return s.AcceptStale > 0 }) {
				receipt.State = keys.Waived
			}
			break
		}
		// They report through Redis or the store; ours may move there meanwhile.
		wait = min(wait, time.Second)
		if elsewhere {
			// A tenth of the wait so far is not noticed.
			wait = min(wait, max(50*time.Microsecond, time.Since(began)/10), 20*time.Millisecond)
		}
		timer := time.NewTimer(wait)
		select {
		case <-acked:
		case <-timer.C:
			elsewhere = true
		case <-ctx.Done():
			timer.Stop()
			return keys.Receipt{}, ctx.Err()
		}
		timer.Stop()
		if elsewhere {
			r.acknowledged(ctx, sessions, acks)
			// The list itself changes seldom. Servers without Redis report through it.
			if time.Since(listed) > listInterval || slices.ContainsFunc(silent, func(s keys.Session) bool { return s.Via != viaRedis }) {
				listed = time.Now()
				acks.Forget()
				r.update(ctx, sessions)
			}
		}
	}
	receipt.Waited = time.Since(began)
	return receipt, nil
}

// listInterval is how often a wait reads again who must confirm.
const listInterval = 20 * time.Millisecond

// sessions reads who must confirm, and tries again for as long as anybody can hold
// a lease. Then every lease has ended, but who they were is not known: no receipt.
func (r *Relay) sessions(ctx context.Context, began time.Time) ([]keys.Session, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		sessions, err := r.Log.Sessions(ctx)
		if err == nil || time.Since(began) > httpfeed.MaxLease+margin(httpfeed.MaxLease) {
			return sessions, err
		}
		r.Logger.Error("verifiers not listed", "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// silent returns the sessions that have not applied the log up to position, as
// far as this server or the store knows, whether any of them follows through
// another server, and a channel that is closed when one more of ours has applied.
func (r *Relay) silent(sessions []keys.Session, position uint64) (silent []keys.Session, elsewhere bool, acked <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range sessions {
		f := r.followers[s.ID]
		if s.Applied >= position || f != nil && f.position >= position {
			continue
		}
		silent = append(silent, s)
		elsewhere = elsewhere || s.Via != r.session
	}
	return silent, elsewhere, r.acked
}

// update reads again what the sessions have applied. One that is no longer there
// took leave, or was retired after as long a wait: it accepts nothing.
func (r *Relay) update(ctx context.Context, sessions []keys.Session) {
	stored, err := r.Log.Sessions(ctx)
	if err != nil {
		return // the wait goes on, and the leases with it
	}
	now := make(map[string]keys.Session, len(stored))
	for _, s := range stored {
		now[s.ID] = s
	}
	for i, s := range sessions {
		if fresh, there := now[s.ID]; there {
			sessions[i].Via, sessions[i].Applied = fresh.Via, max(s.Applied, fresh.Applied)
		} else {
			sessions[i].Applied = left
		}
	}
}

// keepHouse does what nobody waits for.
func (r *Relay) keepHouse(ctx context.Context) {
	// Cuts without a receipt, of a server that died between commit and wait. At
	// first those from before this process, later those nobody can be waiting for.
	orphaned := time.Now()
	watched := make(map[string]watch)
	for last := (time.Time{}); ; {
		r.retire(ctx, watched)
		if time.Since(last) > time.Minute {
			last = time.Now()
			if err := r.Log.RaiseFloor(ctx, time.Now()); err != nil && ctx.Err() == nil {
				r.Logger.Error("floor not raised", "error", err)
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

// confirmOrphans stores receipts for cuts that nobody waits for. Whoever has applied
// the newest has applied them all, so one wait serves.
func (r *Relay) confirmOrphans(ctx context.Context, before time.Time) {
	positions, err := r.Log.Unconfirmed(ctx, before)
	if err != nil || len(positions) == 0 {
		return
	}
	receipt, err := r.await(ctx, keys.Commit{Position: positions[len(positions)-1]})
	if err != nil {
		return
	}
	receipts := make([]keys.Receipt, len(positions))
	for i, position := range positions {
		receipts[i] = receipt
		receipts[i].Position = position
	}
	r.store(ctx, receipts)
}
