// Package keystest has what tests of keys and its stores need: an in-memory
// store, and the conformance suite that every store passes.
package keystest

import (
	"cmp"
	"context"
	"math/rand/v2"
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
	keys          []keys.Key
	base          uint64 // position before the first entry
	floor         uint64
	log           []logged
	sessions      []keys.Session
}

type logged struct {
	tokens.Entry
	at            time.Time
	actor, reason string
	receipt       *keys.Receipt
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{organizations: map[string]keys.Organization{}, base: 1000}
}

func (m *Memory) append(e keys.Entry) keys.Commit {
	commit := keys.Commit{Position: m.tip() + 1, Subject: e.Subject, Kind: e.Kind, Terminal: e.Terminal, Head: 1 + rand.Uint64N(1<<52)}
	m.log = append(m.log, logged{at: time.Now(), actor: e.Actor, reason: e.Reason, Entry: commit})
	return commit
}

func (m *Memory) tip() uint64 { return m.base + uint64(len(m.log)) }

func (m *Memory) head(position uint64) uint64 {
	if position <= m.base || position > m.tip() {
		return 0
	}
	return m.log[position-m.base-1].Head
}

func (m *Memory) CreateOrganization(_ context.Context, o keys.Organization) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.organizations[o.ID]; ok {
		return keys.ErrExists
	}
	m.organizations[o.ID] = o
	return nil
}

func (m *Memory) Organization(_ context.Context, id string) (keys.Organization, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.organization(id)
}

func (m *Memory) organization(id string) (keys.Organization, error) {
	o, ok := m.organizations[id]
	if !ok {
		return keys.Organization{}, keys.ErrNotFound
	}
	return o, nil
}

func (m *Memory) ChangeOrganization(_ context.Context, id string, change func(*keys.Organization) (keys.Entry, error)) (keys.Organization, keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.organization(id)
	if err != nil {
		return o, keys.Commit{}, err
	}
	entry, err := change(&o)
	if err != nil {
		return keys.Organization{}, keys.Commit{}, err
	}
	m.organizations[id] = o
	return o, m.append(entry), nil
}

func (m *Memory) AddMember(_ context.Context, member keys.Member) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.organization(member.OrganizationID); err != nil {
		return err
	}
	for _, other := range m.members {
		if other.ID == member.ID {
			return keys.ErrExists
		}
	}
	m.members = append(m.members, member)
	return nil
}

func (m *Memory) Members(_ context.Context, organizationID string) ([]keys.Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var members []keys.Member
	for _, member := range m.members {
		if member.OrganizationID == organizationID {
			members = append(members, member)
		}
	}
	return members, nil
}

func (m *Memory) PutResource(_ context.Context, r keys.Resource, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	place := len(m.resources)
	for i, other := range m.resources {
		if other.Audience == r.Audience {
			place, r.ID = i, other.ID
			continue
		}
		for _, s := range other.Scopes {
			if slices.ContainsFunc(r.Scopes, func(x keys.Scope) bool { return x.Name == s.Name }) {
				return keys.Commit{}, keys.ErrExists
			}
		}
	}
	r.Scopes = slices.Clone(r.Scopes)
	m.resources = append(m.resources[:place:place], append([]keys.Resource{r}, m.resources[min(place+1, len(m.resources)):]...)...)
	return m.append(entry), nil
}

func (m *Memory) Resources(context.Context) ([]keys.Resource, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.resources), nil
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

func (m *Memory) CreateKey(_ context.Context, k keys.Key, entry keys.Entry, admit func(keys.Organization, int) error) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.organization(k.OrganizationID)
	if err != nil {
		return keys.Commit{}, err
	}
	active, taken := m.counted(o.ID, &k, k.CreatedAt)
	if err := admit(o, active); err != nil {
		return keys.Commit{}, err
	}
	if taken {
		return keys.Commit{}, keys.ErrNameTaken
	}
	if slices.ContainsFunc(m.keys, func(other keys.Key) bool { return other.ID == k.ID || other.ClientID == k.ClientID }) {
		return keys.Commit{}, keys.ErrExists
	}
	m.keys = append(m.keys, clone(k))
	return m.append(entry), nil
}

