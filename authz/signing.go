package authz

import (
	"context"

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
	return keys.AddSigningKey(ctx, s.Store, keys.SigningKey(key))
}
