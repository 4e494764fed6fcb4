package authz

import (
	"context"
	"time"

	"github.com/imara/apikeys/tokens/httpfeed"
)

// margin is what clocks that run at different rates may differ by over a lease:
// 3 percent of it, at least 100 ms.
func margin(lease time.Duration) time.Duration {
	return max(lease*3/100, 100*time.Millisecond)
}

// keepHouse does what nobody waits for.
func (r *Relay) keepHouse(ctx context.Context) {
	// Cuts without a receipt, of a server that died while it waited. At first those from
	// before this process, later those that no server can be waiting for.
	orphaned := time.Now()
	watched := make(map[string]watch)
	for last := (time.Time{}); ; {
		r.retire(ctx, watched)
		if time.Since(last) > time.Minute {
			last = time.Now()
			if err := r.Log.RaiseFloor(ctx, time.Now()); err != nil && ctx.Err() == nil {
				r.Logger.Error("floor not raised", "error", err)
			}
			r.adopt(ctx, orphaned)
			orphaned = last.Add(-2 * httpfeed.MaxLease)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

// adopt begins to wait for cuts that nobody waits for.
func (r *Relay) adopt(ctx context.Context, before time.Time) {
	cuts, err := r.Log.Unsettled(ctx, before)
	if err != nil {
		return
	}
	for _, cut := range cuts {
		r.find(cut)
	}
}