func (m *Memory) find(organizationID, id string) (*keys.Key, error) {
	for i := range m.keys {
		if k := &m.keys[i]; k.OrganizationID == organizationID && k.ID == id {
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

func (m *Memory) Keys(_ context.Context, organizationID string, page keys.Page) ([]keys.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.Key
	for _, k := range m.keys {
		later := k.CreatedAt.Compare(page.BeforeTime)
		if k.OrganizationID != organizationID ||
			page.Status != "" && k.Status(time.Now()) != page.Status ||
			page.BeforeID != "" && (later > 0 || later == 0 && k.ID >= page.BeforeID) {
			continue
		}
		list = append(list, clone(k))
	}
	slices.SortFunc(list, func(a, b keys.Key) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
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
	if err != nil {
		return keys.Key{}, keys.Commit{}, err
	}
	if _, taken := m.counted(organizationID, &k, t); taken && !stored.Counts(t) && k.Counts(t) {
		return keys.Key{}, keys.Commit{}, keys.ErrNameTaken
	}
	commit := m.append(entry)
	if stored.RevokedAt.IsZero() && !k.RevokedAt.IsZero() {
		k.RevokedPosition = commit.Position
	}
	*stored = clone(k)
	return k, commit, nil
}

func (m *Memory) Record(_ context.Context, clientID string) (*keys.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.keys {
		if k.ClientID == clientID {
			return &keys.Record{Key: clone(k), Organization: m.organizations[k.OrganizationID], Position: m.tip()}, nil
		}
	}
	return nil, keys.ErrNotFound
}

func (m *Memory) UseCredentials(_ context.Context, last map[string]time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.keys {
		for j := range m.keys[i].Credentials {
			c := &m.keys[i].Credentials[j]
			if t, ok := last[c.ID]; ok && t.After(c.LastUsedAt) {
				c.LastUsedAt = t
			}
		}
	}
	return nil
}

func (m *Memory) Append(_ context.Context, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.append(entry), nil
}

func (m *Memory) Read(_ context.Context, after uint64, limit int) (keys.LogPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page := keys.LogPage{Tip: m.tip(), Floor: m.floor, Head: m.head(after)}
	for p := max(after, m.base) + 1; p <= m.tip() && len(page.Entries) < limit; p++ {
		page.Entries = append(page.Entries, m.log[p-m.base-1].Entry)
	}
	return page, nil
}

func (m *Memory) Snapshot(context.Context) (keys.LogSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	newest := map[tokens.Subject]tokens.Entry{}
	for _, e := range m.log {
		if e.Kind == tokens.Cut && (e.Position > m.floor || e.Terminal) {
			e.Terminal = e.Terminal || newest[e.Subject].Terminal
			newest[e.Subject] = e.Entry
		}
	}
	s := keys.LogSnapshot{Watermark: m.tip(), Floor: m.floor, Head: m.head(m.tip())}
	for _, e := range newest {
		s.Cuts = append(s.Cuts, e)
	}
	slices.SortFunc(s.Cuts, func(a, b tokens.Entry) int { return cmp.Compare(a.Position, b.Position) })
	return s, nil
}

func (m *Memory) RaiseFloor(_ context.Context, t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.log {
		if e.Position > m.floor && e.at.Add(keys.Retention).Before(t) {
			m.floor = e.Position
		}
	}
	return nil
}

func (m *Memory) Receipt(_ context.Context, position uint64) (keys.Receipt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.head(position) == 0 || m.log[position-m.base-1].receipt == nil {
		return keys.Receipt{}, keys.ErrNotFound
	}
	return *m.log[position-m.base-1].receipt, nil
}

func (m *Memory) Confirmed(_ context.Context, receipts ...keys.Receipt) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range receipts {
		if m.head(r.Position) == 0 {
			continue
		}
		if e := &m.log[r.Position-m.base-1]; e.receipt == nil {
			e.receipt = &keys.Receipt{Position: r.Position, State: r.State, Confirmed: r.Confirmed, Total: r.Total, Waited: r.Waited,
				By: keys.Actor(e.actor), Reason: e.reason}
		}
	}
	return nil
}

func (m *Memory) Unconfirmed(_ context.Context, t time.Time) (positions []uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.log {
		if e.Kind == tokens.Cut && e.receipt == nil && e.at.Before(t) && len(positions) < 1000 {
			positions = append(positions, e.Position)
		}
	}
	return positions, nil
}

func (m *Memory) Join(_ context.Context, s keys.Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = append(m.sessions, s)
	return nil
}

func (m *Memory) Attach(_ context.Context, id, clientID, via string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.sessions {
		if m.sessions[i].ID == id && m.sessions[i].ClientID == clientID {
			m.sessions[i].Via = via
			return nil
		}
	}
	return keys.ErrNotFound
}

func (m *Memory) Report(_ context.Context, server string, applied map[string]uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := keys.ErrNotFound
	for i := range m.sessions {
		if m.sessions[i].ID == server {
			err = nil
		}
	}
	for i := range m.sessions {
		s := &m.sessions[i]
		if err == nil {
			s.Applied = max(s.Applied, applied[s.ID])
		}
		if s.ID == server {
			s.Beat++
		}
	}
	return err
}

func (m *Memory) Leave(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = slices.DeleteFunc(m.sessions, func(s keys.Session) bool { return s.ID == id })
	return nil
}

func (m *Memory) Sessions(context.Context) ([]keys.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.sessions), nil
}

// Publish implements [keys.Relay].
func (m *Memory) Publish(context.Context, keys.Commit) {}

// Confirm implements [keys.Relay].
func (m *Memory) Confirm(ctx context.Context, at keys.Commit) (keys.Receipt, error) {
	r := keys.Receipt{Position: at.Position, State: keys.Confirmed}
	return r, m.Confirmed(ctx, r)
}

func clone(k keys.Key) keys.Key {
	k.Scopes, k.Resources, k.Credentials = slices.Clone(k.Scopes), slices.Clone(k.Resources), slices.Clone(k.Credentials)
	return k
}
