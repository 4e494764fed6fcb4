package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/imara/apikeys/tokens"
)

// A KeyEdit is what can be changed of a key.
type KeyEdit struct {
	Name, Description, OwnerID string
	Access
	// Verifier and TokensPerMinute are the operator's to change.
	Verifier        VerifierLimits
	TokensPerMinute int
}

// same tells whether a key is as e would have it.
func (e *KeyEdit) same(k *Key) bool {
	return k.Name == e.Name && k.Description == e.Description && k.OwnerID == e.OwnerID && k.Access.equal(e.Access) &&
		k.Verifier == e.Verifier && k.TokensPerMinute == e.TokensPerMinute
}

// attempts of a change that meets others.
const attempts = 5

// errAgain: what was checked is not what is stored any more.
var errAgain = fmt.Errorf("%w: too many changes at once", ErrUnavailable)

// Edit lets edit change a key. It adds no restricted scope that the key does not
// have. If anything is taken away, every token it has is cut and the receipt says
// how far that has reached; otherwise the receipt is zero. An edit that changes nothing
// may be the repetition of one that cut, and has its receipt for a day. Extending an expired key
// takes a free slot. Errors: [ErrNotFound], [ErrRevoked], [ErrChanged],
// [LimitError], [ErrNameTaken], [ErrScope], [ErrLifetime], [ErrForbidden], an
// [InputError].
func (r *Registry) Edit(ctx context.Context, by Actor, organizationID, id string, edit func(*KeyEdit)) (Key, Receipt, error) {
	asked := by.IfMatch
	for attempt := 1; ; attempt++ {
		key, receipt, err := r.edit(ctx, by, organizationID, id, edit)
		again := errors.Is(err, errAgain) || errors.Is(err, ErrChanged) && asked == ""
		if !again || attempt == attempts {
			return key, recentCut(receipt), err
		}
	}
}

// edit checks against what it reads, and changes nothing when that is not what is
// stored any more.
func (r *Registry) edit(ctx context.Context, by Actor, organizationID, id string, edit func(*KeyEdit)) (Key, Receipt, error) {
	o, err := r.config.Store.Organization(ctx, organizationID)
	if err != nil {
		return Key{}, Receipt{}, err
	}
	old, err := r.config.Store.Key(ctx, organizationID, id)
	if err != nil {
		return Key{}, Receipt{}, err
	}
	if err := by.agree(old.Version()); err != nil {
		return Key{}, Receipt{}, err
	}
	by.IfMatch = old.Version()
	e := KeyEdit{old.Name, old.Description, old.OwnerID, old.Access, old.Verifier, old.TokensPerMinute}
	e.Scopes, e.Resources, e.Networks = slices.Clone(e.Scopes), slices.Clone(e.Resources), slices.Clone(e.Networks)
	edit(&e)
	if err := e.checkLimits(by, &old); err != nil {
		return Key{}, Receipt{}, err
	}
	owner := e.OwnerID
	if owner == old.OwnerID {
		owner = "" // it may have left; that is not this edit's matter
	} else if by.Role == Developer {
		return Key{}, Receipt{}, fmt.Errorf("%w: a developer does not hand over keys", ErrForbidden)
	} else if err := r.mayHold(ctx, by, &old); err != nil {
		return Key{}, Receipt{}, err // the new owner may do with it what its owner may
	}
	if err := r.checkNames(ctx, organizationID, e.Name, e.Description, owner); err != nil {
		return Key{}, Receipt{}, err
	}
	if !e.Access.equal(old.Access) {
		if err := r.checkEdit(ctx, by, o, &e, &old); err != nil {
			return Key{}, Receipt{}, err
		}
	}
	checked := o.Version()
	return r.change(ctx, by, "key.edit", organizationID, id, func(o Organization, active int, k *Key, entry *Entry) error {
		if o.Version() != checked {
			return errAgain
		}
		if !k.RevokedAt.IsZero() {
			return ErrRevoked
		}
		if !k.Counts(now()) && !e.ExpiresAt.Equal(k.ExpiresAt) {
			if err := r.admit(o, active); err != nil {
				return err
			}
		}
		if k.Access.cuts(e.Access, now()) {
			entry.Kind = tokens.Cut
		}
		if e.same(k) {
			return already(tokens.Client(k.ClientID))
		}
		k.Name, k.Description, k.OwnerID, k.Access = e.Name, e.Description, e.OwnerID, e.Access
		k.Verifier, k.TokensPerMinute = e.Verifier, e.TokensPerMinute
		return nil
	})
}

