package keys

import (
	"context"
	"time"
)

// Suspend stops a key until it is resumed: no new tokens, and every token it has
// is cut. It keeps its slot of the plan. Suspending again cuts again.
func (r *Registry) Suspend(ctx context.Context, by Actor, organizationID, id, reason string) (Key, Receipt, error) {
	return r.change(ctx, organizationID, id, func(_ Organization, _ int, k *Key) (Entry, error) {
		if !k.RevokedAt.IsZero() {
			return Entry{}, ErrRevoked
		}
		if k.SuspendedAt.IsZero() {
			k.SuspendedAt = now()
		}
		return by.entry(cutClient(k.ClientID, reason)), nil
	})
}

// Resume undoes [Registry.Suspend]. Tokens from before stay dead.
func (r *Registry) Resume(ctx context.Context, by Actor, organizationID, id string) (Key, error) {
	key, _, err := r.change(ctx, organizationID, id, func(_ Organization, _ int, k *Key) (Entry, error) {
		if err := k.usable(now()); err != nil && err != ErrSuspended {
			return Entry{}, err
		}
		k.SuspendedAt = time.Time{}
		return by.entry(touchClient(k.ClientID, "resume")), nil
	})
	return key, err
}
