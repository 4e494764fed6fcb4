// Package keystest has what tests of keys and its stores need: an in-memory
// store, and the conformance suite that every store passes.
package keystest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// Memory is a store without a disk. It is also a relay, of a log that nobody
// follows: every cut is confirmed at once, by none of none.
type Memory struct {
	mu            sync.Mutex
	organizations map[string]keys.Organization
	members       []keys.Member
	resources     []keys.Resource
	presets       []keys.Preset
	checkpoints   []keys.Checkpoint
	counts        map[keys.Tally]int64
	attempts      map[keys.Attempt]keys.Tries
	scopes        map[keys.ScopeUse]time.Time
	webhooks      []keys.Webhook
	deliveries    []keys.Delivery
	keys          []keys.Key
	base          uint64 // position before the first entry
	floor         uint64
	log           []logged
	sessions      []keys.Session
	applied       map[string]keys.Ack
	accounts      map[string]keys.Account
	links         []keys.Link
	webSessions   []keys.WebSession
	signing       []keys.SigningKey
}

type logged struct {
	tokens.Entry
	event   keys.Event
	actor   keys.Actor
	receipt *keys.Receipt
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{organizations: map[string]keys.Organization{}, base: 1000, accounts: map[string]keys.Account{},
		applied: map[string]keys.Ack{}, counts: map[keys.Tally]int64{}, attempts: map[keys.Attempt]keys.Tries{}, scopes: map[keys.ScopeUse]time.Time{}}
}

// counted returns how many keys of the organisation count at t, and whether one
// other than k has its name.
func (m *Memory) counted(organizationID string, k *keys.Key, t time.Time) (active int, taken bool) {
	for i := range m.keys {
		other := &m.keys[i]
		if other.OrganizationID != organizationID || !other.Counts(t) {
			continue
		}
		active++
		if k != nil && other.ID != k.ID && keys.NameKey(other.Name) == keys.NameKey(k.Name) {
			taken = true
		}
	}
	return active, taken
}

func (m *Memory) CreateKey(_ context.Context, k keys.Key, entry keys.Entry, admit func(keys.Organization, int, *keys.Entry) error) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.organization(k.OrganizationID)
	if err != nil {
		return keys.Commit{}, err
	}
	active, taken := m.counted(o.ID, &k, k.CreatedAt)
	if taken {
		return keys.Commit{}, keys.ErrNameTaken
	}
	if err := cmp.Or(admit(o, active, &entry), m.repeats(entry)); err != nil {
		return keys.Commit{}, err
	}
	if slices.ContainsFunc(m.keys, func(other keys.Key) bool { return other.ID == k.ID || other.ClientID == k.ClientID }) {
		return keys.Commit{}, keys.ErrExists
	}
	m.keys = append(m.keys, clone(k))
	return m.append(entry), nil
}

func (m *Memory) find(organizationID, id string) (*keys.Key, error) {
	for i := range m.keys {
		if k := &m.keys[i]; k.OrganizationID == organizationID && (k.ID == id || k.ClientID == id) {
			return k, nil
		}
	}
	return nil, keys.ErrNotFound
}

func (m *Memory) Key(_ context.Context, organizationID, id string) (keys.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, err := m.find(organizationID, id)
	if err != nil {
		return keys.Key{}, err
	}
	return clone(*k), nil
}

func (m *Memory) KeyOfCredential(_ context.Context, credentialID string) (keys.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.keys {
		if slices.ContainsFunc(k.Credentials, func(c keys.Credential) bool { return c.ID == credentialID }) {
			return clone(k), nil
		}
	}
	return keys.Key{}, keys.ErrNotFound
}

func (m *Memory) Keys(_ context.Context, organizationID string, page keys.Page) ([]keys.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.Key
	compare := func(a, b keys.Mark) int {
		if page.Ascending {
			return a.Compare(b)
		}
		return b.Compare(a)
	}
	for _, k := range m.keys {
		if k.OrganizationID != organizationID ||
			page.Status != "" && k.Status(time.Now()) != page.Status ||
			page.Counting && !k.Counts(time.Now()) ||
			page.Scope != "" && !slices.Contains(k.Scopes, page.Scope) ||
			page.OwnerID != "" && k.OwnerID != page.OwnerID ||
			page.Text != "" && !strings.Contains(keys.SearchKey(k.Name), keys.SearchKey(page.Text)) && !(keys.SearchesClients(page.Text) && strings.Contains(k.ClientID, page.Text)) ||
			!page.UnusedSince.IsZero() && !k.LastUsedAt().Before(page.UnusedSince) ||
			page.After != nil && compare(k.Mark(page.Order), *page.After) <= 0 {
			continue
		}
		list = append(list, clone(k))
	}
	slices.SortFunc(list, func(a, b keys.Key) int { return compare(a.Mark(page.Order), b.Mark(page.Order)) })
	if page.Limit > 0 && len(list) > page.Limit {
		list = list[:page.Limit]
	}
	return list, nil
}

func (m *Memory) ActiveKeys(_ context.Context, organizationID string, t time.Time) (keys.Organization, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.organization(organizationID)
	if err != nil {
		return keys.Organization{}, 0, err
	}
	active, _ := m.counted(organizationID, nil, t)
	return o, active, nil
}

func (m *Memory) ChangeKey(_ context.Context, organizationID, id string, change keys.ChangeKey) (keys.Key, keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, err := m.find(organizationID, id)
	if err != nil {
		return keys.Key{}, keys.Commit{}, err
	}
	t := time.Now()
	active, _ := m.counted(organizationID, nil, t)
	k := clone(*stored)
	entry, err := change(m.organizations[organizationID], active, &k)
	if err == nil {
		err = m.repeats(entry)
	}
	if err != nil {
		return keys.Key{}, keys.Commit{}, err
	}
	renamed := keys.NameKey(stored.Name) != keys.NameKey(k.Name)
	if _, taken := m.counted(organizationID, &k, t); taken && (renamed || !stored.Counts(t)) && k.Counts(t) {
		return keys.Key{}, keys.Commit{}, keys.ErrNameTaken
	}
	commit := m.append(entry)
	if stored.RevokedAt.IsZero() && !k.RevokedAt.IsZero() {
		k.RevokedPosition = commit.Position
	}
	*stored = clone(k)
	return k, commit, nil
}

func (m *Memory) Record(_ context.Context, clientID, decoy string) (*keys.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range []string{clientID, decoy} {
		for _, k := range m.keys {
			if k.ClientID == id {
				return &keys.Record{Key: clone(k), Organization: m.organizations[k.OrganizationID], Position: m.tip()}, nil
			}
		}
	}
	return nil, keys.ErrNotFound
}

func clone(k keys.Key) keys.Key {
	k.Scopes, k.Resources, k.Networks, k.Credentials = slices.Clone(k.Scopes), slices.Clone(k.Resources), slices.Clone(k.Networks), slices.Clone(k.Credentials)
	return k
}
