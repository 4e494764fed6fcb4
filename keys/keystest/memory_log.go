package keystest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

func (m *Memory) append(e keys.Entry) keys.Commit {
	before := m.head(m.tip())
	commit := keys.Commit{Entry: m.appendOne(e), Before: before}
	others := slices.Clone(e.With)
	for _, x := range m.sessions {
		if e.EndSessions != "" && x.ClientID == e.EndSessions {
			others = append(others, keys.SessionEnd(x, e.Actor, string(e.Action)))
		}
	}
	for _, other := range others {
		also := m.appendOne(other)
		if _, session := also.Subject.SessionID(); also.Kind == tokens.Cut && !session {
			commit.Also = append(commit.Also, also)
		}
	}
	commit.Through = m.tip()
	return commit
}

func (m *Memory) appendOne(e keys.Entry) tokens.Entry {
	commit := tokens.Entry{Position: m.tip() + 1, Subject: e.Subject, Kind: e.Kind, Terminal: e.Terminal, Head: 1 + rand.Uint64N(1<<52)}
	at := time.Now()
	if !e.At.IsZero() {
		at = e.At
	}
	event := keys.NewEvent(e, commit.Position, at)
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
			found.Receipt = m.receiptOf(e)
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
		e.Receipt = m.receiptOf(l)
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

func (m *Memory) LastCheckpoint(ctx context.Context, organizationID string) (keys.Checkpoint, error) {
	list, err := m.Checkpoints(ctx, organizationID)
	if err != nil || len(list) == 0 {
		return keys.Checkpoint{}, cmp.Or(err, keys.ErrNotFound)
	}
	return list[len(list)-1], nil
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

// receiptOf is that of a cut, as it is stored; nil for a touch and the end of a session.
func (m *Memory) receiptOf(l logged) *keys.Receipt {
	if _, session := l.Subject.SessionID(); l.Kind != tokens.Cut || session {
		return nil
	}
	r := keys.Receipt{State: keys.Waiting}
	if l.receipt != nil {
		r = *l.receipt
		r.Members = slices.Clone(r.Members) // whoever takes the wait over goes on with them
	}
	r.Position, r.Head, r.Subject, r.RevokedAt = l.Position, l.Head, l.Subject, l.event.At
	r.OrganizationID, r.Action, r.Target = l.event.OrganizationID, l.event.Action, l.event.Target
	r.By, r.Reason = l.actor.Name(), l.event.Reason
	if id, ok := strings.CutPrefix(string(l.Subject), "c:"); ok {
		r.ClientID = id
	}
	return &r
}

func (m *Memory) Receipt(_ context.Context, position uint64) (keys.Receipt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.head(position) == 0 {
		return keys.Receipt{}, keys.ErrNotFound
	}
	if r := m.receiptOf(m.log[position-m.base-1]); r != nil {
		return *r, nil
	}
	return keys.Receipt{}, keys.ErrNotFound
}

func (m *Memory) PutReceipts(_ context.Context, receipts []keys.Receipt) (stored []keys.Receipt, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range receipts {
		if r.Head == 0 || m.head(r.Position) != r.Head {
			continue
		}
		l := &m.log[r.Position-m.base-1]
		if l.receipt == nil || !l.receipt.Settled() {
			l.receipt = &r
		}
		stored = append(stored, *m.receiptOf(*l))
	}
	return stored, nil
}

func (m *Memory) cuts(wanted func(keys.Receipt) bool) (list []keys.Receipt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.log {
		if r := m.receiptOf(l); r != nil && wanted(*r) {
			r.Members = nil
			list = append(list, *r)
		}
	}
	return list
}

func (m *Memory) Receipts(_ context.Context, organizationID string, page keys.ReceiptPage) ([]keys.Receipt, error) {
	list := m.cuts(func(r keys.Receipt) bool {
		return r.OrganizationID == organizationID && (page.Before == 0 || r.Position < page.Before) &&
			(page.Target == "" || r.Target == page.Target) && (page.State == "" || r.State == page.State) &&
			!r.RevokedAt.Before(page.Since) && (page.Until.IsZero() || r.RevokedAt.Before(page.Until))
	})
	slices.Reverse(list)
	if page.Limit > 0 && len(list) > page.Limit {
		list = list[:page.Limit]
	}
	return list, nil
}

func (m *Memory) Unsettled(_ context.Context, t time.Time) ([]keys.Receipt, error) {
	list := m.cuts(func(r keys.Receipt) bool { return !r.Settled() && r.RevokedAt.Before(t) })
	return list[:min(len(list), 1000)], nil
}

func (m *Memory) LastCut(_ context.Context, subject tokens.Subject) (uint64, error) {
	list := m.cuts(func(r keys.Receipt) bool { return r.Subject == subject })
	if len(list) == 0 {
		return 0, keys.ErrNotFound
	}
	return list[len(list)-1].Position, nil
}

func (m *Memory) RaiseProtocol(context.Context) error { return nil }

func (m *Memory) RestoredWaited(context.Context, uint64) error { return nil }

func (m *Memory) Join(_ context.Context, s keys.Session, admit keys.AdmitSession) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.ClientID != "" {
		k := m.keyOf(s.ClientID)
		if k == nil {
			return keys.ErrNotFound
		}
		var others []keys.Session
		for _, x := range m.sessions {
			if x.ClientID == s.ClientID {
				others = append(others, x)
			}
		}
		if !k.Crowded(len(others)) {
			others = nil
		}
		end, err := admit(*k, others)
		if err != nil {
			return err
		}
		for _, x := range end {
			m.append(keys.SessionEnd(x, keys.Program("server"), "another takes its place"))
		}
	}
	m.sessions = append(m.sessions, s)
	return nil
}

func (m *Memory) keyOf(clientID string) *keys.Key {
	for i := range m.keys {
		if m.keys[i].ClientID == clientID {
			return &m.keys[i]
		}
	}
	return nil
}

func (m *Memory) Strays(_ context.Context, t time.Time) (list []keys.Session, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sessions {
		if k := m.keyOf(s.ClientID); k != nil && (k.Status(t) != keys.Active || !slices.Contains(k.Scopes, keys.FeedScope)) {
			list = append(list, s)
		}
	}
	return list, nil
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

func (m *Memory) Report(_ context.Context, server string, applied map[string]keys.Ack) error {
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
			if ack := applied[s.ID]; ack.Position > m.applied[s.ID].Position {
				m.applied[s.ID] = ack
			}
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

func (m *Memory) Sessions(ctx context.Context) ([]keys.Session, error) {
	roll, err := m.Roll(ctx)
	return roll.Sessions, err
}

func (m *Memory) Roll(_ context.Context, positions ...uint64) (keys.Roll, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	roll := keys.Roll{Sessions: slices.Clone(m.sessions), Heads: map[uint64]uint64{}}
	for i, s := range roll.Sessions {
		if ack := m.applied[s.ID]; ack.Position > 0 && m.head(ack.Position) == ack.Head {
			roll.Sessions[i].Applied = ack.Position
		}
	}
	for _, p := range positions {
		if head := m.head(p); head != 0 {
			roll.Heads[p] = head
		}
	}
	return roll, nil
}

// Publish implements [keys.Relay].
func (m *Memory) Publish(context.Context, keys.Commit) {}

// Confirm implements [keys.Relay].
func (m *Memory) Confirm(ctx context.Context, at keys.Commit) (keys.Receipt, error) {
	r := keys.Receipt{Position: at.Position, Head: at.Head, State: keys.Confirmed, SettledAt: time.Now()}
	stored, err := m.PutReceipts(ctx, []keys.Receipt{r})
	if err != nil || len(stored) == 0 {
		return keys.Receipt{}, cmp.Or(err, keys.ErrLost)
	}
	return stored[0], nil
}

// Reached implements [keys.Relay].
func (m *Memory) Reached(ctx context.Context, position uint64) (keys.Receipt, error) {
	r, err := m.Receipt(ctx, position)
	if err != nil || r.Settled() {
		return r, err
	}
	return m.Confirm(ctx, keys.Commit{Entry: tokens.Entry{Position: position, Head: r.Head}})
}
