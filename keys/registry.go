package keys

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"

	"github.com/imara/apikeys/tokens"
)

// Config of a [Registry]. Store, Relay and Peppers are required.
type Config struct {
	Store   Store
	Relay   Relay
	Peppers Peppers
	// Limiter slows down who guesses passwords; nil slows down nobody.
	Limiter Limiter
	// SigningRing of this server; nil for a registry that changes no signing keys.
	SigningRing SigningRing
	// Plans that organisations can be on; nil is [DefaultPlans].
	Plans []Plan
	// WebhookNetworks are those of the sender of webhooks.
	WebhookNetworks WebhookNetworks
	// ProviderDomains are those whose people sign in with a provider of single sign-on,
	// in small letters. No link is made for them.
	ProviderDomains []string
	// CheckpointKey signs checkpoints of the audit log, and the secrets of webhooks
	// are computed from it: the seed of an Ed25519 key (RFC 8032), 32 bytes. It is not in
	// the store.
	CheckpointKey tokens.Secret
}

// A Registry is all organisations and keys of a server, and the rules they obey.
type Registry struct {
	config        Config
	plans         map[string]Plan
	checkpointKey ed25519.PrivateKey
	passwords     *passwords
	signIns       signIns
}

// New checks config.
func New(config Config) (*Registry, error) {
	if config.Store == nil || config.Relay == nil {
		return nil, errors.New("keys: a store and a relay are required")
	}
	if len(config.CheckpointKey) != ed25519.SeedSize {
		return nil, errors.New("keys: the seed of a key that signs checkpoints is required, 32 bytes")
	}
	if len(config.Peppers) == 0 {
		return nil, errors.New("keys: a pepper is required")
	}
	for version, pepper := range config.Peppers {
		if version < 1 || len(pepper) != sha256.Size {
			return nil, fmt.Errorf("keys: pepper %d must have %d bytes and a version above 0", version, sha256.Size)
		}
	}
	if config.Limiter == nil {
		config.Limiter = unlimited{}
	}
	if config.Plans == nil {
		config.Plans = DefaultPlans()
	}
	r := &Registry{config: config, plans: make(map[string]Plan), passwords: newPasswords(runtime.NumCPU()),
		checkpointKey: ed25519.NewKeyFromSeed([]byte(config.CheckpointKey))}
	for _, p := range config.Plans {
		r.plans[p.Name] = p
	}
	return r, nil
}

// Key returns a key of the organisation, by its id or client id, or [ErrNotFound].
func (r *Registry) Key(ctx context.Context, organizationID, id string) (Key, error) {
	return r.config.Store.Key(ctx, organizationID, id)
}

// Keys returns a page of the organisation's keys.
func (r *Registry) Keys(ctx context.Context, organizationID string, page Page) ([]Key, error) {
	return r.config.Store.Keys(ctx, organizationID, page)
}
