package signing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/imara/apikeys/tokens"
)

// A Store keeps sealed signing keys. The keys of an algorithm are a chain: each but the
// first replaces another one, and no two replace the same.
type Store interface {
	// SigningKeys returns all of them, in any order.
	SigningKeys(ctx context.Context) ([]Sealed, error)
	// AddSigningKey stores one, or returns [ErrReplaced] when another replaces
	// key.Replaces already.
	AddSigningKey(ctx context.Context, key Sealed) error
}

// Config of a [Ring]. Issuer, KEK and Store are required.
type Config struct {
	Issuer string
	// KEK is the key-encryption key, 32 bytes from outside the database.
	KEK   tokens.Secret
	Store Store
	// Retire is how long a key stays published after a newer one has become
	// active: the longest token lifetime, the time that a JWK Set may be cached
	// and the skew of clocks. 0 is 2 hours.
	Retire time.Duration
	Logger *slog.Logger // nil is silent
}

// Lead is how long a next key is published before it may sign, so that every
// verifier has it by then: its refresh interval is 5 minutes.
const Lead = 15 * time.Minute

var (
	// ErrNoKey: the ring has no active key of the algorithm; see [Ring.Ensure].
	ErrNoKey = errors.New("no active signing key")
	// ErrRotating: the next key was made less than [Lead] ago.
	ErrRotating = errors.New("the next signing key is not published for long enough")
	// ErrUnknown: there is no signing key with this kid, nor was there ever.
	ErrUnknown = errors.New("unknown signing key")
	// ErrReplaced: the stored keys are not as they were read.
	ErrReplaced = errors.New("another one has changed the signing keys")
)

// A Ring is the signing keys of one issuer. It implements [tokens.KeySet].
type Ring struct {
	config Config
	sealer sealer
	keys   atomic.Pointer[keyring]

	loading  sync.Mutex // held while the store is read: no older reading follows a newer one
	changing sync.Mutex // held while the store is changed

	told map[string]bool // kids of closed keys that are in the log; with loading
}

// NewRing opens the stored keys, and fails with [ErrUnseal] or [ErrIssuer] and its kid
// when that which has to sign cannot be opened: a server must not start and sign with
// another than it had. Others that cannot be opened it leaves out, with a warning: no
// token of a key that retired is alive.
func NewRing(ctx context.Context, config Config) (*Ring, error) {
	switch {
	case config.Issuer == "" || config.Store == nil:
		return nil, errors.New("signing: an issuer and a store are required")
	case len(config.KEK) != 32:
		return nil, errors.New("signing: a key-encryption key of 32 bytes is required")
	}
	if config.Retire == 0 {
		config.Retire = 2 * time.Hour
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	sealer, err := newSealer([]byte(config.KEK), config.Issuer)
	if err != nil {
		return nil, err
	}
	r := &Ring{config: config, sealer: sealer, told: map[string]bool{}}
	return r, r.Load(ctx)
}

// Load reads the store. When it returns nil, this ring signs with no key that had
// been withdrawn when it was called, and publishes none.
func (r *Ring) Load(ctx context.Context) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	stored, err := r.config.Store.SigningKeys(ctx)
	if err != nil {
		return err
	}
	keys := make([]*key, 0, len(stored))
	for _, s := range stored {
		k, err := r.sealer.open(s)
		if err != nil {
			k = &key{Sealed: s, closed: err}
		}
		if err != nil && !known(s.Algorithm) { // it is in no chain
			r.tell(k)
			continue
		}
		keys = append(keys, k)
	}
	ring := newKeyring(keys, r.config.Retire)
	now := time.Now()
	for _, c := range ring.chains {
		if err := c.check(now); err != nil {
			return err
		}
	}
	for _, k := range keys {
		r.tell(k)
	}
	r.keys.Store(ring)
	return nil
}

// tell warns of a key that cannot be opened, once.
func (r *Ring) tell(k *key) {
	if k.closed != nil && !r.told[k.ID] {
		r.told[k.ID] = true
		r.config.Logger.Warn("signing key left out: it cannot be opened",
			"kid", k.ID, "algorithm", k.Algorithm, "error", k.closed)
	}
}

// Run reads the store again each minute until ctx ends, and makes the next key of
// an algorithm that lacks one.
func (r *Ring) Run(ctx context.Context) error {
	for {
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			return ctx.Err()
		}
		err := r.Load(ctx)
		for algorithm := range r.keys.Load().chains {
			if err == nil {
				err = r.Ensure(ctx, algorithm)
			}
		}
		if err != nil && ctx.Err() == nil {
			r.config.Logger.Error("signing keys not read again", "error", err)
		}
	}
}

// Sign returns an access token with these claims, signed by the current key.
func (r *Ring) Sign(algorithm string, claims *tokens.Claims) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	for {
		ring := r.keys.Load()
		k := ring.chains[algorithm].current(time.Now())
		if k == nil {
			return "", fmt.Errorf("%w: %s", ErrNoKey, algorithm)
		}
		raw, err := k.sign(payload)
		// Once a ring is loaded others rely on it: what was being signed with a key that
		// is not there any more is signed anew.
		if err != nil || r.keys.Load() == ring {
			return raw, err
		}
	}
}

// Key implements [tokens.KeySet].
func (r *Ring) Key(kid string) (tokens.Key, error) {
	if k := r.keys.Load().byID[kid]; k != nil && k.published(time.Now()) {
		return k.public, nil
	}
	return tokens.Key{}, tokens.ErrUnknownKey
}

// JWKSet is the document to publish.
func (r *Ring) JWKSet() (tokens.JWKSet, error) {
	set := tokens.JWKSet{Keys: []tokens.JWK{}}
	now := time.Now()
	for _, k := range r.keys.Load().all() {
		if !k.published(now) {
			continue
		}
		jwk, err := tokens.NewJWK(k.ID, k.public)
		if err != nil {
			return tokens.JWKSet{}, err
		}
		set.Keys = append(set.Keys, jwk)
	}
	return set, nil
}
