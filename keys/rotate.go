package keys

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/imara/apikeys/tokens"
)

// MaxOverlap is the longest time that an old secret may go on working.
const MaxOverlap = 30 * 24 * time.Hour

// An Overlap says how long the secrets that a key has go on working beside a new
// one. The zero value ends them at once.
type Overlap struct {
	// Max is how long at most.
	Max time.Duration
	// AfterUse, unless 0, ends them so long after the new one was first used: at
	// least [MaxTokenTTL], so that no token of theirs outlives them.
	AfterUse time.Duration
}

// DefaultOverlap leaves a day after the new secret is in use, and a week to get there.
var DefaultOverlap = Overlap{Max: 7 * 24 * time.Hour, AfterUse: 24 * time.Hour}

// Rotate adds a secret to a key. Those it has go on working for overlap, so that
// no request fails while the new one is being deployed, and no slot of the plan is taken.
// No token is cut, unless the overlap is shorter than [MaxTokenTTL]: then those that the
// old secrets bought are, and the receipt says how far that has reached. The first secret of a key that was approved is for who
// asked for it. Errors: [ErrNotFound], [ErrRevoked], [ErrExpired], [ErrPending],
// [ErrRotating] when two secrets are live already and overlap is not zero,
// [ErrForbidden], an [InputError].
func (r *Registry) Rotate(ctx context.Context, by Actor, organizationID, id string, overlap Overlap) (Created, error) {
	if overlap.Max < 0 || overlap.Max > MaxOverlap || overlap.AfterUse < 0 {
		return Created{}, invalid("old_ends", "it must be between now and %v from now", MaxOverlap)
	}
	if overlap.AfterUse != 0 && overlap.AfterUse < MaxTokenTTL {
		return Created{}, invalid("old_ends", "it must be at least %v after the first use", MaxTokenTTL)
	}
	old, err := r.config.Store.Key(ctx, organizationID, id)
	if err != nil {
		return Created{}, err
	}
	if err := r.mayHold(ctx, by, &old); err != nil {
		return Created{}, err
	}
	secret := newSecret()
	created := Created{Secret: secret}
	key, receipt, err := r.change(ctx, by, "key.rotate", organizationID, id, func(o Organization, active int, k *Key, _ *Entry) error {
		at := now()
		created.Active, created.Limit = active, r.Limit(o)
		switch err := k.usable(at); {
		case err != nil && err != ErrSuspended:
			return err
		case k.Pending:
			return ErrPending
		case !slices.Equal(k.Scopes, old.Scopes), k.OwnerID != old.OwnerID:
			return ErrChanged // what mayHold has seen is not what it is now
		}
		if overlap.Max > 0 && k.Live(at) > 1 {
			return ErrRotating
		}
		if len(k.Credentials) == 0 && k.RequestedBy != by.MemberID {
			return fmt.Errorf("%w: the first secret is for who asked for the key", ErrForbidden)
		}
		for i := range k.Credentials {
			old := &k.Credentials[i]
			if old.EndsAt.IsZero() || old.EndsAt.After(at.Add(overlap.Max)) {
				old.EndsAt = at.Add(overlap.Max)
			}
			old.EndsAfterUse = overlap.AfterUse
		}
		k.Credentials = slices.Insert(k.Credentials, 0, r.config.Peppers.credential(secret, at))
		k.Credentials = forgetEnded(k.Credentials, at)
		return nil
	})
	if err != nil {
		return Created{}, err
	}
	created.Receipt = receipt
	if created.Key = key; by.DryRun {
		created.Secret = Secret{}
		created.Key.Credentials = slices.DeleteFunc(slices.Clone(key.Credentials), func(c Credential) bool { return c.ID == secret.CredentialID() })
	}
	return created, nil
}

// rememberedSecrets that have ended are kept, so that who still uses one is told
// why it fails.
const rememberedSecrets = 5

// recentSecrets are kept as well while a token of them may be alive, so that one that
// leaked can be reported.
const recentSecrets = 20

// forgetEnded keeps the live secrets and the newest of those that have ended. The
// list is the newest first.
func forgetEnded(list []Credential, t time.Time) []Credential {
	ended := 0
	return slices.DeleteFunc(list, func(c Credential) bool {
		if !c.Live(t) {
			ended++
		}
		return !c.Live(t) && (ended > recentSecrets || ended > rememberedSecrets && !c.Live(t.Add(-Retention)))
	})
}

// EndSecret ends one secret of a key now, with every token that was bought with it; the
// receipt says how far that has reached. The key's other secrets, and their tokens, live
// on. Leaked is for the record. Ending a secret again changes nothing and returns the same
// receipt.
func (r *Registry) EndSecret(ctx context.Context, by Actor, organizationID, id, credentialID string, leaked bool) (Key, Receipt, error) {
	return r.change(ctx, by, "secret.end", organizationID, id, func(_ Organization, _ int, k *Key, e *Entry) error {
		c := k.credential(credentialID)
		if c == nil {
			return ErrNotFound
		}
		at := now()
		if !c.Live(at) {
			e.Action = "secret.leaked" // it ended before
		}
		if !c.Live(at) && (!leaked || !c.LeakedAt.IsZero()) {
			return already(tokens.Credential(c.ID))
		}
		if leaked {
			c.LeakedAt, e.Reason = at, "leaked"
		}
		if c.Live(at) {
			c.EndsAt = at
		}
		e.cutSecrets(k, []string{c.ID})
		return nil
	})
}

