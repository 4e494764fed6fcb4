package authz

import (
	"context"
	"errors"
	"net/netip"
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

	usage *usage
}

// maxClients bounds the memory of the cache: a record is about 1 KiB.
const maxClients = 20000

func newClients(registry *keys.Registry, relay *Relay) (*clients, error) {
	records, err := otter.New(&otter.Options[string, *keys.Record]{MaximumSize: maxClients})
	return &clients{registry: registry, relay: relay, records: records, usage: newUsage(registry)}, err
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
// [keys.ErrUnavailable], or [tokens.ErrStale] when this server no longer follows
// the log.
func (c *clients) authenticate(ctx context.Context, id, secret, from string) (*principal, error) {
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
	credential, err := c.registry.Authenticate(record, secret, now)
	if err != nil {
		if record, position, err = c.read(ctx, id); err != nil {
			return nil, err
		}
		credential, err = c.registry.Authenticate(record, secret, now)
	}
	if err == nil && !reaches(record, from) {
		err = keys.ErrNetwork
	}
	if err != nil {
		if record != nil {
			c.usage.refused(record.Key.ID, err, now, from)
		}
		return nil, err
	}
	p := &principal{record, credential, position}
	c.usage.used(p, now, from)
	return p, nil
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
