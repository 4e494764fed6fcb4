package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// appendEntry is the last statement of a transaction that changes something. It
// locks the counter until the commit: readers see positions in commit order and
// without gaps, which a sequence would not give.
func appendEntry(ctx context.Context, tx *sql.Tx, e keys.Entry) (keys.Commit, error) {
	commit := keys.Commit{Kind: e.Kind, Subject: e.Subject, Terminal: e.Terminal, Head: 1 + rand.Uint64N(1<<52)}
	if err := tx.QueryRowContext(ctx, `UPDATE feed SET seq = seq + 1 WHERE one = 1 RETURNING seq`).Scan(&commit.Position); err != nil {
		return keys.Commit{}, err
	}
	at := time.Now()
	if e.Actor.IdempotencyKey != "" {
		// Under the lock: of two requests that run at once, the second finds the first.
		if _, _, err := repeated(ctx, tx, e.Actor.ClientID, e.Actor.IdempotencyKey, at.Add(-keys.IdempotencyTime)); !errors.Is(err, sql.ErrNoRows) {
			return keys.Commit{}, cmp.Or(err, error(keys.ErrRepeated))
		}
	}
	var before []byte
	err := tx.QueryRowContext(ctx, `SELECT hash FROM log WHERE organization_id = $1 AND hash IS NOT NULL ORDER BY seq DESC LIMIT 1`, e.OrganizationID).Scan(&before)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return keys.Commit{}, err
	}
	changes := ""
	if len(e.Changes) > 0 {
		text, err := json.Marshal(e.Changes)
		if err != nil {
			return keys.Commit{}, err
		}
		changes = string(text)
	}
	event := keys.NewEvent(e, commit, at)
	_, err = tx.ExecContext(ctx,
		`INSERT INTO log (seq, subject, kind, terminal, head, at, until, actor, reason, confirmed_at, state, confirmed, total, waited_us,
		                  organization_id, action, target, member_id, request_id, address, changes, hash, idempotency_key, request_hash)
		 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, '', 0, 0, 0, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`,
		commit.Position, string(e.Subject), string(e.Kind), e.Terminal, commit.Head,
		micros(at), micros(at.Add(keys.Retention)), e.Actor.ClientID, e.Reason,
		e.OrganizationID, string(e.Action), e.Target, e.Actor.MemberID, e.Actor.RequestID, e.Actor.Address, changes, event.Sum(before),
		e.Actor.IdempotencyKey, e.Actor.RequestHash)
	if err != nil {
		return keys.Commit{}, err
	}
	return commit, deliver(ctx, tx, e, commit, at)
}

// Append implements keys.Log.
func (s *Store) Append(ctx context.Context, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) { return appendEntry(ctx, tx, entry) })
}

// Read implements keys.Log.
func (s *Store) Read(ctx context.Context, after uint64, limit int) (page keys.LogPage, err error) {
	if err := s.present(); err != nil {
		return keys.LogPage{}, err
	}
	// One statement is one moment on every engine.
	rows, err := s.read.QueryContext(ctx,
		`SELECT f.seq, f.floor, COALESCE((SELECT head FROM log WHERE seq = $1), 0), l.seq, l.subject, l.kind, l.terminal, l.head
		 FROM feed f LEFT JOIN log l ON l.seq > $1
		 WHERE f.one = 1`+s.primary+` ORDER BY l.seq LIMIT $2`, after, max(limit, 1))
	if err != nil {
		return page, s.fail(err)
	}
	defer rows.Close()
	for read := false; ; read = true {
		if !rows.Next() {
			if err := rows.Err(); err != nil || read {
				return page, s.fail(err)
			}
			return keys.LogPage{}, errStandby
		}
		e, err := scanEntry(rows, &page.Tip, &page.Floor, &page.Head)
		if err != nil {
			return keys.LogPage{}, s.fail(err)
		}
		if e.Position > 0 {
			page.Entries = append(page.Entries, e)
		}
	}
}

