package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/imara/apikeys/tokens"
)

// Revoke ends a key for good and frees its slot. When it returns a receipt, no
// verifier accepts any token of the key: no request that reaches one afterwards
// passes, wherever and whenever the token was minted. It returns as soon as every
// verifier has confirmed, and at the latest one lease after the change is stored.
//
// Revoking a revoked key changes nothing and returns the same receipt. If only
// the wait failed, because ctx ended, the key is revoked all the same and the
// error says so; call again to wait again.
func (r *Registry) Revoke(ctx context.Context, by Actor, organizationID, id, reason string) (Key, Receipt, error) {
	if err := checkReason(reason); err != nil {
		return Key{}, Receipt{}, err
	}
	key, receipt, err := r.change(ctx, by, "key.revoke", organizationID, id, func(_ Organization, _ int, k *Key, e *Entry) error {
		if !k.RevokedAt.IsZero() {
			return errAlready
		}
		k.RevokedAt, k.RevokedReason = now(), reason
		e.Kind, e.Reason = tokens.Cut, reason
		return nil
	})
	if errors.Is(err, errAlready) {
		return r.revokedBefore(ctx, by, organizationID, id)
	}
	if key.ID == "" {
		return Key{}, Receipt{}, err
	}
	receipt.By, receipt.Reason = by.Name(), reason
	return r.revoked(key, receipt, err)
}

// Receipt returns what the revocation of a key rests on, or [ErrNotFound] when it is
// not revoked, or not confirmed yet.
func (r *Registry) Receipt(ctx context.Context, key Key) (Receipt, error) {
	if key.RevokedAt.IsZero() {
		return Receipt{}, ErrNotFound
	}
	receipt, err := r.config.Store.Receipt(ctx, key.RevokedPosition)
	receipt.ClientID, receipt.RevokedAt = key.ClientID, key.RevokedAt
	return receipt, err
}

// errAlready ends the transaction of a second revoke without a change.
var errAlready = errors.New("already revoked")

func (r *Registry) revokedBefore(ctx context.Context, by Actor, organizationID, id string) (Key, Receipt, error) {
	key, err := r.config.Store.Key(ctx, organizationID, id)
	if err != nil {
		return Key{}, Receipt{}, err
	}
	receipt, err := r.config.Store.Receipt(ctx, key.RevokedPosition)
	if errors.Is(err, ErrNotFound) {
		receipt, err = r.confirmAgain(ctx, by, "key.revoke", organizationID, key.ID, tokens.Client(key.ClientID), key.RevokedPosition)
	}
	return r.revoked(key, receipt, err)
}

func (r *Registry) revoked(key Key, receipt Receipt, err error) (Key, Receipt, error) {
	receipt.ClientID, receipt.RevokedAt = key.ClientID, key.RevokedAt
	if err != nil {
		err = fmt.Errorf("the key is revoked, but it is not confirmed that every verifier knows: %w", err)
	}
	return key, receipt, err
}

// RevokeToken cuts a single access token of an organisation by its jti (RFC 7009).
func (r *Registry) RevokeToken(ctx context.Context, by Actor, organizationID, jti string) (Receipt, error) {
	commit, err := r.config.Store.Append(ctx, by.did("token.revoke", organizationID, jti, tokens.Cut, tokens.Token(jti)))
	if err != nil {
		return Receipt{}, err
	}
	return r.settle(ctx, commit, "")
}

// A Receipt proves that a cut has reached every verifier.
type Receipt struct {
	ClientID  string
	RevokedAt time.Time
	// Position of the cut in the revocation log.
	Position uint64
	State    ReceiptState
	// Confirmed of Total verifiers have applied the cut; each of the others was
	// silent until its lease had ended, and refuses since.
	Confirmed, Total int
	Waited           time.Duration
	// By and Reason are who revoked, and why. They stand in the log with the cut.
	By     string
	Reason string
}

// ReceiptState says what the receipt rests on.
type ReceiptState string

const (
	// Confirmed: every verifier has said that it applied the cut.
	Confirmed ReceiptState = "confirmed"
	// LeaseEnded: some did not, and their leases have ended.
	LeaseEnded ReceiptState = "lease_ended"
	// Waived: some did not, and their owners let them accept a stale view for longer
	// than their leases.
	Waived ReceiptState = "waived"
)
