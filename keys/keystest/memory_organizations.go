package keystest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/imara/apikeys/keys"
)

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

// Member implements keys.Store.
func (m *Memory) Member(_ context.Context, id string) (keys.Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, member := range m.members {
		if member.ID == id {
			return member, nil
		}
	}
	return keys.Member{}, keys.ErrNotFound
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
			if k.RequestedBy == id {
				k.RequestedBy = member.Heir
			}
		}
	}
	changed := member
	changed.Heir, changed.HandedKeys = "", 0
	m.members[place] = changed
	return member, m.append(entry), nil
}

func (m *Memory) PutResource(_ context.Context, r keys.Resource, entry keys.Entry, agree func([]keys.KeyUse) error) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := agree(m.users(r.Audience)); err != nil {
		return keys.Commit{}, err
	}
	r.Replaced = false
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

func (m *Memory) RemoveResource(_ context.Context, id string, entry keys.Entry, agree func([]keys.KeyUse) error) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	place := slices.IndexFunc(m.resources, func(r keys.Resource) bool { return r.ID == id })
	if place < 0 {
		return keys.Commit{}, keys.ErrNotFound
	}
	if err := cmp.Or(agree(m.users(m.resources[place].Audience)), m.repeats(entry)); err != nil {
		return keys.Commit{}, err
	}
	m.resources = slices.Delete(slices.Clone(m.resources), place, place+1)
	return m.append(entry), nil
}

// users are the keys that are not revoked and may call an audience.
func (m *Memory) users(audience string) (list []keys.KeyUse) {
	for _, k := range m.keys {
		if k.RevokedAt.IsZero() && slices.Contains(k.Resources, audience) {
			list = append(list, keys.KeyUse{ID: k.ID, OrganizationID: k.OrganizationID, Scopes: slices.Clone(k.Scopes)})
		}
	}
	slices.SortFunc(list, func(a, b keys.KeyUse) int { return cmp.Compare(a.ID, b.ID) })
	return list
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
