package tokens

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A watcher is told when its token is no longer accepted.
type watcher struct {
	judge    func() error // what a verifier says now
	busy     atomic.Bool  // something is being written to stream
	subjects [6]about
	until    time.Duration // the Stale.AcceptUntil of its verifier
	cancel   context.CancelCauseFunc
	stream   *stream // what the token's bearer is sent, or nil

	mu     sync.Mutex
	cause  error // why it ended
	gone   bool  // the caller is done: the response is no longer ours to touch
	expiry *time.Timer
}

// look ends w if its token is refused now.
func (w *watcher) look() error {
	err := w.judge()
	if err != nil {
		w.end(err)
	}
	return err
}

// end tells, once, that the token is refused with err.
func (w *watcher) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause != nil || w.gone {
		return
	}
	w.cause = err
	// Before the stream: net/http may end the request's context, without our cause,
	// when a write fails.
	w.cancel(err)
	if w.stream != nil {
		w.stream.interrupt()
	}
}

// await ends w when its token expires.
func (w *watcher) await(expires time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause != nil || w.gone {
		return
	}
	w.expiry = time.AfterFunc(time.Until(expires), func() {
		w.look()
		w.await(expires) // if the clock was set back
	})
}

// refused tells whether it has ended.
func (w *watcher) refused() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause != nil
}

// leave lets go of everything but the index.
func (w *watcher) leave() {
	w.mu.Lock()
	w.gone = true
	if w.expiry != nil {
		w.expiry.Stop()
	}
	w.mu.Unlock()
	w.cancel(nil)
}

const (
	// grace is how long an acknowledgement waits for writes that are in progress and
	// cannot be broken off.
	grace = 200 * time.Millisecond
	// overrun is how long it waits for those that are: they end by themselves, as soon
	// as the machine gets around to it.
	overrun = 2 * time.Second
	// batch is how many are told before others get their turn.
	batch = 500
)

// settle sees to it that none of asked whose token is refused now is written to: a
// write that begins later is refused by the view itself, and those in progress are
// broken off and waited for. When it returns the caller may acknowledge.
//
// Every context has ended for whoever asks it. Those who wait for one are woken, and
// from the second batch on in the background: a hundred thousand handlers that
// run at once would keep the caller from the processor.
func settle(asked []*watcher) {
	var broken []*watcher
	for _, w := range asked {
		if w.busy.Load() && w.look() != nil {
			broken = append(broken, w)
		}
	}
	first := min(batch, len(asked))
	tell(asked[:first])
	if rest := asked[first:]; len(rest) > 0 {
		go func() {
			for some := range slices.Chunk(rest, batch) {
				tell(some)
				runtime.Gosched()
			}
		}()
	}
	since := time.Now()
	for _, w := range broken {
		w.stream.quiet(since)
	}
}

func tell(asked []*watcher) {
	for _, w := range asked {
		w.look()
	}
}
