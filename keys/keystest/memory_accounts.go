package keystest

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/imara/apikeys/keys"
)

func (m *Memory) Memberships(_ context.Context, email string) ([]keys.Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.members), func(one keys.Member) bool { return one.Email != email || !one.RemovedAt.IsZero() }), nil
}

func (m *Memory) Account(_ context.Context, email string) (keys.Account, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.accounts[email]
	if !ok {
		return a, keys.ErrNotFound
	}
	return a, nil
}

func (m *Memory) AddLink(_ context.Context, l keys.Link, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.repeats(entry); err != nil {
		return keys.Commit{}, err
	}
	m.links = append(slices.DeleteFunc(m.links, func(old keys.Link) bool { return !l.CreatedAt.Before(old.ExpiresAt) }), l)
	return m.append(entry), nil
}

func (m *Memory) Link(_ context.Context, hash []byte) (keys.Link, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.links {
		if bytes.Equal(l.Hash, hash) {
			return l, nil
		}
	}
	return keys.Link{}, keys.ErrNotFound
}

func (m *Memory) UseLink(_ context.Context, hash []byte, a keys.Account, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.ContainsFunc(m.links, func(l keys.Link) bool { return bytes.Equal(l.Hash, hash) && l.Email == a.Email }) {
		return keys.Commit{}, keys.ErrNotFound
	}
	a.Issuer, a.Subject = m.accounts[a.Email].Issuer, m.accounts[a.Email].Subject
	m.accounts[a.Email] = a
	m.links = slices.DeleteFunc(m.links, func(l keys.Link) bool { return l.Email == a.Email })
	m.webSessions = slices.DeleteFunc(m.webSessions, func(w keys.WebSession) bool { return w.Email == a.Email })
	return m.append(entry), nil
}

func (m *Memory) Found(_ context.Context, hash []byte, b keys.Beginning, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.ContainsFunc(m.links, func(l keys.Link) bool { return bytes.Equal(l.Hash, hash) && l.Email == "" }) {
		return keys.Commit{}, keys.ErrNotFound
	}
	m.links = slices.DeleteFunc(m.links, func(l keys.Link) bool { return l.Email == "" })
	m.organizations[b.Organization.ID] = b.Organization
	m.members = append(m.members, b.Members...)
	m.accounts[b.Account.Email] = b.Account
	return m.append(entry), nil
}

func (m *Memory) BindAccount(_ context.Context, email, issuer, subject string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[email]
	if a.Issuer != "" && (a.Issuer != issuer || a.Subject != subject) {
		return keys.ErrSubject
	}
	a.Email, a.Issuer, a.Subject = email, issuer, subject
	m.accounts[email] = a
	return nil
}

func (m *Memory) UnbindAccount(_ context.Context, email string, entry keys.Entry) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[email]
	if a.Issuer == "" {
		return keys.Commit{}, keys.ErrNotFound
	}
	if err := m.repeats(entry); err != nil {
		return keys.Commit{}, err
	}
	a.Issuer, a.Subject = "", ""
	m.accounts[email] = a
	m.webSessions = slices.DeleteFunc(m.webSessions, func(w keys.WebSession) bool { return w.Email == email })
	return m.append(entry), nil
}

func (m *Memory) AddWebSession(_ context.Context, w keys.WebSession, password string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a, ok := m.accounts[w.Email]; !ok || a.Password != password {
		return keys.ErrNotFound
	}
	m.webSessions = append(slices.DeleteFunc(m.webSessions, func(old keys.WebSession) bool { return !old.Live(w.CreatedAt) }), w)
	return nil
}

func (m *Memory) webSession(hash []byte) int {
	return slices.IndexFunc(m.webSessions, func(w keys.WebSession) bool { return bytes.Equal(w.Hash, hash) })
}

func (m *Memory) WebSession(_ context.Context, hash []byte) (keys.WebSession, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.webSession(hash); i >= 0 {
		return m.webSessions[i], nil
	}
	return keys.WebSession{}, keys.ErrNotFound
}

func (m *Memory) WebSessions(_ context.Context, email string) (list []keys.WebSession, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.webSessions {
		if w.Email == email {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b keys.WebSession) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), bytes.Compare(a.Hash, b.Hash))
	})
	return list, nil
}

func (m *Memory) SeeWebSession(_ context.Context, hash []byte, t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.webSession(hash); i >= 0 && m.webSessions[i].SeenAt.Before(t) {
		m.webSessions[i].SeenAt = t
	}
	return nil
}

func (m *Memory) EndWebSession(_ context.Context, hash []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.webSession(hash); i >= 0 {
		m.webSessions = slices.Delete(m.webSessions, i, i+1)
	}
	return nil
}
