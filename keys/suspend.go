package keys

import (
	"context"
	"fmt"
	"time"

	"github.com/imara/apikeys/tokens"
)

// Suspend stops a key until it is resumed: no new tokens, and every token it has
// is cut. It keeps its slot of the plan. Suspending again returns the same receipt.
func (r *Registry) Suspend(ctx context.Context, by Actor, organizationID, id, reason string) (Key, Receipt, error) {
	if err := checkReason(reason); err != nil {
		return Key{}, Receipt{}, err
	}
	return r.change(ctx, by, "key.suspend", organizationID, id, func(_ Organization, _ int, k *Key, e *Entry) error {
		if !k.RevokedAt.IsZero() {
			return ErrRevoked
		}
		hold := k.StaffHold || by.Operator
		switch {
		case k.SuspendedAt.IsZero():
			k.SuspendedAt, e.Kind = now(), tokens.Cut
		case k.StaffHold == hold:
			return already(tokens.Client(k.ClientID))
		}
		k.StaffHold, e.Reason = hold, reason
		return nil
	})
}

// Resume undoes [Registry.Suspend]; what the operator suspended, only the operator
// resumes. Tokens from before stay dead.
func (r *Registry) Resume(ctx context.Context, by Actor, organizationID, id string) (Key, error) {
	key, _, err := r.change(ctx, by, "key.resume", organizationID, id, func(_ Organization, _ int, k *Key, _ *Entry) error {
		if err := k.usable(now()); err != nil && err != ErrSuspended {
			return err
		}
		if k.StaffHold && !by.Operator {
			return fmt.Errorf("%w: the operator suspended the key", ErrForbidden)
		}
		k.SuspendedAt, k.StaffHold = time.Time{}, false
		return nil
	})
	return key, err
}