// MaxTokensPerMinute that an operator can grant.
const MaxTokensPerMinute = 6_000_000

// checkLimits lets only an operator change what a key may cost the server.
func (e *KeyEdit) checkLimits(by Actor, old *Key) error {
	switch {
	case e.Verifier == old.Verifier && e.TokensPerMinute == old.TokensPerMinute:
		return nil
	case !by.Operator:
		return fmt.Errorf("%w: the operator decides how many tokens and verifiers a key may have", ErrForbidden)
	case e.TokensPerMinute < 0 || e.TokensPerMinute > MaxTokensPerMinute:
		return invalid("tokens_per_minute", "it must be between 0, for the default, and %d", MaxTokensPerMinute)
	}
	return e.Verifier.check()
}

// checkEdit checks another access of a key. To give a key more is to grant all that
// it has; a key does not give itself more, for whomever it acts.
func (r *Registry) checkEdit(ctx context.Context, by Actor, o Organization, e *KeyEdit, old *Key) error {
	access, writes, err := r.checkAccess(ctx, by, o, e.Access, old.Scopes)
	if err != nil {
		return err
	}
	e.Access = access
	if err := o.Policy.admits(access, now()); err != nil {
		return err
	}
	if access.within(old.Access) {
		return nil
	}
	switch {
	case by.ClientID == old.ClientID:
		return fmt.Errorf("%w: a key does not give itself more", ErrForbidden)
	case o.Policy.Approval && writes:
		return fmt.Errorf("%w: the policy wants a key that writes approved, so create one", ErrForbidden)
	}
	return r.mayHold(ctx, by, old)
}

// change runs one change of a key and settles its entry.
func (r *Registry) change(ctx context.Context, by Actor, action Action, organizationID, id string, f func(o Organization, active int, k *Key, e *Entry) error) (Key, Receipt, error) {
	var would Key
	var so *alreadyError
	key, commit, err := r.config.Store.ChangeKey(ctx, organizationID, id, func(o Organization, active int, k *Key) (Entry, error) {
		if err := by.MayKey(action, k); err != nil {
			return Entry{}, err
		}
		if err := by.agree(k.Version()); err != nil {
			return Entry{}, err
		}
		before, secrets, at := k.fields(), slices.Clone(k.Credentials), now()
		followed := k.follows(at)
		entry := by.did(action, organizationID, k.ID, tokens.Touch, tokens.Client(k.ClientID))
		if err := f(o, active, k, &entry); err != nil {
			return Entry{}, err
		}
		if early := endedEarly(secrets, k.Credentials, at); len(early) > 0 && entry.Kind == tokens.Touch {
			entry.cutSecrets(k, early)
		}
		if followed && !k.follows(at) {
			entry.EndSessions = k.ClientID
		}
		entry.Changes = diff(before, k.fields())
		would = *k
		return entry, by.trial()
	})
	switch {
	case errors.Is(err, errTrial):
		return would, Receipt{}, nil
	case errors.As(err, &so):
		return r.unchanged(ctx, by, organizationID, id, so.subject)
	case err != nil:
		return Key{}, Receipt{}, err
	}
	receipt, err := r.settle(ctx, by, commit)
	return key, receipt, err
}

// unchanged is the answer to a change of a key that asked for what is so: with the receipt
// of the newest cut of the subject, or of the key where that has none.
func (r *Registry) unchanged(ctx context.Context, by Actor, organizationID, id string, subject tokens.Subject) (Key, Receipt, error) {
	key, err := r.config.Store.Key(ctx, organizationID, id)
	if err != nil || by.DryRun {
		return key, Receipt{}, err
	}
	receipt, err := r.lastReceipt(ctx, by, subject)
	if err == nil && receipt.Position == 0 {
		receipt, err = r.lastReceipt(ctx, by, tokens.Client(key.ClientID))
	}
	return key, receipt, err
}