// Snapshot implements keys.Log.
func (s *Store) Snapshot(ctx context.Context) (snapshot keys.LogSnapshot, err error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT f.seq, f.floor, COALESCE((SELECT head FROM log WHERE seq = f.seq), 0), l.seq, l.subject, l.kind, l.terminal, l.head
		 FROM feed f LEFT JOIN log l ON l.kind = 'cut' AND (l.seq > f.floor OR l.terminal)
		 WHERE f.one = 1`+s.primary+` ORDER BY l.seq`)
	if err != nil {
		return snapshot, s.fail(err)
	}
	defer rows.Close()
	place := make(map[tokens.Subject]int)
	for rows.Next() {
		e, err := scanEntry(rows, &snapshot.Watermark, &snapshot.Floor, &snapshot.Head)
		if err != nil {
			return keys.LogSnapshot{}, s.fail(err)
		}
		if e.Position == 0 {
			continue
		}
		i, known := place[e.Subject]
		if !known {
			place[e.Subject] = len(snapshot.Cuts)
			snapshot.Cuts = append(snapshot.Cuts, e)
			continue
		}
		e.Terminal = e.Terminal || snapshot.Cuts[i].Terminal
		snapshot.Cuts[i] = e
	}
	return snapshot, s.fail(rows.Err())
}

// scanEntry reads three columns of the log's state and an entry, which is zero
// when the row has none.
func scanEntry(rows *sql.Rows, state ...any) (tokens.Entry, error) {
	var position, head sql.NullInt64
	var subject, kind sql.NullString
	var terminal sql.NullBool
	if err := rows.Scan(append(state, &position, &subject, &kind, &terminal, &head)...); err != nil {
		return tokens.Entry{}, err
	}
	return tokens.Entry{Position: uint64(position.Int64), Subject: tokens.Subject(subject.String),
		Kind: tokens.Kind(kind.String), Terminal: terminal.Bool, Head: uint64(head.Int64)}, nil
}

// RaiseFloor implements keys.Log.
func (s *Store) RaiseFloor(ctx context.Context, t time.Time) error {
	_, err := s.write.ExecContext(ctx,
		`UPDATE feed SET floor = (SELECT seq FROM log WHERE until < $1 ORDER BY seq DESC LIMIT 1)
		 WHERE floor < (SELECT seq FROM log WHERE until < $1 ORDER BY seq DESC LIMIT 1)`, micros(t))
	return s.fail(err)
}

// Receipt implements keys.Log.
func (s *Store) Receipt(ctx context.Context, position uint64) (r keys.Receipt, err error) {
	var waited int64
	err = s.read.QueryRowContext(ctx,
		`SELECT seq, state, confirmed, total, waited_us, CASE WHEN member_id <> '' THEN member_id ELSE actor END, reason FROM log WHERE seq = $1 AND confirmed_at > 0`, position).
		Scan(&r.Position, &r.State, &r.Confirmed, &r.Total, &waited, &r.By, &r.Reason)
	r.Waited = time.Duration(waited) * time.Microsecond
	return r, s.fail(err)
}

// Confirmed implements keys.Log.
func (s *Store) Confirmed(ctx context.Context, receipts ...keys.Receipt) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.fail(err)
	}
	defer tx.Rollback()
	for _, r := range receipts {
		_, err := tx.ExecContext(ctx,
			`UPDATE log SET confirmed_at = $2, state = $3, confirmed = $4, total = $5, waited_us = $6 WHERE seq = $1 AND confirmed_at = 0`,
			r.Position, time.Now().UnixMicro(), string(r.State), r.Confirmed, r.Total, r.Waited.Microseconds())
		if err != nil {
			return s.fail(err)
		}
	}
	return s.fail(tx.Commit())
}

// Unconfirmed implements keys.Log.
func (s *Store) Unconfirmed(ctx context.Context, t time.Time) ([]uint64, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT seq FROM log WHERE kind = 'cut' AND confirmed_at = 0 AND at < $1 ORDER BY seq LIMIT 1000`, micros(t))
	positions, err := collect(rows, err, func(rows *sql.Rows) (position uint64, err error) { return position, rows.Scan(&position) })
	return positions, s.fail(err)
}

// Join implements keys.Log.
func (s *Store) Join(ctx context.Context, session keys.Session) error {
	_, err := s.write.ExecContext(ctx,
		`INSERT INTO sessions (id, name, client_id, via, lease_us, accept_stale_us, joined_at, applied, beat) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0)`,
		session.ID, session.Name, session.ClientID, session.Via, session.Lease.Microseconds(), session.AcceptStale.Microseconds(), micros(session.JoinedAt))
	return s.fail(err)
}

// Attach implements keys.Log.
func (s *Store) Attach(ctx context.Context, id, clientID, via string) error {
	err := s.write.QueryRowContext(ctx, `UPDATE sessions SET via = $3 WHERE id = $1 AND client_id = $2 RETURNING id`, id, clientID, via).Scan(&id)
	return s.fail(err)
}

// Report implements keys.Log.
func (s *Store) Report(ctx context.Context, server string, applied map[string]uint64) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.fail(err)
	}
	defer tx.Rollback()
	for _, id := range slices.Sorted(maps.Keys(applied)) {
		if _, err := tx.ExecContext(ctx, `UPDATE sessions SET applied = $2 WHERE id = $1 AND applied < $2`, id, applied[id]); err != nil {
			return s.fail(err)
		}
	}
	if err := tx.QueryRowContext(ctx, `UPDATE sessions SET beat = beat + 1 WHERE id = $1 RETURNING id`, server).Scan(&server); err != nil {
		return s.fail(err)
	}
	return s.fail(tx.Commit())
}

// Leave implements keys.Log.
func (s *Store) Leave(ctx context.Context, id string) error {
	_, err := s.write.ExecContext(ctx, `DELETE FROM sessions WHERE id = $1`, id)
	return s.fail(err)
}

// Sessions implements keys.Log.
func (s *Store) Sessions(ctx context.Context) ([]keys.Session, error) {
	// The row of feed is there even when no session is: none at all is a standby,
	// which may not know yet who has joined.
	rows, err := s.read.QueryContext(ctx,
		`SELECT s.id, s.name, s.client_id, s.via, s.lease_us, s.accept_stale_us, s.joined_at, s.applied, s.beat
		 FROM feed f LEFT JOIN sessions s ON s.id <> ''
		 WHERE f.one = 1`+s.primary+` ORDER BY s.joined_at, s.id`)
	sessions, err := collect(rows, err, func(rows *sql.Rows) (session keys.Session, err error) {
		var id, name, client, via sql.NullString
		var lease, acceptStale, joined, applied, beat sql.NullInt64
		err = rows.Scan(&id, &name, &client, &via, &lease, &acceptStale, &joined, &applied, &beat)
		return keys.Session{ID: id.String, Name: name.String, ClientID: client.String, Via: via.String,
			Lease: time.Duration(lease.Int64) * time.Microsecond, AcceptStale: time.Duration(acceptStale.Int64) * time.Microsecond,
			JoinedAt: instant(joined.Int64), Applied: uint64(applied.Int64), Beat: uint64(beat.Int64)}, err
	})
	switch {
	case err != nil:
		return nil, s.fail(err)
	case len(sessions) == 0:
		return nil, errStandby
	case sessions[0].ID == "":
		return nil, nil
	}
	return sessions, nil
}
