package keystest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

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

func (m *Memory) Usage(_ context.Context, organizationID, keyID string, since time.Time, by time.Duration) ([]keys.UsageRow, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sums := map[keys.Tally]int64{}
	for t, n := range m.counts {
		if m.has(organizationID, t.KeyID) && (keyID == "" || keyID == t.KeyID) && !t.Hour.Before(since) {
			t.Hour = t.Hour.Truncate(by)
			sums[t] += n
		}
	}
	var list []keys.UsageRow
	for t, n := range sums {
		list = append(list, keys.UsageRow{Tally: t, Count: n})
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
