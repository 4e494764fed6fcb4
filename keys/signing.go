package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/imara/apikeys/tokens"
)

// A SigningKey is a key that signs tokens, as it is stored: sealed, so that nothing but
// a [SigningRing] can use it.
type SigningKey struct {
	ID        string // kid
	Issuer    string // whose key it is
	Algorithm string // ES256, RS256 or EdDSA
	Replaces  string // kid of the newest key of the algorithm before it; empty for the first
	CreatedAt time.Time
	ActiveAt  time.Time // signs from then on; in a far future at first
	Box       []byte
	// Withdrawn is the position of the terminal cut of its tokens, 0 while there is
	// none. It is not stored: the log says it.
	Withdrawn uint64
}

// A SigningChange is what becomes of the signing keys when one is made, rotated to or
// withdrawn.
type SigningChange struct {
	// ID is the kid of the key that it is about.
	ID string
	// Activate is the kid of the key that signs from At on, and Current of the one that
	// does now; empty when that stays as it is.
	Activate, Current string
	At                time.Time
	// New is a key to add; nil for none.
	New *SigningKey
}

// entry of the log that tells of the change.
func (c SigningChange) entry(by Actor, action Action, kind tokens.Kind) Entry {
	e := by.did(action, "", c.ID, kind, tokens.SigningKey(c.ID))
	e.Changes = Changes{}
	if c.Activate != "" {
		e.Changes["current"] = Change{c.Current, c.Activate}
	}
	if c.New != nil {
		e.Changes["next"] = Change{c.New.Replaces, c.New.ID}
	}
	return e
}

// A SigningRing opens signing keys, and decides what becomes of them. It calls store
// with its plan, and again with another one when that returns [ErrExists]; without store it
// only tries, and makes nothing.
type SigningRing interface {
	// Ensure makes the keys of an algorithm when it is first chosen, and then returns once
	// the verifiers that follow the log can have them.
	Ensure(ctx context.Context, algorithm string) error
	// Rotate lets the next key of an algorithm sign, and makes another next one. It
	// returns an error of its own while that is too young for every verifier to have it.
	Rotate(ctx context.Context, algorithm string, store func(SigningChange) error) error
	// Withdraw takes a key out of use. For one that was withdrawn before it does not call
	// store, and returns the position of the cut. [ErrNotFound] when there is no such key.
	Withdraw(ctx context.Context, kid string, store func(SigningChange) error) (before uint64, err error)
}

// errNoRing: the configuration has no SigningRing.
var errNoRing = errors.New("keys: no ring of signing keys is configured")

// AddSigningKey stores a key that a server makes by itself, because an algorithm lacks
// it; [ErrExists] when key.Replaces has been replaced.
func AddSigningKey(ctx context.Context, store Store, key SigningKey) error {
	change := SigningChange{ID: key.ID, New: &key}
	entry := change.entry(Program("server"), "signing.make", tokens.Touch)
	_, err := store.ChangeSigningKeys(ctx, change, entry)
	return err
}

// RotateSigningKey lets the next key of an algorithm sign, and makes another next one.
func (r *Registry) RotateSigningKey(ctx context.Context, by Actor, algorithm string) error {
	if err := by.May("signing.rotate"); err != nil {
		return err
	}
	if err := checkAlgorithm(algorithm); err != nil {
		return err
	}
	if r.config.SigningRing == nil {
		return errNoRing
	}
	if by.DryRun {
		return r.config.SigningRing.Rotate(ctx, algorithm, nil)
	}
	var commit Commit
	err := r.config.SigningRing.Rotate(ctx, algorithm, func(c SigningChange) (err error) {
		commit, err = r.config.Store.ChangeSigningKeys(ctx, c, c.entry(by, "signing.rotate", tokens.Touch))
		return err
	})
	if err == nil {
		_, err = r.settle(ctx, by, commit)
	}
	return err
}

// WithdrawSigningKey takes a key out of use that somebody else may have. The next one
// signs at once if this one did; when the receipt is settled no server signs with it or
// publishes it, and no verifier accepts a token of it, whatever the token says. Who has
// such a token gets another one. It works on a key that is not used yet, and on one that
// is used no more.
//
// Withdrawing again changes nothing and returns the same receipt.
func (r *Registry) WithdrawSigningKey(ctx context.Context, by Actor, kid, reason string) (Receipt, error) {
	if err := by.May("signing.withdraw"); err != nil {
		return Receipt{}, err
	}
	if err := checkReason(reason); err != nil {
		return Receipt{}, err
	}
	if r.config.SigningRing == nil {
		return Receipt{}, errNoRing
	}
	if by.DryRun {
		before, err := r.config.SigningRing.Withdraw(ctx, kid, nil)
		if err != nil || before == 0 {
			return Receipt{}, err
		}
		return r.reached(ctx, by, before)
	}
	var commit Commit
	before, err := r.config.SigningRing.Withdraw(ctx, kid, func(c SigningChange) (err error) {
		entry := c.entry(by, "signing.withdraw", tokens.Cut)
		entry.Terminal, entry.Reason = true, reason
		commit, err = r.config.Store.ChangeSigningKeys(ctx, c, entry)
		return err
	})
	switch {
	case err != nil:
		return Receipt{}, err
	case before != 0:
		return r.reached(ctx, by, before)
	}
	return r.settle(ctx, by, commit)
}

// An Activity is how often somebody did something, in the audit log.
type Activity struct {
	ClientID, MemberID string // as in an [Event]
	Action             Action
	Count              int
	First, Last        time.Time
}

// maxActivity is how many of them are worth a person's time.
const maxActivity = 200

// SigningActivity says what the audit logs of all organisations have since a signing
// key was made: whoever has that key can have forged the token of anybody in it. It
// returns the latest activities, at most 200, how many there are in all, and since when.
func (r *Registry) SigningActivity(ctx context.Context, kid string) (list []Activity, all int, since time.Time, err error) {
	signing, err := r.config.Store.SigningKeys(ctx)
	if err != nil {
		return nil, 0, time.Time{}, err
	}
	for _, k := range signing {
		if k.ID == kid {
			list, err := r.config.Store.Activity(ctx, k.CreatedAt)
			return list[:min(len(list), maxActivity)], len(list), k.CreatedAt, err
		}
	}
	return nil, 0, time.Time{}, fmt.Errorf("signing key %s: %w", kid, ErrNotFound)
}
