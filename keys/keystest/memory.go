// Package keystest has what tests of keys and its stores need: an in-memory
// store, and the conformance suite that every store passes.
package keystest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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
}

type logged struct {
	tokens.Entry
	event   keys.Event
	actor   keys.Actor
	receipt *keys.Receipt
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{organizations: map[string]keys.Organization{}, base: 1000,
		counts: map[keys.Tally]int64{}, attempts: map[keys.Attempt]keys.Tries{}, scopes: map[keys.ScopeUse]time.Time{}}
}

func (m *Memory) append(e keys.Entry) keys.Commit {
	commit := keys.Commit{Position: m.tip() + 1, Subject: e.Subject, Kind: e.Kind, Terminal: e.Terminal, Head: 1 + rand.Uint64N(1<<52)}
	event := keys.NewEvent(e, commit, time.Now())
	var before []byte
	for _, other := range m.log {
		if other.event.OrganizationID == e.OrganizationID {
			before = other.event.Hash
		}
	}
	event.Hash = event.Sum(before)
	m.log = append(m.log, logged{Entry: commit, event: event, actor: e.Actor})
	for _, kind := range e.Types() {
		for _, w := range m.webhooks {
			if w.OrganizationID == e.OrganizationID && (len(w.Events) == 0 || slices.Contains(w.Events, kind)) {
				m.deliveries = append(m.deliveries, keys.Delivery{ID: fmt.Sprint("msg_", len(m.deliveries)+100000), Webhook: w, Type: kind, Event: event, State: keys.DeliveryPending, NextAt: event.At})
			}
		}
	}
	return commit
}

// repeats tells whether an entry's request was carried out before.
func (m *Memory) repeats(e keys.Entry) error {
	if e.Actor.IdempotencyKey == "" {
		return nil
	}
	if _, _, err := m.repeated(e.Actor.ClientID, e.Actor.IdempotencyKey, time.Now().Add(-keys.IdempotencyTime)); err == nil {
		return keys.ErrRepeated
	}
	return nil
}

func (m *Memory) repeated(clientID, key string, since time.Time) (keys.Event, string, error) {
	for _, e := range slices.Backward(m.log) {
		if key != "" && e.actor.ClientID == clientID && e.actor.IdempotencyKey == key && !e.event.At.Before(since) {
			found := e.event
			found.Receipt = e.receipt
			return found, e.actor.RequestHash, nil
		}
	}
	return keys.Event{}, "", keys.ErrNotFound
}

func (m *Memory) tip() uint64 { return m.base + uint64(len(m.log)) }

func (m *Memory) head(position uint64) uint64 {
	if position <= m.base || position > m.tip() {
		return 0
	}
	return m.log[position-m.base-1].Head
}

func (m *Memory) CreateOrganization(_ context.Context, o keys.Organization, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.organizations[o.ID]; ok {
		return keys.Commit{}, keys.ErrExists
	}
	if err := m.repeats(entry); err != nil {
		return keys.Commit{}, err
	}
	m.organizations[o.ID] = o
	return m.append(entry), nil
}

func (m *Memory) Organizations(_ context.Context, after string, limit int) ([]keys.Organization, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.Organization
	for _, id := range slices.Sorted(maps.Keys(m.organizations)) {
		if id > after && len(list) < limit {
			list = append(list, m.organizations[id])
		}
	}
	return list, nil
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
	if err == nil {
		err = m.repeats(entry)
	}
	if err != nil {
		return keys.Organization{}, keys.Commit{}, err
	}
	m.organizations[id] = o
	return o, m.append(entry), nil
}

func (m *Memory) AddMember(_ context.Context, member keys.Member, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.organization(member.OrganizationID); err != nil {
		return keys.Commit{}, err
	}
	for _, other := range m.members {
		if other.ID == member.ID || other.OrganizationID == member.OrganizationID && other.Email == member.Email && other.RemovedAt.IsZero() {
			return keys.Commit{}, keys.ErrExists
		}
	}
	if err := m.repeats(entry); err != nil {
		return keys.Commit{}, err
	}
	m.members = append(m.members, member)
	return m.append(entry), nil
}

func (m *Memory) Members(_ context.Context, organizationID string) ([]keys.Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.membersOf(organizationID), nil
}

