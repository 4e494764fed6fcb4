package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens/signing"
)

// SigningStore keeps the signing keys of a ring in a registry's store.
func SigningStore(store keys.Store) signing.Store { return signingStore{store} }

type signingStore struct{ keys.Store }

func (s signingStore) SigningKeys(ctx context.Context) ([]signing.Sealed, error) {
	stored, err := s.Store.SigningKeys(ctx)
	sealed := make([]signing.Sealed, len(stored))
	for i, k := range stored {
		sealed[i] = signing.Sealed(k)
	}
	return sealed, err
}

func (s signingStore) AddSigningKey(ctx context.Context, key signing.Sealed) error {
	return replaced(keys.AddSigningKey(ctx, s.Store, keys.SigningKey(key)))
}

// replaced calls it what a ring calls it when the stored keys are not as they were read.
func replaced(err error) error {
	if errors.Is(err, keys.ErrExists) {
		return signing.ErrReplaced
	}
	return err
}

// SigningRing lets a registry change the keys of a ring, of whose new ones the relay
// tells; nil tells nobody.
func SigningRing(ring *signing.Ring, relay *Relay) keys.SigningRing {
	return signingRing{ring, relay}
}

type signingRing struct {
	ring  *signing.Ring
	relay *Relay
}

func (s signingRing) Ensure(ctx context.Context, algorithm string) error {
	known := slices.ContainsFunc(s.ring.Keys(),
		func(k signing.KeyInfo) bool { return k.Algorithm == algorithm })
	err := signingError(algorithm, s.ring.Ensure(ctx, algorithm))
	if err == nil && !known && s.relay != nil {
		s.relay.spread(ctx)
	}
	return err
}

// storing is what stores a plan.
type storing = func(keys.SigningChange) error

func (s signingRing) Rotate(ctx context.Context, algorithm string, store storing) error {
	return signingError(algorithm, s.ring.Rotate(ctx, algorithm, planned(store)))
}

func (s signingRing) Withdraw(ctx context.Context, kid string, store storing) (before uint64, err error) {
	before, err = s.ring.Withdraw(ctx, kid, planned(store))
	return before, signingError(kid, err)
}

// planned stores a ring's plan; nil for a trial.
func planned(store storing) func(signing.Change) error {
	if store == nil {
		return nil
	}
	return func(c signing.Change) error {
		return replaced(store(keys.SigningChange{ID: c.ID, Activate: c.Activate, Current: c.Current,
			At: c.At, New: (*keys.SigningKey)(c.New)}))
	}
}

// signingError is a ring's error as the registry has it. [signing.ErrRotating] is one of
// the ring alone.
func signingError(what string, err error) error {
	switch {
	case errors.Is(err, signing.ErrUnknown):
		return fmt.Errorf("signing key %s: %w", what, keys.ErrNotFound)
	case errors.Is(err, signing.ErrReplaced):
		return fmt.Errorf("signing key %s: %w: %w", what, keys.ErrUnavailable, err)
	}
	return err
}
