package keystest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

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
			if w.OrganizationID == e.OrganizationID && (kind != keys.TestType || w.ID == e.Target) && (len(w.Events) == 0 || slices.Contains(w.Events, kind)) {
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
