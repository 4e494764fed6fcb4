package keys

import (
	"context"
	"slices"

	"github.com/imara/apikeys/tokens"
)

// touchClient and cutClient are the entries of a change to one key.
func touchClient(clientID, reason string) (tokens.Kind, tokens.Subject, string) {
	return tokens.Touch, tokens.Client(clientID), reason
}

func cutClient(clientID, reason string) (tokens.Kind, tokens.Subject, string) {
	return tokens.Cut, tokens.Client(clientID), reason
}

// ChangeAccess replaces what a key may do and when it ends. It adds no restricted
// scope that the key does not have. If anything is taken
// away, every token it has is cut and the receipt says how far that has reached;
// otherwise the receipt is zero. Extending an expired key takes a free slot.
// Errors: [ErrNotFound], [ErrRevoked], [LimitError], [ErrNameTaken], an [InputError].
func (r *Registry) ChangeAccess(ctx context.Context, by Actor, organizationID, id string, a Access) (Key, Receipt, error) {
	o, err := r.config.Store.Organization(ctx, organizationID)
	if err != nil {
		return Key{}, Receipt{}, err
	}
	key, err := r.config.Store.Key(ctx, organizationID, id)
	if err != nil {
		return Key{}, Receipt{}, err
	}
	had := func(scope string) bool { return slices.Contains(key.Scopes, scope) }
	if a, err = r.checkAccess(ctx, o, a, had); err != nil {
		return Key{}, Receipt{}, err
	}
	return r.change(ctx, organizationID, id, func(o Organization, active int, k *Key) (Entry, error) {
		if !k.RevokedAt.IsZero() {
			return Entry{}, ErrRevoked
		}
		if !k.Counts(now()) {
			if err := r.admit(o, active); err != nil {
				return Entry{}, err
			}
		}
		entry := by.entry(touchClient(k.ClientID, "access"))
		if !k.Access.within(a) {
			entry.Kind = tokens.Cut
		}
		k.Access = a
		return entry, nil
	})
}

// change runs one change of a key and settles its entry.
func (r *Registry) change(ctx context.Context, organizationID, id string, f ChangeKey) (Key, Receipt, error) {
	key, commit, err := r.config.Store.ChangeKey(ctx, organizationID, id, f)
	if err != nil {
		return Key{}, Receipt{}, err
	}
	receipt, err := r.settle(ctx, commit, key.ClientID)
	return key, receipt, err
}
