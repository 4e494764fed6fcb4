package keystest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

func (m *Memory) AddWebhook(_ context.Context, w keys.Webhook, entry keys.Entry, admit func(int) error) (keys.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.organization(w.OrganizationID); err != nil {
		return keys.Commit{}, err
	}
	others := 0
	for _, other := range m.webhooks {
		if other.OrganizationID == w.OrganizationID {
			others++
		}
	}
	if err := cmp.Or(admit(others), m.repeats(entry)); err != nil {
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

func (m *Memory) DueDeliveries(_ context.Context, t, next time.Time, limit int, busy []string) ([]keys.Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	busy = slices.Clone(busy)
	var list []keys.Delivery
	for i := range m.deliveries {
		if d := &m.deliveries[i]; d.State == keys.DeliveryPending && !d.NextAt.After(t) && len(list) < limit && !slices.Contains(busy, d.Webhook.OrganizationID) {
			busy = append(busy, d.Webhook.OrganizationID)
			d.NextAt = next
			list = append(list, m.told(*d))
		}
	}
	return list, nil
}

// told is a delivery with the receipt that its event has by now.
func (m *Memory) told(d keys.Delivery) keys.Delivery {
	d.Event.Receipt = m.receiptOf(m.log[d.Event.Position-m.base-1])
	if d.Event.Receipt != nil {
		d.Event.Receipt.Members = nil
	}
	return d
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
			list = append(list, m.told(d))
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