// KeepSecret moves the end of a secret that is live, because of a rotation or not,
// to another time, at most [MaxOverlap] away; not of one that leaked. It is recorded as
// secret.extend, or as secret.shorten when the secret now ends earlier, which cuts its
// tokens if they would outlive it. To the end that it has already changes nothing and
// returns the same receipt. Errors as [Registry.EndSecret], and [ErrScope].
func (r *Registry) KeepSecret(ctx context.Context, by Actor, organizationID, id, credentialID string, until time.Time) (Key, Receipt, error) {
	if left := time.Until(until); left <= 0 || left > MaxOverlap {
		return Key{}, Receipt{}, invalid("ends_at", "it must be between now and %v from now", MaxOverlap)
	}
	until = until.UTC().Truncate(time.Microsecond)
	return r.prolong(ctx, by, "secret.extend", organizationID, id, func(k *Key, e *Entry) error {
		c := k.credential(credentialID)
		switch {
		case c == nil:
			return ErrNotFound
		case !c.Live(now()) || !c.LeakedAt.IsZero():
			return ErrSecretEnded
		case c.EndsAt.Equal(until) && c.EndsAfterUse == 0:
			return already(tokens.Credential(c.ID))
		case c.EndsAt.IsZero() || until.Before(c.EndsAt):
			e.Action = "secret.shorten"
		}
		c.EndsAt, c.EndsAfterUse = until, 0
		return nil
	})
}

// CancelRotation ends the newest secret of a key that has two, and lets the older one
// go on without an end. Errors: [ErrNotFound] when no rotation is going on, [ErrChanged]
// when the newest is another secret, others as [Registry.KeepSecret].
func (r *Registry) CancelRotation(ctx context.Context, by Actor, organizationID, id, credentialID string) (Key, Receipt, error) {
	return r.prolong(ctx, by, "key.cancel_rotation", organizationID, id, func(k *Key, _ *Entry) error {
		at := now()
		var live []*Credential
		for i := range k.Credentials {
			if c := &k.Credentials[i]; c.Live(at) {
				live = append(live, c)
			}
		}
		switch {
		case len(live) < 2:
			return ErrNotFound
		case live[0].ID != credentialID:
			return ErrChanged
		case !live[1].LeakedAt.IsZero():
			return ErrSecretEnded
		}
		live[0].EndsAt = at
		live[1].EndsAt, live[1].EndsAfterUse = time.Time{}, 0
		return nil
	})
}

// prolong runs a change after which a secret works for longer: for who might hold the key.
func (r *Registry) prolong(ctx context.Context, by Actor, action Action, organizationID, id string, f func(*Key, *Entry) error) (Key, Receipt, error) {
	old, err := r.config.Store.Key(ctx, organizationID, id)
	if err != nil {
		return Key{}, Receipt{}, err
	}
	if err := r.mayHold(ctx, by, &old); err != nil {
		return Key{}, Receipt{}, err
	}
	return r.change(ctx, by, action, organizationID, id, func(_ Organization, _ int, k *Key, e *Entry) error {
		switch {
		case !k.RevokedAt.IsZero():
			return ErrRevoked
		case !slices.Equal(k.Scopes, old.Scopes) || k.OwnerID != old.OwnerID:
			return ErrChanged // what mayHold has seen is not what it is now
		}
		return f(k, e)
	})
}

// endedEarly returns the secrets that now end before every token may have that was bought
// with them: tokens are made to end with their secret as it was then.
func endedEarly(before, after []Credential, t time.Time) (early []string) {
	for _, old := range before {
		i := slices.IndexFunc(after, func(c Credential) bool { return c.ID == old.ID })
		if i < 0 || !old.Live(t) || after[i].EndsAt.IsZero() {
			continue
		}
		end := after[i].EndsAt
		if (old.EndsAt.IsZero() || end.Before(old.EndsAt)) && end.Before(t.Add(MaxTokenTTL)) {
			early = append(early, old.ID)
		}
	}
	return early
}

// cutSecrets makes an entry the cut of what was bought with secrets of a key. The key is
// touched with it: servers authenticate from memory, and would go on minting.
func (e *Entry) cutSecrets(k *Key, ids []string) {
	by := e.Actor
	by.IdempotencyKey = ""
	client := tokens.Client(k.ClientID)
	e.Kind, e.Subject, e.Older = tokens.Cut, tokens.Credential(ids[0]), client
	for _, id := range ids[1:] {
		other := by.did(e.Action, "", e.Target, tokens.Cut, tokens.Credential(id))
		other.Older = client
		e.With = append(e.With, other)
	}
	e.With = append(e.With, by.did(e.Action, "", e.Target, tokens.Touch, client))
}

func (k *Key) credential(id string) *Credential {
	for i := range k.Credentials {
		if k.Credentials[i].ID == id {
			return &k.Credentials[i]
		}
	}
	return nil
}
