package keys

import (
	"context"
	"slices"
	"time"

	"github.com/imara/apikeys/tokens"
)

// MaxOverlap is the longest time that an old secret may go on working.
const MaxOverlap = 30 * 24 * time.Hour

// Rotate adds a secret to a key. Those it has go on working for overlap, so that
// no request fails while the new one is being deployed; no token is cut, and no
// slot of the plan is taken. Errors: [ErrNotFound], [ErrRevoked], [ErrExpired],
// [ErrRotating] when two secrets are live already and overlap is not 0, an
// [InputError].
func (r *Registry) Rotate(ctx context.Context, by Actor, organizationID, id string, overlap time.Duration) (Created, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return Created{}, invalid("overlap", "it must be between 0 and %v", MaxOverlap)
	}
	secret := newSecret()
	key, _, err := r.change(ctx, organizationID, id, func(_ Organization, _ int, k *Key) (Entry, error) {
		at := now()
		if err := k.usable(at); err != nil && err != ErrSuspended {
			return Entry{}, err
		}
		if overlap > 0 && k.live(at) > 1 {
			return Entry{}, ErrRotating
		}
		for i := range k.Credentials {
			if old := &k.Credentials[i]; old.EndsAt.IsZero() || old.EndsAt.After(at.Add(overlap)) {
				old.EndsAt = at.Add(overlap)
			}
		}
		k.Credentials = slices.Insert(k.Credentials, 0, r.config.Peppers.credential(secret, at))
		k.Credentials = forgetEnded(k.Credentials, at)
		return by.entry(touchClient(k.ClientID, "rotate")), nil
	})
	if err != nil {
		return Created{}, err
	}
	return Created{key, secret}, nil
}

// rememberedSecrets that have ended are kept, so that who still uses one is told
// why it fails.
const rememberedSecrets = 5

// forgetEnded keeps the live secrets and the newest of those that have ended. The
// list is the newest first.
func forgetEnded(list []Credential, t time.Time) []Credential {
	ended := 0
	return slices.DeleteFunc(list, func(c Credential) bool {
		if !c.Live(t) {
			ended++
		}
		return !c.Live(t) && ended > rememberedSecrets
	})
}

// EndSecret ends one secret of a key now. If it leaked, every token of the key
// is cut as well, and the receipt says how far that has reached; otherwise the
// receipt is zero. Ending a secret again changes nothing but that.
func (r *Registry) EndSecret(ctx context.Context, by Actor, organizationID, id, credentialID string, leaked bool) (Key, Receipt, error) {
	return r.change(ctx, organizationID, id, func(_ Organization, _ int, k *Key) (Entry, error) {
		at := now()
		for i := range k.Credentials {
			c := &k.Credentials[i]
			if c.ID != credentialID {
				continue
			}
			if c.Live(at) {
				c.EndsAt = at
			}
			entry := by.entry(touchClient(k.ClientID, "end secret "+credentialID))
			if leaked {
				entry.Kind, entry.Reason = tokens.Cut, "leaked secret "+credentialID
			}
			return entry, nil
		}
		return Entry{}, ErrNotFound
	})
}