func (m *Memory) membersOf(organizationID string) (members []keys.Member) {
	for _, member := range m.members {
		if member.OrganizationID == organizationID {
			members = append(members, member)
		}
	}
	return members
}

func (m *Memory) ChangeMember(_ context.Context, organizationID, id string, change keys.ChangeMember) (keys.Member, keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.organization(organizationID)
	if err != nil {
		return keys.Member{}, keys.Commit{}, err
	}
	place := slices.IndexFunc(m.members, func(member keys.Member) bool { return member.ID == id && member.OrganizationID == organizationID })
	if place < 0 {
		return keys.Member{}, keys.Commit{}, keys.ErrNotFound
	}
	var owned []*keys.Key
	for i := range m.keys {
		if k := &m.keys[i]; k.OwnerID == id && k.RevokedAt.IsZero() {
			owned = append(owned, k)
		}
	}
	member := m.members[place]
	entry, err := change(o, m.membersOf(organizationID), len(owned), &member)
	if err == nil {
		err = m.repeats(entry)
	}
	if err != nil {
		return keys.Member{}, keys.Commit{}, err
	}
	if !member.RemovedAt.IsZero() && member.Heir != "" {
		for _, k := range owned {
			k.OwnerID = member.Heir
		}
	}
	changed := member
	changed.Heir = ""
	m.members[place] = changed
	return member, m.append(entry), nil
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
	if err := m.repeats(entry); err != nil {
		return keys.Commit{}, err
	}
	r.Scopes = slices.Clone(r.Scopes)
	m.resources = append(m.resources[:place:place], append([]keys.Resource{r}, m.resources[min(place+1, len(m.resources)):]...)...)
	return m.append(entry), nil
}

func (m *Memory) RemoveResource(_ context.Context, id string, entry keys.Entry, agree func() error) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	place := slices.IndexFunc(m.resources, func(r keys.Resource) bool { return r.ID == id })
	if place < 0 {
		return keys.Commit{}, keys.ErrNotFound
	}
	for _, k := range m.keys {
		if k.RevokedAt.IsZero() && slices.Contains(k.Resources, m.resources[place].Audience) {
			return keys.Commit{}, keys.ErrInUse
		}
	}
	if err := cmp.Or(agree(), m.repeats(entry)); err != nil {
		return keys.Commit{}, err
	}
	m.resources = slices.Delete(slices.Clone(m.resources), place, place+1)
	return m.append(entry), nil
}

func (m *Memory) PutPreset(_ context.Context, p keys.Preset, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.repeats(entry); err != nil {
		return keys.Commit{}, err
	}
	m.presets = append(slices.DeleteFunc(m.presets, func(other keys.Preset) bool { return other.ID == p.ID }), p)
	return m.append(entry), nil
}

func (m *Memory) RemovePreset(_ context.Context, id string, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.presets)
	m.presets = slices.DeleteFunc(m.presets, func(p keys.Preset) bool { return p.ID == id })
	if len(m.presets) == n {
		return keys.Commit{}, keys.ErrNotFound
	}
	return m.append(entry), nil
}

func (m *Memory) Presets(context.Context) ([]keys.Preset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.presets)
	slices.SortFunc(list, func(a, b keys.Preset) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return list, nil
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
			page.Scope != "" && !slices.Contains(k.Scopes, page.Scope) ||
			page.OwnerID != "" && k.OwnerID != page.OwnerID ||
			page.Text != "" && !strings.Contains(keys.NameKey(k.Name), keys.NameKey(page.Text)) && k.ClientID != page.Text ||
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

func (m *Memory) AddUsage(_ context.Context, u keys.Usage) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.keys {
		for j := range m.keys[i].Credentials {
			c := &m.keys[i].Credentials[j]
			if use, ok := u.Credentials[c.ID]; ok && use.At.After(c.LastUsedAt) {
				c.LastUsedAt, c.LastUsedFrom = use.At, use.From
				if c.FirstUsedAt.IsZero() {
					c.FirstUsedAt = use.At
				}
			}
		}
	}
	for use, at := range u.Scopes {
		if m.has("", use.KeyID) && at.After(m.scopes[use]) {
			m.scopes[use] = at
		}
	}
	for t, n := range u.Counts {
		if m.has("", t.KeyID) {
			m.counts[t] += n
		}
	}
	for a, tries := range u.Attempts {
		if m.has("", a.KeyID) {
			old := m.attempts[a]
			if tries.Last.Before(old.Last) {
				tries.Last = old.Last
			}
			m.attempts[a] = keys.Tries{Count: old.Count + tries.Count, Last: tries.Last}
		}
	}
	return nil
}

