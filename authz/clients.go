package authz

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
)

// clients authenticates from memory. A cached record counts while the relay
// knows of no newer entry about it; what fails is always decided on a fresh read,
// so that no answer says "wrong secret" because a cache was behind. What has not the form of
// a secret of ours is no client's, and read of nobody.
type clients struct {
	registry *keys.Registry
	relay    *Relay
	throttle *web.Throttle
	records  *otter.Cache[string, *keys.Record]
	reads    reads

	decoys decoys

	usage *usage
}

// maxClients bounds the memory of the cache: a record is about 1 KiB.
const maxClients = 20000

func newClients(registry *keys.Registry, relay *Relay, throttle *web.Throttle) (*clients, error) {
	records, err := otter.New(&otter.Options[string, *keys.Record]{MaximumSize: maxClients})
	c := &clients{registry: registry, relay: relay, throttle: throttle, records: records,
		usage: newUsage(registry)}
	c.reads.read = c.read
	return c, err
}

// principal is a client that has proved who it is.
type principal struct {
	record     *keys.Record
	credential keys.Credential
	// position is the rv of its tokens.
	position uint64
}

// reaches tells whether the key may be used from an address.
func reaches(record *keys.Record, from string) bool {
	if len(record.Key.Networks) == 0 && len(record.Organization.Policy.Networks) == 0 {
		return true
	}
	address, err := netip.ParseAddr(from)
	return err == nil && record.Key.Reaches(&record.Organization, address)
}

// authenticate returns the client that uses a secret from an address, or why not:
// an error of [keys.Registry.Authenticate], [keys.ErrNetwork],
// [keys.ErrUnavailable], a [RateLimitError], or [tokens.ErrStale] when this server no longer
// follows the log.
func (c *clients) authenticate(ctx context.Context, id, secret, from string) (*principal, error) {
	parsed, err := keys.ParseSecret(secret)
	if err != nil || !keys.ValidClientID(id) {
		if record, cached := c.records.GetIfPresent(id); cached {
			c.usage.refused(record.Key.ID, keys.ErrCredentials, time.Now(), from)
		}
		return nil, keys.ErrCredentials
	}
	if err := c.relay.revocations.Fresh(); err != nil {
		return nil, err
	}
	if err := c.relay.held(); err != nil {
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
	credential, err := c.registry.Authenticate(record, parsed, now)
	if err != nil {
		if record, err = c.fresh(ctx, id, from, record != nil); err != nil {
			return nil, err
		}
		if record != nil {
			position = record.Position
		}
		if credential, err = c.registry.Authenticate(record, parsed, now); err == nil {
			c.records.Set(id, record)
		}
	}
	if err == nil && !reaches(record, from) {
		err = keys.ErrNetwork
	}
	if err != nil {
		keyID := ""
		if record != nil {
			keyID = record.Key.ID
		}
		c.usage.refused(keyID, err, now, from)
		return nil, err
	}
	p := &principal{record, credential, position}
	c.usage.used(p, now, from)
	return p, nil
}

// fresh reads a record; nil for an unknown client. known tells that it is in memory.
func (c *clients) fresh(ctx context.Context, id, from string, known bool) (*keys.Record, error) {
	if !known {
		leave, err := c.throttle.Enter(ctx, from)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	return c.reads.get(ctx, id)
}

// read reads a record; nil for an unknown client, in whose place it reads one that exists:
// the time does not tell which clients there are.
func (c *clients) read(ctx context.Context, id string) (*keys.Record, error) {
	record, err := c.registry.Record(ctx, id, c.decoys.one())
	switch {
	case errors.Is(err, keys.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case record.Key.ClientID != id:
		return nil, nil
	}
	c.decoys.add(id)
	return record, nil
}

// decoys are clients that exist: to read one takes the time of any other. There are many,
// since the one that was read last is still in the caches of the processor.
type decoys struct {
	mu   sync.Mutex
	ids  [256]string
	read int // how many were read, so far
}

// add has a client that was read take the place of the oldest.
func (d *decoys) add(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids[d.read%len(d.ids)] = id
	d.read++
}

// one returns one of them, or "" before there are any.
func (d *decoys) one() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.read == 0 {
		return ""
	}
	return d.ids[rand.IntN(min(d.read, len(d.ids)))]
}
