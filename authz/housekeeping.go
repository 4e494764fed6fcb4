package authz

import (
	"context"
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

// keepHouse does what nobody waits for.
func (r *Relay) keepHouse(ctx context.Context) {
	// Cuts without a receipt, of a server that died while it waited. At first those from
	// before this process, later those that no server can be waiting for.
	orphaned := time.Now()
	watched := make(map[string]watch)
	modern := time.Now() // since then, every session has protocol 2
	for last := (time.Time{}); ; {
		if !r.retire(ctx, watched) {
			modern = time.Now()
		}
		if time.Since(last) > time.Minute {
			last = time.Now()
			if err := r.config.Log.RaiseFloor(ctx, time.Now()); err != nil && ctx.Err() == nil {
				r.config.Logger.Error("floor not raised", "error", err)
			}
			r.adopt(ctx, orphaned)
			r.settleDown(ctx, modern)
			r.tidyRedis(ctx)
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
	cuts, err := r.config.Log.Unsettled(ctx, before)
	if err != nil {
		return
	}
	for _, cut := range cuts {
		r.find(cut)
	}
}

// tidyRedis forgets servers there that are gone.
func (r *Relay) tidyRedis(ctx context.Context) {
	if r.config.Publisher == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, redisfeed.Timeout)
	defer cancel()
	if err := r.config.Publisher.Tidy(ctx); err != nil {
		r.config.Logger.Debug("servers that are gone not forgotten in Redis", "error", err)
	}
}

// settleDown ends what is only for a while: a restore that was waited out, and cuts of
// whole keys for verifiers that know no other.
func (r *Relay) settleDown(ctx context.Context, modern time.Time) {
	r.mu.Lock()
	restored, waited := r.restored, time.Now().After(r.heldUntil)
	r.mu.Unlock()
	if restored != 0 && waited {
		if err := r.config.Log.RestoredWaited(ctx, restored); err != nil && ctx.Err() == nil {
			r.config.Logger.Error("restore not known to be waited out", "error", err)
		}
	}
	if time.Since(modern) > keys.MaxTokenTTL {
		if err := r.config.Log.RaiseProtocol(ctx); err != nil && ctx.Err() == nil {
			r.config.Logger.Error("protocol of the feed not raised", "error", err)
		}
	}
}