func (m *Memory) AddWebhook(_ context.Context, w keys.Webhook, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.organization(w.OrganizationID); err != nil {
		return keys.Commit{}, err
	}
	if err := m.repeats(entry); err != nil {
		return keys.Commit{}, err
	}
	m.webhooks = append(m.webhooks, w)
	return m.append(entry), nil
}

func (m *Memory) Webhooks(_ context.Context, organizationID string) ([]keys.Webhook, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.Webhook
	for _, w := range m.webhooks {
		if w.OrganizationID == organizationID {
			list = append(list, w)
		}
	}
	return list, nil
}

func (m *Memory) RemoveWebhook(_ context.Context, organizationID, id string, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.webhooks)
	m.webhooks = slices.DeleteFunc(m.webhooks, func(w keys.Webhook) bool { return w.ID == id && w.OrganizationID == organizationID })
	if len(m.webhooks) == n {
		return keys.Commit{}, keys.ErrNotFound
	}
	m.deliveries = slices.DeleteFunc(m.deliveries, func(d keys.Delivery) bool { return d.Webhook.ID == id })
	return m.append(entry), nil
}

func (m *Memory) DueDeliveries(_ context.Context, t, next time.Time, limit int) ([]keys.Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.Delivery
	for i := range m.deliveries {
		if d := &m.deliveries[i]; d.State == keys.DeliveryPending && !d.NextAt.After(t) && len(list) < limit {
			d.NextAt = next
			list = append(list, *d)
		}
	}
	return list, nil
}

func (m *Memory) Delivered(_ context.Context, d keys.Delivery) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.deliveries {
		if m.deliveries[i].ID == d.ID {
			m.deliveries[i] = d
		}
	}
	return nil
}

func (m *Memory) Deliveries(_ context.Context, webhookID, before string, limit int) ([]keys.Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.Delivery
	begun := before == ""
	for _, d := range slices.Backward(m.deliveries) {
		if begun && d.Webhook.ID == webhookID && len(list) < limit {
			list = append(list, d)
		}
		begun = begun || d.ID == before
	}
	return list, nil
}

func (m *Memory) Redeliver(_ context.Context, webhookID, id string, t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.deliveries {
		if d := &m.deliveries[i]; d.ID == id && d.Webhook.ID == webhookID {
			d.State, d.Attempts, d.NextAt = keys.DeliveryPending, 0, t
			return nil
		}
	}
	return keys.ErrNotFound
}

func (m *Memory) Ending(_ context.Context, after, until time.Time) ([]keys.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.Key
	for _, k := range m.keys {
		if k.RevokedAt.IsZero() && !k.ExpiresAt.IsZero() && k.ExpiresAt.After(after) && !k.ExpiresAt.After(until) {
			k = clone(k)
			k.Credentials = nil
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b keys.Key) int { return cmp.Or(a.ExpiresAt.Compare(b.ExpiresAt), strings.Compare(a.ID, b.ID)) })
	return list, nil
}

// has tells whether there is a key, of an organisation unless that is empty.
func (m *Memory) has(organizationID, id string) bool {
	return slices.ContainsFunc(m.keys, func(k keys.Key) bool {
		return k.ID == id && (organizationID == "" || k.OrganizationID == organizationID)
	})
}

func (m *Memory) PruneUsage(_ context.Context, counts, attempts time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.counts, func(t keys.Tally, _ int64) bool { return t.Hour.Before(counts) })
	maps.DeleteFunc(m.attempts, func(_ keys.Attempt, tries keys.Tries) bool { return tries.Last.Before(attempts) })
	m.deliveries = slices.DeleteFunc(m.deliveries, func(d keys.Delivery) bool { return d.State != keys.DeliveryPending && d.TriedAt.Before(attempts) })
	return nil
}

