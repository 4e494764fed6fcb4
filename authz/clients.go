package authz

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/imara/apikeys/keys"
)

// clients authenticates from memory. A cached record counts while the relay
// knows of no newer entry about it; what fails is always decided on a fresh read,
// so that no answer says "wrong secret" because a cache was behind.
type clients struct {
	registry *keys.Registry
	relay    *Relay
	records  *otter.Cache[string, *keys.Record]

	// decoy is a client that exists: reading it takes the time of one that does.
	decoy atomic.Pointer[string]

	mu   sync.Mutex
	used map[string]time.Time // credential id -> last use, not stored yet
}

// maxClients bounds the memory of the cache: a record is about 1 KiB.
const maxClients = 20000

func newClients(registry *keys.Registry, relay *Relay) (*clients, error) {
	records, err := otter.New(&otter.Options[string, *keys.Record]{MaximumSize: maxClients})
	return &clients{registry: registry, relay: relay, records: records, used: make(map[string]time.Time)}, err
}

// principal is a client that has proved who it is.
type principal struct {
	record     *keys.Record
	credential keys.Credential
	// position is the rv of its tokens.
	position uint64
}

// authenticate returns the client, or why not: an error of
// [keys.Registry.Authenticate], [keys.ErrUnavailable], or [tokens.ErrStale] when
// this server no longer follows the log.
func (c *clients) authenticate(ctx context.Context, id, secret string) (*principal, error) {
	if err := c.relay.revocations.Fresh(); err != nil {
		return nil, err
	}
	now := time.Now()
	record, cached := c.records.GetIfPresent(id)
	var position uint64
	if cached {
		position, cached = c.relay.position(record)
	}
	if !cached {
		record = nil
	}
	credential, err := c.registry.Authenticate(record, secret, now)
	if err != nil {
		if record, position, err = c.read(ctx, id); err != nil {
			return nil, err
		}
		if credential, err = c.registry.Authenticate(record, secret, now); err != nil {
			return nil, err
		}
	}
	c.note(credential.ID, now)
	return &principal{record, credential, position}, nil
}

// read reads a record and its position in one moment of the store; nil for an
// unknown client. It reads a second one, of a client that exists if this one does
// not, and the other way round: the time does not tell which clients there are.
func (c *clients) read(ctx context.Context, id string) (*keys.Record, uint64, error) {
	record, err := c.registry.Record(ctx, id)
	other := ""
	switch {
	case errors.Is(err, keys.ErrNotFound):
		if decoy := c.decoy.Load(); decoy != nil {
			other = *decoy
		}
	case err != nil:
		return nil, 0, err
	default:
		c.records.Set(id, record)
		c.decoy.Store(&record.Key.ClientID)
	}
	if _, err := c.registry.Record(ctx, other); err != nil && !errors.Is(err, keys.ErrNotFound) {
		return nil, 0, err
	}
	if record == nil {
		return nil, 0, nil
	}
	return record, record.Position, nil
}

// note remembers a use for the next flush.
func (c *clients) note(credentialID string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.After(c.used[credentialID]) {
		c.used[credentialID] = at
	}
}

// flushInterval is how far LastUsedAt may be behind, and what a crash can lose of it.
const flushInterval = 5 * time.Second

// flush stores the uses until ctx ends, and once more then.
func (c *clients) flush(ctx context.Context, failed func(error)) {
	for ended := false; !ended; {
		select {
		case <-time.After(flushInterval):
		case <-ctx.Done():
			ended = true
		}
		c.mu.Lock()
		used := c.used
		c.used = make(map[string]time.Time)
		c.mu.Unlock()
		store, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		if err := c.registry.Used(store, used); err != nil {
			failed(err)
			for id, at := range used {
				c.note(id, at)
			}
		}
		cancel()
	}
}
