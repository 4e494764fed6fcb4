package keys

import (
	"context"
	"errors"

	"github.com/imara/apikeys/tokens"
)

// Revoke ends a key for good and frees its slot. When it returns a receipt that is
// settled, no verifier accepts any token of the key: no request that reaches one
// afterwards passes, wherever and whenever the token was minted. It returns as soon as
// every verifier has confirmed, at the latest one lease after the change is stored, or
// when the actor no longer waits: the receipt is [Waiting] then, and the wait goes on.
//
// Revoking a revoked key changes nothing and returns the same receipt.
func (r *Registry) Revoke(ctx context.Context, by Actor, organizationID, id, reason string) (Key, Receipt, error) {
	if err := checkReason(reason); err != nil {
		return Key{}, Receipt{}, err
	}
	return r.change(ctx, by, "key.revoke", organizationID, id, func(_ Organization, _ int, k *Key, e *Entry) error {
		if !k.RevokedAt.IsZero() {
			return already(tokens.Client(k.ClientID))
		}
		k.RevokedAt, k.RevokedReason = now(), reason
		e.Kind, e.At, e.Reason = tokens.Cut, k.RevokedAt, reason
		return nil
	})
}

// RevokedReceipt returns how far the revocation of a key has reached by now, or
// [ErrNotFound] when it is not revoked.
func (r *Registry) RevokedReceipt(ctx context.Context, key Key) (Receipt, error) {
	if key.RevokedAt.IsZero() {
		return Receipt{}, ErrNotFound
	}
	return r.reached(ctx, Actor{Wait: -1}, key.RevokedPosition)
}

// An alreadyError ends the transaction of a change that asks for what is so already, by a
// cut of a subject.
type alreadyError struct{ subject tokens.Subject }

func (e *alreadyError) Error() string { return "it is so already" }

func already(subject tokens.Subject) error { return &alreadyError{subject} }

// lastReceipt answers a change that asked for what is so: with the receipt of the newest cut
// of the subject, which made it so, or with none when nothing was ever cut. Nothing is
// appended: one revocation is one entry, however often it is asked for.
func (r *Registry) lastReceipt(ctx context.Context, by Actor, subject tokens.Subject) (Receipt, error) {
	position, err := r.config.Store.LastCut(ctx, subject)
	if errors.Is(err, ErrNotFound) {
		return Receipt{}, nil
	}
	if err != nil {
		return Receipt{}, err
	}
	return r.reached(ctx, by, position)
}

// RevokeToken cuts a single access token of an organisation by its jti (RFC 7009), once:
// again, it returns the receipt of the first time.
func (r *Registry) RevokeToken(ctx context.Context, by Actor, organizationID, jti string) (Receipt, error) {
	subject := tokens.Token(jti)
	by.IdempotencyKey = string(subject) // it outlives the token, which is when it may be forgotten
	commit, err := r.config.Store.Append(ctx, by.did("token.revoke", organizationID, jti, tokens.Cut, subject))
	switch {
	case errors.Is(err, ErrRepeated):
		return r.lastReceipt(ctx, by, subject)
	case err != nil:
		return Receipt{}, err
	}
	return r.settle(ctx, by, commit)
}

// recentCut keeps the receipt of a cut that an edit may be the repetition of.
func recentCut(receipt Receipt) Receipt {
	if receipt.Settled() && now().Sub(receipt.RevokedAt) > IdempotencyTime {
		return Receipt{}
	}
	return receipt
}