func (m *Memory) Usage(_ context.Context, organizationID, keyID string, since time.Time) ([]keys.UsageRow, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.UsageRow
	for t, n := range m.counts {
		if m.has(organizationID, t.KeyID) && (keyID == "" || keyID == t.KeyID) && !t.Hour.Before(since) {
			list = append(list, keys.UsageRow{Tally: t, Count: n})
		}
	}
	slices.SortFunc(list, func(a, b keys.UsageRow) int {
		return cmp.Or(a.Hour.Compare(b.Hour), strings.Compare(a.KeyID, b.KeyID), cmp.Compare(a.Outcome, b.Outcome))
	})
	return list, nil
}

func (m *Memory) Attempts(_ context.Context, organizationID, keyID string) ([]keys.AttemptRow, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.AttemptRow
	for a, tries := range m.attempts {
		if a.KeyID == keyID && m.has(organizationID, keyID) {
			list = append(list, keys.AttemptRow{Attempt: a, Tries: tries})
		}
	}
	slices.SortFunc(list, func(a, b keys.AttemptRow) int {
		return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.Address, b.Address))
	})
	return list[:min(len(list), 100)], nil
}

func (m *Memory) ScopeUses(_ context.Context, organizationID string) (map[keys.ScopeUse]time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	uses := map[keys.ScopeUse]time.Time{}
	for use, at := range m.scopes {
		if m.has(organizationID, use.KeyID) {
			uses[use] = at
		}
	}
	return uses, nil
}

func (m *Memory) Append(_ context.Context, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.repeats(entry); err != nil {
		return keys.Commit{}, err
	}
	return m.append(entry), nil
}

func (m *Memory) Events(_ context.Context, organizationID string, page keys.EventPage) ([]keys.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.Event
	for _, l := range m.log {
		e := l.event
		if e.OrganizationID != organizationID || e.Position <= page.After || page.Before != 0 && e.Position >= page.Before ||
			page.Action != "" && e.Action != page.Action || page.Target != "" && e.Target != page.Target ||
			page.Actor != "" && e.ClientID != page.Actor && e.MemberID != page.Actor ||
			page.Kind != "" && e.Kind != page.Kind || e.At.Before(page.Since) || !page.Until.IsZero() && !e.At.Before(page.Until) {
			continue
		}
		e.Receipt = l.receipt
		list = append(list, e)
	}
	if page.Newest {
		slices.Reverse(list)
	}
	if page.Limit > 0 && len(list) > page.Limit {
		list = list[:page.Limit]
	}
	return list, nil
}

func (m *Memory) CountEvents(ctx context.Context, organizationID string, page keys.EventPage) (int, error) {
	page.Limit = 0
	events, err := m.Events(ctx, organizationID, page)
	return len(events), err
}

func (m *Memory) Heads(context.Context) ([]keys.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var signed uint64
	for _, c := range m.checkpoints {
		signed = max(signed, c.Position)
	}
	heads := map[string]keys.Event{}
	for _, l := range m.log {
		if l.Position > signed {
			heads[l.event.OrganizationID] = l.event
		}
	}
	return slices.SortedFunc(maps.Values(heads), func(a, b keys.Event) int { return cmp.Compare(a.Position, b.Position) }), nil
}

func (m *Memory) AddCheckpoint(_ context.Context, c keys.Checkpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkpoints = append(m.checkpoints, c)
	return nil
}

func (m *Memory) Checkpoints(_ context.Context, organizationID string) ([]keys.Checkpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.Checkpoint
	for _, c := range m.checkpoints {
		if c.OrganizationID == organizationID {
			list = append(list, keys.Checkpoint{OrganizationID: organizationID, Position: c.Position, Signed: c.Signed})
		}
	}
	return list, nil
}

func (m *Memory) Repeated(_ context.Context, clientID, key string, since time.Time) (keys.Event, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.repeated(clientID, key, since)
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
		if e.Position > m.floor && e.event.At.Add(keys.Retention).Before(t) {
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
				By: e.actor.Name(), Reason: e.event.Reason}
		}
	}
	return nil
}

func (m *Memory) Unconfirmed(_ context.Context, t time.Time) (positions []uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.log {
		if e.Kind == tokens.Cut && e.receipt == nil && e.event.At.Before(t) && len(positions) < 1000 {
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
	k.Scopes, k.Resources, k.Networks, k.Credentials = slices.Clone(k.Scopes), slices.Clone(k.Resources), slices.Clone(k.Networks), slices.Clone(k.Credentials)
	return k
}
