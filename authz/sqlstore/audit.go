package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// eventColumns are those of eventTables; an event that cut has its receipt with it.
const (
	eventColumns = receiptColumns + `, l.request_id, l.address, l.changes, l.kind, l.hash`
	eventTables  = ` log l LEFT JOIN receipts r ON r.seq = l.seq`
)

// scanEvent reads columns, and eventColumns after them.
func scanEvent(rows *sql.Rows, columns ...any) (e keys.Event, err error) {
	var r receiptRow
	var changes string
	columns = append(append(columns, r.columns()...), &e.RequestID, &e.Address, &changes, &e.Kind, &e.Hash)
	err = rows.Scan(columns...)
	defer func() { err = inRow("log", strconv.FormatUint(r.Position, 10), err) }()
	receipt := r.receipt()
	e.Position, e.At, e.OrganizationID, e.Action, e.Target = r.Position, r.RevokedAt, r.OrganizationID, r.Action, r.Target
	e.ClientID, e.MemberID, e.Reason, e.Subject = r.actor, r.member, r.Reason, r.Subject
	if _, session := e.Subject.SessionID(); e.Kind == tokens.Cut && !session {
		e.Receipt = &receipt
	}
	if err == nil && changes != "" {
		err = json.Unmarshal([]byte(changes), &e.Changes)
	}
	return e, err
}

func plainEvent(rows *sql.Rows) (keys.Event, error) { return scanEvent(rows) }

// selected is what an EventPage selects, of the log as l.
const selected = ` FROM` + eventTables + `
	WHERE l.organization_id = $1 AND l.seq > $2 AND l.seq < $3 AND l.at >= $4 AND l.at < $5
	  AND ($6 = '' OR l.action = $6) AND ($7 = '' OR l.target = $7) AND ($8 = '' OR l.actor = $8 OR l.member_id = $8) AND ($9 = '' OR l.kind = $9)`

func selection(organizationID string, page keys.EventPage) []any {
	before, until := int64(page.Before), micros(page.Until)
	if before == 0 {
		before = math.MaxInt64
	}
	if until == 0 {
		until = math.MaxInt64
	}
	return []any{organizationID, int64(page.After), before, micros(page.Since), until, string(page.Action), page.Target, page.Actor, string(page.Kind)}
}

// Events implements keys.Audit.
func (s *Store) Events(ctx context.Context, organizationID string, page keys.EventPage) ([]keys.Event, error) {
	limit := int64(page.Limit)
	if limit <= 0 {
		limit = math.MaxInt64
	}
	order := ` ORDER BY l.seq`
	if page.Newest {
		order += ` DESC`
	}
	rows, err := s.read.QueryContext(ctx, `SELECT `+eventColumns+selected+order+` LIMIT $10`, append(selection(organizationID, page), limit)...)
	events, err := collect(rows, err, plainEvent)
	return events, s.fail(err)
}

// CountEvents implements keys.Audit.
func (s *Store) CountEvents(ctx context.Context, organizationID string, page keys.EventPage) (n int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT COUNT(*)`+selected, selection(organizationID, page)...).Scan(&n)
	return n, s.fail(err)
}

// Activity implements keys.Audit.
func (s *Store) Activity(ctx context.Context, since time.Time) ([]keys.Activity, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT actor, member_id, action, COUNT(*), MIN(at), MAX(at) FROM log WHERE at >= $1
		 GROUP BY actor, member_id, action ORDER BY MAX(at) DESC, actor, member_id, action`, micros(since))
	list, err := collect(rows, err, func(rows *sql.Rows) (a keys.Activity, err error) {
		var first, last int64
		err = rows.Scan(&a.ClientID, &a.MemberID, &a.Action, &a.Count, &first, &last)
		a.First, a.Last = instant(first), instant(last)
		return a, err
	})
	return list, s.fail(err)
}

// Heads implements keys.Audit.
func (s *Store) Heads(ctx context.Context) ([]keys.Event, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+eventColumns+` FROM`+eventTables+`
		WHERE l.hash IS NOT NULL AND l.seq IN (SELECT MAX(seq) FROM log WHERE seq > (SELECT COALESCE(MAX(c.seq), 0) FROM checkpoints c, feed f WHERE c.seq <= f.seq) GROUP BY organization_id)
		ORDER BY l.seq`)
	events, err := collect(rows, err, plainEvent)
	return events, s.fail(err)
}

// AddCheckpoint implements keys.Audit.
func (s *Store) AddCheckpoint(ctx context.Context, c keys.Checkpoint) error {
	_, err := s.write.ExecContext(ctx, `INSERT INTO checkpoints (organization_id, seq, signed) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		c.OrganizationID, c.Position, c.Signed)
	return s.fail(err)
}

// LastCheckpoint implements keys.Audit.
func (s *Store) LastCheckpoint(ctx context.Context, organizationID string) (keys.Checkpoint, error) {
	c := keys.Checkpoint{OrganizationID: organizationID}
	err := s.read.QueryRowContext(ctx,
		`SELECT seq, signed FROM checkpoints WHERE organization_id = $1 ORDER BY seq DESC LIMIT 1`,
		organizationID).Scan(&c.Position, &c.Signed)
	if err != nil {
		return keys.Checkpoint{}, s.fail(err)
	}
	return c, nil
}

// Checkpoints implements keys.Audit.
func (s *Store) Checkpoints(ctx context.Context, organizationID string) ([]keys.Checkpoint, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT seq, signed FROM checkpoints WHERE organization_id = $1 ORDER BY seq`, organizationID)
	list, err := collect(rows, err, func(rows *sql.Rows) (c keys.Checkpoint, err error) {
		c.OrganizationID = organizationID
		return c, rows.Scan(&c.Position, &c.Signed)
	})
	return list, s.fail(err)
}

// Repeated implements keys.Audit.
func (s *Store) Repeated(ctx context.Context, clientID, key string, since time.Time) (keys.Event, string, error) {
	e, hash, err := repeated(ctx, s.read, clientID, key, since)
	return e, hash, s.fail(err)
}

func repeated(ctx context.Context, q querier, clientID, key string, since time.Time) (keys.Event, string, error) {
	var hash string
	var seq int64
	err := q.QueryRowContext(ctx, `SELECT seq, request_hash FROM log WHERE actor = $1 AND idempotency_key = $2 AND idempotency_key <> '' AND at >= $3 ORDER BY seq DESC LIMIT 1`,
		clientID, key, micros(since)).Scan(&seq, &hash)
	if err != nil {
		return keys.Event{}, "", err
	}
	rows, err := q.QueryContext(ctx, `SELECT `+eventColumns+` FROM`+eventTables+` WHERE l.seq = $1`, seq)
	events, err := collect(rows, err, plainEvent)
	if err != nil || len(events) == 0 {
		return keys.Event{}, "", err
	}
	return events[0], hash, nil
}
