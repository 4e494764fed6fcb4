package signing

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/imara/apikeys/tokens"
)

// A Store keeps sealed signing keys.
type Store interface {
	// SigningKeys returns all of them, in any order.
	SigningKeys(ctx context.Context) ([]Sealed, error)
	// AddSigningKey stores one. Only one key of an algorithm follows another: it
	// returns an error when key.Replaces has been replaced already.
	AddSigningKey(ctx context.Context, key Sealed) error
}

// Config of a [Ring]. Issuer, KEK and Store are required.
type Config struct {
	Issuer string
	// KEK is the key-encryption key, 32 bytes from outside the database.
	KEK   []byte
	Store Store
	// Retire is how long a key stays published after a newer one has become
	// active: the longest token lifetime, the time that a JWK Set may be cached
	// and the skew of clocks. 0 is 2 hours.
	Retire time.Duration
	Logger *slog.Logger // nil is silent
}

// Lead is how long a new key is published before it signs, so that every
// verifier has it by then: its refresh interval is 5 minutes.
const Lead = 15 * time.Minute

// ErrNoKey: the ring has no active key of the algorithm; see [Ring.Ensure].
var ErrNoKey = errors.New("no active signing key")

// A Ring is the signing keys of one issuer. It implements [tokens.KeySet].
type Ring struct {
	config Config
	sealer sealer
	keys   atomic.Pointer[[]*key] // newest first

	mu sync.Mutex // held while the store is read or written
}

// NewRing opens every stored key, and fails with [ErrUnseal] or [ErrIssuer] if it
// cannot: a server must not start and sign with less than it had.
func NewRing(ctx context.Context, config Config) (*Ring, error) {
	if config.Retire == 0 {
		config.Retire = 2 * time.Hour
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	sealer, err := newSealer(config.KEK, config.Issuer)
	if err != nil {
		return nil, err
	}
	r := &Ring{config: config, sealer: sealer}
	return r, r.load(ctx)
}

// load is called with mu held: an older reading must not follow a newer one.
func (r *Ring) load(ctx context.Context) error {
	stored, err := r.config.Store.SigningKeys(ctx)
	if err != nil {
		return err
	}
	keys := make([]*key, 0, len(stored))
	for _, s := range stored {
		k, err := r.sealer.open(s)
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b *key) int {
		if c := b.activeAt.Compare(a.activeAt); c != 0 {
			return c
		}
		return strings.Compare(b.id, a.id)
	})
	successor := make(map[string]time.Time) // algorithm -> when its next newer key becomes active
	for _, k := range keys {
		if at, ok := successor[k.public.Algorithm]; ok {
			k.until = at.Add(r.config.Retire)
		}
		successor[k.public.Algorithm] = k.activeAt
	}
	r.keys.Store(&keys)
	return nil
}

// Run reads the store again each minute, for keys that other replicas added,
// until ctx ends.
func (r *Ring) Run(ctx context.Context) error {
	for {
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			return ctx.Err()
		}
		r.mu.Lock()
		err := r.load(ctx)
		r.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			r.config.Logger.Error("signing keys not read again", "error", err)
		}
	}
}

// Ensure makes an active key of the algorithm when there is none. It is for the
// start of a server: verifiers learn of a key that was not published ahead only
// when they next ask.
func (r *Ring) Ensure(ctx context.Context, algorithm string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.active(algorithm); err == nil {
		return nil
	}
	_, err := r.add(ctx, algorithm, time.Now())
	if err != nil && r.load(ctx) == nil {
		if _, e := r.active(algorithm); e == nil {
			return nil // another server was faster
		}
	}
	return err
}

// Rotate adds a key that becomes active after [Lead], and returns its kid.
func (r *Ring) Rotate(ctx context.Context, algorithm string) (kid string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.add(ctx, algorithm, time.Now().Add(Lead))
}

// add is called with mu held.
func (r *Ring) add(ctx context.Context, algorithm string, activeAt time.Time) (kid string, err error) {
	private, err := generate(algorithm)
	if err != nil {
		return "", err
	}
	kid = activeAt.UTC().Format("2006-01-02-") + strings.ToLower(rand.Text()[:8])
	box, err := r.sealer.seal(kid, algorithm, private)
	if err != nil {
		return "", err
	}
	sealed := Sealed{ID: kid, Issuer: r.config.Issuer, Algorithm: algorithm, Replaces: r.newest(algorithm), CreatedAt: time.Now(), ActiveAt: activeAt, Box: box}
	if err := r.config.Store.AddSigningKey(ctx, sealed); err != nil {
		return "", err
	}
	return kid, r.load(ctx)
}

// newest is the kid of the algorithm's newest key, active or not.
func (r *Ring) newest(algorithm string) string {
	for _, k := range *r.keys.Load() {
		if k.public.Algorithm == algorithm {
			return k.id
		}
	}
	return ""
}

// Sign returns an access token with these claims, signed by the active key.
func (r *Ring) Sign(algorithm string, claims *tokens.Claims) (string, error) {
	k, err := r.active(algorithm)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return k.sign(payload)
}

// active is the newest key of the algorithm whose time has come.
func (r *Ring) active(algorithm string) (*key, error) {
	now := time.Now()
	for _, k := range *r.keys.Load() {
		if k.public.Algorithm == algorithm && !k.activeAt.After(now) {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoKey, algorithm)
}

// Key implements [tokens.KeySet].
func (r *Ring) Key(kid string) (tokens.Key, error) {
	now := time.Now()
	for _, k := range *r.keys.Load() {
		if k.id == kid && k.published(now) {
			return k.public, nil
		}
	}
	return tokens.Key{}, tokens.ErrUnknownKey
}

// JWKSet is the document to publish.
func (r *Ring) JWKSet() (tokens.JWKSet, error) {
	set := tokens.JWKSet{Keys: []tokens.JWK{}}
	now := time.Now()
	for _, k := range *r.keys.Load() {
		if !k.published(now) {
			continue
		}
		jwk, err := tokens.NewJWK(k.id, k.public)
		if err != nil {
			return tokens.JWKSet{}, err
		}
		set.Keys = append(set.Keys, jwk)
	}
	return set, nil
}
