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
func appendEntry(ctx context.Context, tx *sql.Tx, e keys.Entry) (commit keys.Commit, err error) {
	if commit, err = appendOne(ctx, tx, e); err != nil {
		return keys.Commit{}, err
	}
	commit.Through = commit.Position
	others := e.With
	if e.EndSessions != "" {
		sessions, err := sessionsOf(ctx, tx, e.EndSessions)
		if err != nil {
			return keys.Commit{}, err
		}
		for _, x := range sessions {
			others = append(others, keys.SessionEnd(x, e.Actor, string(e.Action)))
		}
	}
	for _, other := range others {
		also, err := appendOne(ctx, tx, other)
		if err != nil {
			return keys.Commit{}, err
		}
		commit.Through = also.Position
		if _, session := also.Subject.SessionID(); also.Kind == tokens.Cut && !session {
			commit.Also = append(commit.Also, also.Entry)
		}
	}
	return commit, nil
}

// appendOne appends an entry without those that commit with it.
func appendOne(ctx context.Context, tx *sql.Tx, e keys.Entry) (keys.Commit, error) {
	commit := keys.Commit{Entry: tokens.Entry{Kind: e.Kind, Subject: e.Subject, Terminal: e.Terminal,
		Head: 1 + rand.Uint64N(1<<52)}}
	var protocol int
	err := tx.QueryRowContext(ctx,
		`UPDATE feed SET seq = seq + 1 WHERE one = 1
		 RETURNING seq, protocol, COALESCE((SELECT l.head FROM log l WHERE l.seq = feed.seq - 1), 0)`).
		Scan(&commit.Position, &protocol, &commit.Before)
	if err != nil {
		return keys.Commit{}, err
	}
	if protocol < 2 && e.Older != "" {
		// A verifier that does not know the subject would say that it applied the cut.
		e.Subject, commit.Subject = e.Older, e.Older
	}
	at := time.Now()
	if !e.At.IsZero() {
		at = e.At
	}
	if e.Actor.IdempotencyKey != "" {
		// Under the lock: of two requests that run at once, the second finds the first.
		if _, _, err := repeated(ctx, tx, e.Actor.ClientID, e.Actor.IdempotencyKey, at.Add(-keys.IdempotencyTime)); !errors.Is(err, sql.ErrNoRows) {
			return keys.Commit{}, cmp.Or(err, error(keys.ErrRepeated))
		}
	}
	var before []byte
	err = tx.QueryRowContext(ctx, `SELECT hash FROM log WHERE organization_id = $1 AND hash IS NOT NULL ORDER BY seq DESC LIMIT 1`, e.OrganizationID).Scan(&before)
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
	event := keys.NewEvent(e, commit.Position, at)
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
	return commit, deliver(ctx, tx, e, commit.Position, at)
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
		`SELECT f.seq, f.floor, COALESCE((SELECT head FROM log WHERE seq = f.seq), 0), f.restored, l.seq, l.subject, l.kind, l.terminal, l.head
		 FROM feed f LEFT JOIN log l ON l.kind = 'cut' AND (l.seq > f.floor OR l.terminal)
		 WHERE f.one = 1`+s.primary+` ORDER BY l.seq`)
	if err != nil {
		return snapshot, s.fail(err)
	}
	defer rows.Close()
	place := make(map[tokens.Subject]int)
	for rows.Next() {
		e, err := scanEntry(rows, &snapshot.Watermark, &snapshot.Floor, &snapshot.Head, &snapshot.Restored)
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

// scanEntry reads columns of the log's state and an entry, which is zero
// when the row has none.
func scanEntry(rows *sql.Rows, state ...any) (tokens.Entry, error) {
	var position, head sql.NullInt64
	var subject, kind sql.NullString
	var terminal flag
	if err := rows.Scan(append(state, &position, &subject, &kind, &terminal, &head)...); err != nil {
		return tokens.Entry{}, err
	}
	return tokens.Entry{Position: uint64(position.Int64), Subject: tokens.Subject(subject.String),
		Kind: tokens.Kind(kind.String), Terminal: bool(terminal), Head: uint64(head.Int64)}, nil
}

// A flag is a boolean of either engine. One that is damaged is set: a cut is terminal
// rather than not.
type flag bool

// Scan implements [sql.Scanner].
func (f *flag) Scan(value any) error {
	*f = value != nil && value != false && value != int64(0)
	return nil
}

// RaiseFloor implements keys.Log.
func (s *Store) RaiseFloor(ctx context.Context, t time.Time) error {
	_, err := s.write.ExecContext(ctx,
		`UPDATE feed SET floor = (SELECT seq FROM log WHERE until < $1 ORDER BY seq DESC LIMIT 1)
		 WHERE floor < (SELECT seq FROM log WHERE until < $1 ORDER BY seq DESC LIMIT 1)`, micros(t))
	if err != nil {
		return s.fail(err)
	}
	return s.raiseSettled(ctx, t.Add(-5*time.Minute))
}

// RaiseProtocol implements keys.Log.
func (s *Store) RaiseProtocol(ctx context.Context) error {
	_, err := s.write.ExecContext(ctx, `UPDATE feed SET protocol = 2 WHERE one = 1 AND protocol < 2
		AND NOT EXISTS (SELECT 1 FROM sessions WHERE protocol < 2)`)
	return s.fail(err)
}

// RestoredWaited implements keys.Log.
func (s *Store) RestoredWaited(ctx context.Context, position uint64) error {
	_, err := s.write.ExecContext(ctx, `UPDATE feed SET restored = 0 WHERE one = 1 AND restored = $1`, position)
	return s.fail(err)
}

// Join implements keys.Log.
func (s *Store) Join(ctx context.Context, session keys.Session, admit keys.AdmitSession) error {
	if session.Protocol < 2 {
		if _, err := s.write.ExecContext(ctx, `UPDATE feed SET protocol = 1 WHERE one = 1 AND protocol > 1`); err != nil {
			return s.fail(err)
		}
	}
	if session.ClientID == "" { // a server's own
		return s.fail(insertSession(ctx, s.write, session))
	}
	return s.apart(ctx, func(tx *sql.Tx) error {
		var organizationID string
		var count int
		if err := tx.QueryRowContext(ctx, `SELECT organization_id FROM keys WHERE client_id = $1`, session.ClientID).Scan(&organizationID); err != nil {
			return err
		}
		// Whoever takes from the key the right to follow holds its organisation too.
		if _, err := organization(ctx, tx, organizationID, s.lock); err != nil {
			return err
		}
		k, err := clientKey(ctx, tx, session.ClientID)
		if err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM sessions WHERE client_id = $1`, session.ClientID).Scan(&count); err != nil {
			return err
		}
		var others []keys.Session
		if k.Crowded(count) {
			if others, err = sessionsOf(ctx, tx, session.ClientID); err != nil {
				return err
			}
		}
		end, err := admit(k, others)
		if err != nil {
			return err
		}
		if err := insertSession(ctx, tx, session); err != nil {
			return err
		}
		for _, x := range end {
			if _, err := appendOne(ctx, tx, keys.SessionEnd(x, keys.Program("server"), "another takes its place")); err != nil {
				return err
			}
		}
		return nil
	})
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func insertSession(ctx context.Context, to execer, session keys.Session) error {
	_, err := to.ExecContext(ctx,
		`INSERT INTO sessions (id, name, client_id, via, lease_us, accept_stale_us,
		                       protocol, implementation, unproved, joined_at, applied, beat)
		 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0)`,
		session.ID, session.Name, session.ClientID, session.Via,
		session.Lease.Microseconds(), session.AcceptStale.Microseconds(),
		session.Protocol, session.Implementation, session.Unproved, micros(session.JoinedAt))
	return err
}

func clientKey(ctx context.Context, tx *sql.Tx, clientID string) (keys.Key, error) {
	list, err := queryKeys(ctx, tx, selectKeys+` FROM keys k LEFT JOIN credentials c ON c.key_id = k.id
		WHERE k.client_id = $1 ORDER BY `+orderSecrets, clientID)
	if err == nil && len(list) == 0 {
		err = keys.ErrNotFound
	}
	if err != nil {
		return keys.Key{}, err
	}
	return list[0], nil
}

// sessionColumns are what a list of a client's sessions needs.
const sessionColumns = `s.id, s.name, s.client_id, s.via, s.lease_us, s.accept_stale_us, s.joined_at`

func scanSession(rows *sql.Rows) (x keys.Session, err error) {
	var lease, acceptStale, joined int64
	err = rows.Scan(&x.ID, &x.Name, &x.ClientID, &x.Via, &lease, &acceptStale, &joined)
	x.Lease, x.AcceptStale = time.Duration(lease)*time.Microsecond, time.Duration(acceptStale)*time.Microsecond
	x.JoinedAt = instant(joined)
	return x, err
}

func sessionsOf(ctx context.Context, tx *sql.Tx, clientID string) ([]keys.Session, error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+sessionColumns+` FROM sessions s WHERE s.client_id = $1 ORDER BY s.joined_at, s.id`, clientID)
	return collect(rows, err, scanSession)
}

// Strays implements keys.Log.
func (s *Store) Strays(ctx context.Context, t time.Time) ([]keys.Session, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT `+sessionColumns+` FROM sessions s JOIN keys k ON k.client_id = s.client_id
		 WHERE k.revoked_at > 0 OR k.suspended_at > 0 OR k.pending OR k.expires_at > 0 AND k.expires_at <= $1
		    OR `+lacks(`' ' || k.scopes || ' '`, `' `+keys.FeedScope+` '`)+`
		 ORDER BY s.joined_at, s.id`, micros(t))
	list, err := collect(rows, err, scanSession)
	return list, s.fail(err)
}

// Attach implements keys.Log.
func (s *Store) Attach(ctx context.Context, id, clientID, via string) error {
	err := s.write.QueryRowContext(ctx, `UPDATE sessions SET via = $3 WHERE id = $1 AND client_id = $2 RETURNING id`, id, clientID, via).Scan(&id)
	return s.fail(err)
}

// Report implements keys.Log.
func (s *Store) Report(ctx context.Context, server string, applied map[string]keys.Ack) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.fail(err)
	}
	defer tx.Rollback()
	for _, id := range slices.Sorted(maps.Keys(applied)) {
		if _, err := tx.ExecContext(ctx, `UPDATE sessions SET applied = $2, applied_head = $3 WHERE id = $1 AND applied < $2`,
			id, applied[id].Position, applied[id].Head); err != nil {
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
	roll, err := s.Roll(ctx)
	return roll.Sessions, err
}

// Roll implements keys.Receipts. The row of feed is there even when no session is: none
// at all is a standby, which may not know yet who has joined.
func (s *Store) Roll(ctx context.Context, positions ...uint64) (roll keys.Roll, err error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT 0, COALESCE(s.id, ''), COALESCE(s.name, ''), COALESCE(s.client_id, ''), COALESCE(s.via, ''),
		        COALESCE(s.lease_us, 0), COALESCE(s.accept_stale_us, 0), COALESCE(s.joined_at, 0) AS joined_at,
		        CASE WHEN a.seq IS NULL THEN 0 ELSE s.applied END, COALESCE(s.beat, 0),
		        COALESCE(s.protocol, 0), COALESCE(s.implementation, ''), COALESCE(s.unproved, '')
		 FROM feed f LEFT JOIN sessions s ON s.id <> ''
		      LEFT JOIN log a ON a.seq = s.applied AND a.head = s.applied_head
		 WHERE f.one = 1`+s.primary+`
		 UNION ALL
		 SELECT 1, '', '', '', '', 0, 0, 0, seq, head, 0, '', '' FROM log WHERE seq IN (`+numbers(positions)+`)
		 ORDER BY 1, 8, 2`)
	if err != nil {
		return keys.Roll{}, s.fail(err)
	}
	defer rows.Close()
	roll.Heads = make(map[uint64]uint64, len(positions))
	primary := false
	for rows.Next() {
		var part int
		var lease, acceptStale, joined, applied, beat int64
		var x keys.Session
		if err := rows.Scan(&part, &x.ID, &x.Name, &x.ClientID, &x.Via, &lease, &acceptStale, &joined,
			&applied, &beat, &x.Protocol, &x.Implementation, &x.Unproved); err != nil {
			return keys.Roll{}, s.fail(inRow("sessions, log", x.ID, err))
		}
		// A session that is damaged has confirmed nothing: to leave it out would say more.
		x.Applied, x.Beat = uint64(max(0, applied)), uint64(max(0, beat))
		switch {
		case part == 1:
			roll.Heads[x.Applied] = x.Beat
			continue
		case x.ID != "":
			x.Lease, x.AcceptStale = time.Duration(lease)*time.Microsecond, time.Duration(acceptStale)*time.Microsecond
			x.JoinedAt = instant(joined)
			roll.Sessions = append(roll.Sessions, x)
		}
		primary = true
	}
	if err := rows.Err(); err != nil {
		return keys.Roll{}, s.fail(err)
	}
	if !primary {
		return keys.Roll{}, errStandby
	}
	return roll, nil
}
