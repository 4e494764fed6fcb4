package tokens

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// A watcher is told when its token is no longer accepted.
type watcher struct {
	judge    func() error // what a verifier says now
	subjects [6]about
	until    time.Duration // the Stale.AcceptUntil of its verifier
	cancel   context.CancelCauseFunc

	mu     sync.Mutex
	cause  error // why it ended
	gone   bool  // the caller is done
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
	w.cancel(err)
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

// batch is how many are told before others get their turn.
const batch = 500

// settle tells those of asked whose tokens are refused now. Their contexts have ended for
// whoever asks, and the caller may acknowledge; those who wait for one are woken, and
// from the second batch on in the background: a hundred thousand handlers that
// run at once would keep the caller from the processor.
func settle(asked []*watcher) {
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
}

func tell(asked []*watcher) {
	for _, w := range asked {
		w.look()
	}
}
