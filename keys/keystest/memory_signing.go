package keystest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

func (m *Memory) SigningKeys(context.Context) ([]keys.SigningKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.signing)
	for i := range list {
		list[i].Withdrawn = m.withdrawn(list[i].ID)
	}
	return list, nil
}

// withdrawn is the position of the terminal cut of a signing key, 0 for none.
func (m *Memory) withdrawn(kid string) uint64 {
	for _, e := range m.log {
		if e.Terminal && e.Subject == tokens.SigningKey(kid) {
			return e.Position
		}
	}
	return 0
}

func (m *Memory) signingKey(kid string) *keys.SigningKey {
	for i := range m.signing {
		if m.signing[i].ID == kid {
			return &m.signing[i]
		}
	}
	return nil
}

func (m *Memory) ChangeSigningKeys(_ context.Context, c keys.SigningChange, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	active, replaced := m.signingKey(c.Activate), func(k keys.SigningKey) bool {
		return k.ID == c.New.ID || k.Algorithm == c.New.Algorithm && k.Replaces == c.New.Replaces
	}
	switch {
	case entry.Terminal && m.signingKey(c.ID) == nil:
		return keys.Commit{}, keys.ErrNotFound
	case entry.Terminal && m.withdrawn(c.ID) != 0,
		c.Activate != "" && (active == nil || !active.ActiveAt.After(c.At)),
		c.New != nil && slices.ContainsFunc(m.signing, replaced):
		return keys.Commit{}, keys.ErrExists
	}
	if err := m.repeats(entry); err != nil {
		return keys.Commit{}, err
	}
	if active != nil {
		active.ActiveAt = c.At
	}
	if c.New != nil {
		m.signing = append(m.signing, *c.New)
	}
	return m.append(entry), nil
}

// Age makes every signing key older than it is.
func (m *Memory) Age(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.signing {
		m.signing[i].CreatedAt = m.signing[i].CreatedAt.Add(-by)
	}
}

func (m *Memory) Activity(_ context.Context, since time.Time) ([]keys.Activity, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []keys.Activity
	for _, l := range m.log {
		e := l.event
		if e.At.Before(since) {
			continue
		}
		same := func(a keys.Activity) bool {
			return a.ClientID == e.ClientID && a.MemberID == e.MemberID && a.Action == e.Action
		}
		i := slices.IndexFunc(list, same)
		if i < 0 {
			i = len(list)
			list = append(list, keys.Activity{ClientID: e.ClientID, MemberID: e.MemberID, Action: e.Action, First: e.At})
		}
		list[i].Count++
		list[i].Last = e.At
	}
	slices.SortFunc(list, func(a, b keys.Activity) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.ClientID, b.ClientID),
			cmp.Compare(a.MemberID, b.MemberID), cmp.Compare(a.Action, b.Action))
	})
	return list, nil
}
