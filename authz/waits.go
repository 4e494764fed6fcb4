package authz

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// A cut that commits has one wait. It belongs to the server: no request, no client and no
// deadline ends it. Whoever asks for the receipt watches the wait, and one who goes away
// ends nothing. One goroutine settles the waits of the process together, since an
// acknowledgement of a position is one of all before it.
//
// Rejected: a wait in the goroutine of each request. A thousand of them read the list of
// sessions a thousand times as often, and each ends with its connection.

// waits are the cuts of this process that are not settled.
type waits struct {
	mu   sync.Mutex
	open map[uint64]*wait
	// stopping is closed when the server is about to end: nobody is kept waiting then.
	stopping chan struct{}
	kick     chan struct{}
}

// A wait is for one cut.
type wait struct {
	// position and head are the cut's; through is the last position that committed with it.
	position, head, through uint64
	// began is after the commit, on this process's clock: a lease that was renewed later
	// is held by somebody who has the cut.
	began time.Time
	// also are other cuts that committed with it, and have the same receipt.
	also []tokens.Entry
	// found: the cut was not committed by this call, but found in the log.
	found bool
	done  chan struct{} // closed when it is settled, or lost

	// The next belong to the settling goroutine until done is closed; what others see of
	// them meanwhile is in seen, below the mutex of waits.
	members   []keys.ReceiptMember // nil: not listed yet
	recovered bool                 // the members are those of now, not those of the commit
	looked    time.Time            // in the store, for what another server knows
	kept      int                  // how many were settled when it was last stored
	anchored  string               // session of ours whose history has the cut
	receipt   keys.Receipt
	err       error

	seen keys.Receipt
}

func newWaits() *waits {
	return &waits{open: make(map[uint64]*wait), stopping: make(chan struct{}), kick: make(chan struct{}, 1)}
}

// add returns the wait for a cut: the one there is, or a new one.
func (ws *waits) add(w *wait) *wait {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if there := ws.open[w.position]; there != nil {
		return there
	}
	w.done = make(chan struct{})
	w.seen = keys.Receipt{Position: w.position, Head: w.head, State: keys.Waiting, Latest: w.clock(w.began.Add(longestWait))}
	ws.open[w.position] = w
	ws.wake()
	return w
}

// wake asks for a look at all waits.
func (ws *waits) wake() {
	select {
	case ws.kick <- struct{}{}:
	default:
	}
}

// list returns the open waits in the order of their positions.
func (ws *waits) list() []*wait {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	list := make([]*wait, 0, len(ws.open))
	for _, w := range ws.open {
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b *wait) int { return cmp.Compare(a.position, b.position) })
	return list
}

// finish ends a wait with what is stored, or with an error.
func (ws *waits) finish(w *wait, receipt keys.Receipt, err error) {
	w.receipt, w.err = receipt, err
	ws.mu.Lock()
	delete(ws.open, w.position)
	ws.mu.Unlock()
	close(w.done)
}

// show makes what a wait knows by now visible.
func (ws *waits) show(w *wait, receipt keys.Receipt) {
	ws.mu.Lock()
	w.seen = receipt
	ws.mu.Unlock()
}

// ReceiptWait is how long a request waits for its receipt where its caller does not say:
// longer than the default lease and its margin, shorter than any proxy's default.
const ReceiptWait = 12 * time.Second

// longestWait is how long a cut can wait at most: nobody has a longer lease.
const longestWait = httpfeed.MaxLease + httpfeed.MaxLease*3/100

// Confirm implements [keys.Relay].
func (r *Relay) Confirm(ctx context.Context, at keys.Commit) (keys.Receipt, error) {
	w := r.waits.add(&wait{position: at.Position, head: at.Head, through: max(at.Position, at.Through), also: at.Also, began: time.Now()})
	r.hurry(at)
	return r.watch(ctx, w)
}

// Reached implements [keys.Relay].
func (r *Relay) Reached(ctx context.Context, position uint64) (keys.Receipt, error) {
	if w := r.waits.of(position); w != nil {
		return r.watch(ctx, w)
	}
	// Not with the caller's context, which says how long it waits for the receipt.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	stored, err := r.config.Log.Receipt(bounded, position)
	if err != nil || stored.Settled() {
		return stored, err
	}
	return r.watch(ctx, r.find(stored))
}

func (ws *waits) of(position uint64) *wait {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.open[position]
}

// find begins, or joins, the wait for a cut that is in the log.
func (r *Relay) find(cut keys.Receipt) *wait {
	return r.waits.add(&wait{position: cut.Position, head: cut.Head, through: cut.Position, began: time.Now(), found: true})
}

// watch returns the receipt of a wait, settled or, if the caller does not wait for it,
// as it is now.
func (r *Relay) watch(ctx context.Context, w *wait) (keys.Receipt, error) {
	select {
	case <-w.done:
		return w.receipt, w.err
	case <-ctx.Done():
	case <-r.waits.stopping:
	}
	select {
	case <-w.done:
		return w.receipt, w.err
	default:
	}
	return r.described(ctx, w), nil
}

// described adds to what a wait knows what the log says of its cut, if it can be read.
func (r *Relay) described(ctx context.Context, w *wait) keys.Receipt {
	r.waits.mu.Lock()
	seen := w.seen
	r.waits.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	cut, err := r.config.Log.Receipt(ctx, w.position)
	switch {
	case err != nil:
		seen.RevokedAt = w.began
		return seen
	case cut.Settled():
		return cut
	}
	cut.State, cut.Latest, cut.Members = keys.Waiting, seen.Latest, seen.Members
	cut.Confirmed, cut.Total, cut.Waited = seen.Confirmed, seen.Total, time.Since(w.began)
	return cut
}

// Stopping tells those who wait for receipts that the server is about to end. What they
// wait for goes on, here until [Relay.Run] returns, and then wherever it is asked for.
func (r *Relay) Stopping() { r.stop() }
