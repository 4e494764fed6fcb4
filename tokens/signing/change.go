package signing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Change is what becomes of the stored keys. Whoever stores it does so wholly or not
// at all, with what tells the world of it, and returns [ErrReplaced] when New.Replaces
// is replaced already, Activate is active, or ID was withdrawn.
type Change struct {
	// ID is the kid of the key that the change is about.
	ID string
	// Activate is the kid of the key that signs from At on, and Current of the one that
	// does now; empty when that stays as it is.
	Activate, Current string
	At                time.Time
	// New is the next key from then on, nil when that stays as it is.
	New *Sealed
}

// attempts of a change while others make theirs.
const attempts = 5

// Ensure makes what an algorithm lacks: a key that signs, and the next one. It is for
// the start of a server, and for an algorithm that is chosen: verifiers learn of a key
// that was not published ahead from the log, or when they next ask.
func (r *Ring) Ensure(ctx context.Context, algorithm string) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	var err error
	for range attempts {
		c, now := r.keys.Load().chains[algorithm], time.Now()
		activeAt := Never
		switch {
		case c.current(now) == nil:
			activeAt = now
		case c.next(now) != nil:
			return nil
		}
		var made *Sealed
		if made, err = r.make(algorithm, c.newest(), activeAt); err != nil {
			return err
		}
		if err = r.config.Store.AddSigningKey(ctx, *made); err != nil && !errors.Is(err, ErrReplaced) {
			return err
		}
		if e := r.Load(ctx); e != nil {
			return e
		}
	}
	return err
}

// Rotate lets the next key of an algorithm sign, and makes another next one. It
// returns [ErrUnknown] for an algorithm that has no keys, [ErrRotating] until the next one
// has been published for [Lead], and what store
// returns; of any number who call it at once, on any number of servers, one succeeds.
// Without store it is a trial: nothing is made or stored.
func (r *Ring) Rotate(ctx context.Context, algorithm string, store func(Change) error) error {
	if err := r.Load(ctx); err != nil {
		return err
	}
	if r.keys.Load().chains[algorithm] == nil {
		return fmt.Errorf("%w: no API uses %s", ErrUnknown, algorithm)
	}
	if store != nil {
		if err := r.Ensure(ctx, algorithm); err != nil {
			return err
		}
	}
	return r.change(ctx, store, func(ring *keyring, now time.Time) (Change, error) {
		c := ring.chains[algorithm]
		current, next := c.current(now), c.next(now)
		if current == nil || next == nil {
			if store == nil {
				return Change{}, fmt.Errorf("%w: there is no next %s key yet", ErrRotating, algorithm)
			}
			return Change{}, ErrReplaced
		}
		if ready := next.CreatedAt.Add(Lead); now.Before(ready) {
			return Change{}, fmt.Errorf("%w: %s may sign from %s on",
				ErrRotating, next.ID, ready.UTC().Format(time.RFC3339))
		}
		return r.succeed(next, current, now)
	})
}

// Withdraw takes a key out of use for good, whatever it is for: the one that signs
// gives way to the next, which then signs at once, and a next one to another. It
// returns what store returns, or [ErrUnknown]. A key that was withdrawn stays so:
// then store is not called, and before is the position of the cut. Without store it is a
// trial.
func (r *Ring) Withdraw(ctx context.Context, kid string, store func(Change) error) (before uint64, err error) {
	if err := r.Load(ctx); err != nil {
		return 0, err
	}
	if k := r.keys.Load().byID[kid]; k != nil && k.Withdrawn == 0 && store != nil {
		// Now, because a change can add one key only.
		if err := r.Ensure(ctx, k.Algorithm); err != nil {
			return 0, err
		}
	}
	err = r.change(ctx, store, func(ring *keyring, now time.Time) (change Change, err error) {
		k := ring.byID[kid]
		if k == nil {
			return Change{}, fmt.Errorf("%w: %s", ErrUnknown, kid)
		}
		if before = k.Withdrawn; before != 0 {
			return Change{}, errWithdrawn
		}
		c := ring.chains[k.Algorithm]
		current, next := c.current(now), c.next(now)
		switch {
		case k == current && next == nil && store == nil:
		case k == current && next == nil:
			return Change{}, ErrReplaced
		case k == current:
			change, err = r.succeed(next, current, now)
		case k == next:
			change.New, err = r.make(k.Algorithm, k.ID, Never)
		}
		change.ID = kid
		return change, err
	})
	if errors.Is(err, errWithdrawn) {
		return before, nil
	}
	return 0, err
}

// errWithdrawn: there is nothing to do.
var errWithdrawn = errors.New("withdrawn before")

// succeed lets next sign instead of current.
func (r *Ring) succeed(next, current *key, now time.Time) (Change, error) {
	made, err := r.make(next.Algorithm, next.ID, Never)
	return Change{ID: next.ID, Activate: next.ID, Current: current.ID, At: now, New: made}, err
}

// change plans on what is stored, and plans again when that is not so any more.
func (r *Ring) change(ctx context.Context, store func(Change) error,
	plan func(*keyring, time.Time) (Change, error)) (err error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	for range attempts {
		if err = r.Load(ctx); err != nil {
			return err
		}
		var change Change
		if change, err = plan(r.keys.Load(), time.Now()); err == nil && store != nil {
			err = store(change)
		}
		if !errors.Is(err, ErrReplaced) {
			break
		}
	}
	if err == nil {
		if e := r.Load(ctx); e != nil { // it is stored, and is read again soon
			r.config.Logger.Error("signing keys not read again", "error", e)
		}
	}
	return err
}

// make returns a new key.
func (r *Ring) make(algorithm, replaces string, activeAt time.Time) (*Sealed, error) {
	private, err := generate(algorithm)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	kid := now.UTC().Format("2006-01-02-") + strings.ToLower(rand.Text()[:8])
	box, err := r.sealer.seal(kid, algorithm, private)
	return &Sealed{ID: kid, Issuer: r.config.Issuer, Algorithm: algorithm, Replaces: replaces,
		CreatedAt: now, ActiveAt: activeAt, Box: box}, err
}
