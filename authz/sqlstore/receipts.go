package sqlstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// receiptColumns are those of a cut in the log as l, and of its receipt as r.
const receiptColumns = `l.seq, l.head, l.subject, l.organization_id, l.action, l.target, l.at,
	l.actor, l.member_id, l.reason, COALESCE(r.state, 'waiting'), COALESCE(r.latest, 0),
	COALESCE(r.settled_at, 0), COALESCE(r.waited_us, 0), COALESCE(r.recovered, FALSE),
	COALESCE(r.confirmed, 0), COALESCE(r.total, 0), COALESCE(r.evidence, '')`

// receipted is the condition that an entry has a receipt: it cuts, and is no session's end,
// which nobody waits for by itself.
const receipted = `l.kind = 'cut' AND l.subject NOT LIKE 'v:%'`

// receiptRow reads receiptColumns.
type receiptRow struct {
	keys.Receipt
	at, latest, settled, waited int64
	actor, member, evidence     string
}

func (r *receiptRow) columns() []any {
	return []any{&r.Position, &r.Head, &r.Subject, &r.OrganizationID, &r.Action, &r.Target, &r.at,
		&r.actor, &r.member, &r.Reason, &r.State, &r.latest,
		&r.settled, &r.waited, &r.Recovered, &r.Confirmed, &r.Total, &r.evidence}
}

func (r *receiptRow) receipt() keys.Receipt {
	r.RevokedAt, r.Latest, r.SettledAt = instant(r.at), instant(r.latest), instant(r.settled)
	r.Waited, r.By = time.Duration(r.waited)*time.Microsecond, cmp.Or(r.member, r.actor)
	r.ClientID, _ = strings.CutPrefix(string(r.Subject), "c:")
	if r.ClientID == string(r.Subject) {
		r.ClientID = ""
	}
	return r.Receipt
}

func scanReceipt(rows *sql.Rows) (keys.Receipt, error) {
	var r receiptRow
	err := rows.Scan(r.columns()...)
	return r.receipt(), inRow("log, receipts", strconv.FormatUint(r.Position, 10), err)
}

// Receipt implements keys.Receipts.
func (s *Store) Receipt(ctx context.Context, position uint64) (keys.Receipt, error) {
	var r receiptRow
	var members string
	err := s.read.QueryRowContext(ctx,
		`SELECT `+receiptColumns+`, COALESCE(e.members, '')
		 FROM log l LEFT JOIN receipts r ON r.seq = l.seq LEFT JOIN evidence e ON e.id = r.evidence
		 WHERE l.seq = $1 AND `+receipted, position).Scan(append(r.columns(), &members)...)
	if err != nil {
		return keys.Receipt{}, s.fail(err)
	}
	receipt := r.receipt()
	receipt.Members, err = readMembers(members)
	return receipt, s.fail(inRow("evidence", r.evidence, err))
}

// Receipts implements keys.Receipts.
func (s *Store) Receipts(ctx context.Context, organizationID string, page keys.ReceiptPage) ([]keys.Receipt, error) {
	limit, before, until := int64(page.Limit), int64(page.Before), micros(page.Until)
	for _, open := range []*int64{&limit, &before, &until} {
		if *open <= 0 {
			*open = math.MaxInt64
		}
	}
	rows, err := s.read.QueryContext(ctx,
		`SELECT `+receiptColumns+`
		 FROM log l LEFT JOIN receipts r ON r.seq = l.seq
		 WHERE l.organization_id = $1 AND `+receipted+` AND l.seq < $2 AND l.at >= $3 AND l.at < $4
		   AND ($5 = '' OR l.target = $5) AND ($6 = '' OR COALESCE(r.state, 'waiting') = $6)
		 ORDER BY l.seq DESC LIMIT $7`,
		organizationID, before, micros(page.Since), until, page.Target, string(page.State), limit)
	list, err := collect(rows, err, scanReceipt)
	return list, s.fail(err)
}

// Unsettled implements keys.Receipts.
func (s *Store) Unsettled(ctx context.Context, t time.Time) ([]keys.Receipt, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT `+receiptColumns+`
		 FROM feed f JOIN log l ON l.seq > f.settled LEFT JOIN receipts r ON r.seq = l.seq
		 WHERE f.one = 1 AND `+receipted+` AND l.confirmed_at = 0 AND l.at < $1
		   AND (r.seq IS NULL OR r.state = 'waiting')
		 ORDER BY l.seq LIMIT 1000`, micros(t))
	list, err := collect(rows, err, scanReceipt, s.damaged.met)
	return list, s.fail(err)
}

// LastCut implements keys.Receipts.
func (s *Store) LastCut(ctx context.Context, subject tokens.Subject) (position uint64, err error) {
	err = s.read.QueryRowContext(ctx,
		`SELECT seq FROM log WHERE subject = $1 AND kind = 'cut' ORDER BY seq DESC LIMIT 1`, string(subject)).Scan(&position)
	return position, s.fail(err)
}

// raiseSettled moves the mark below which no cut waits for its receipt.
func (s *Store) raiseSettled(ctx context.Context, t time.Time) error {
	open, err := s.Unsettled(ctx, t)
	if err != nil {
		return err
	}
	mark := uint64(math.MaxInt64)
	if len(open) > 0 {
		mark = open[0].Position - 1
	}
	_, err = s.write.ExecContext(ctx,
		`UPDATE feed SET settled = (SELECT COALESCE(MAX(seq), 0) FROM log WHERE at < $1 AND seq <= $2)
		 WHERE one = 1 AND settled < (SELECT COALESCE(MAX(seq), 0) FROM log WHERE at < $1 AND seq <= $2)`, micros(t), mark)
	return s.fail(err)
}

// PutReceipts implements keys.Receipts.
func (s *Store) PutReceipts(ctx context.Context, receipts []keys.Receipt) ([]keys.Receipt, error) {
	var stored []keys.Receipt
	for part := range slices.Chunk(receipts, 500) {
		kept, err := s.putReceipts(ctx, part)
		if err != nil {
			return nil, s.fail(err)
		}
		stored = append(stored, kept...)
	}
	return stored, nil
}

func (s *Store) putReceipts(ctx context.Context, receipts []keys.Receipt) ([]keys.Receipt, error) {
	evidence := make(map[string]string)
	ours := make(map[uint64]keys.Receipt)
	var values []any
	for _, r := range receipts {
		id, members, err := writeMembers(r.Members)
		if err != nil {
			return nil, err
		}
		if id != "" {
			evidence[id] = members
		}
		ours[r.Position] = r
		values = append(values, r.Position, r.Head, string(r.State), micros(r.Latest), micros(r.SettledAt),
			r.Waited.Microseconds(), r.Recovered, r.Confirmed, r.Total, id)
	}
	err := s.unhurried(ctx, func(conn *sql.Conn) error {
		for id, members := range evidence {
			if _, err := conn.ExecContext(ctx,
				`INSERT INTO evidence (id, members) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`, id, members); err != nil {
				return err
			}
		}
		_, err := conn.ExecContext(ctx,
			`INSERT INTO receipts (seq, state, latest, settled_at, waited_us, recovered, confirmed, total, evidence)
			 SELECT l.seq, v.column3, v.column4, v.column5, v.column6, v.column7, v.column8, v.column9, v.column10
			 FROM (VALUES `+places(len(receipts))+`) v JOIN log l ON l.seq = v.column1 AND l.head = v.column2
			 WHERE TRUE
			 ON CONFLICT (seq) DO UPDATE SET state = excluded.state, latest = excluded.latest,
			   settled_at = excluded.settled_at, waited_us = excluded.waited_us, recovered = excluded.recovered,
			   confirmed = excluded.confirmed, total = excluded.total, evidence = excluded.evidence
			 WHERE receipts.state = 'waiting'
			 RETURNING seq`+s.lazily, values...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.readBack(ctx, ours)
}

// receiptTypes are those of the columns that putReceipts fills.
var receiptTypes = []string{"BIGINT", "BIGINT", "TEXT", "BIGINT", "BIGINT", "BIGINT", "BOOLEAN", "BIGINT", "BIGINT", "TEXT"}

// places are n rows of placeholders for receiptTypes.
func places(n int) string {
	var b strings.Builder
	for i := range n * len(receiptTypes) {
		switch {
		case i%len(receiptTypes) != 0:
			b.WriteString(", ")
		case i > 0:
			b.WriteString("), (")
		default:
			b.WriteString("(")
		}
		fmt.Fprintf(&b, "CAST($%d AS %s)", i+1, receiptTypes[i%len(receiptTypes)])
	}
	return b.String() + ")"
}

// readBack returns what is stored at the positions of ours. Members are read again only
// where another server was first.
func (s *Store) readBack(ctx context.Context, ours map[uint64]keys.Receipt) ([]keys.Receipt, error) {
	positions := slices.Sorted(maps.Keys(ours))
	rows, err := s.read.QueryContext(ctx,
		`SELECT `+receiptColumns+` FROM log l JOIN receipts r ON r.seq = l.seq
		 WHERE l.seq IN (`+numbers(positions)+`) ORDER BY l.seq`)
	list, err := collect(rows, err, scanReceipt)
	if err != nil {
		return nil, err
	}
	var kept []keys.Receipt
	for _, stored := range list {
		mine := ours[stored.Position]
		switch {
		case stored.Head != mine.Head:
			continue
		case stored.State == mine.State && stored.SettledAt.Equal(mine.SettledAt):
			stored.Members = mine.Members
		default:
			if stored, err = s.Receipt(ctx, stored.Position); err != nil {
				return nil, err
			}
		}
		kept = append(kept, stored)
	}
	return kept, nil
}

// numbers are positions for an IN list.
func numbers(positions []uint64) string {
	texts := []string{"-1"} // an empty list is no SQL
	for _, p := range positions {
		texts = append(texts, strconv.FormatUint(p, 10))
	}
	return strings.Join(texts, ", ")
}

// unhurried runs f on a connection whose commits do not wait for the disk: the database
// stays whole, and a crash of the machine may lose the newest of them.
func (s *Store) unhurried(ctx context.Context, f func(*sql.Conn) error) error {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if s.relax == "" {
		return f(conn)
	}
	if _, err := conn.ExecContext(ctx, s.relax); err != nil {
		return err
	}
	err = f(conn)
	if _, e := conn.ExecContext(context.WithoutCancel(ctx), s.strict); e != nil {
		conn.Raw(func(any) error { return driver.ErrBadConn }) // nobody uses it again
	}
	return err
}

// A memberRow is a keys.ReceiptMember as evidence has it.
type memberRow struct {
	Session  string `json:"session"`
	Name     string `json:"name"`
	State    string `json:"state"`
	AtUS     int64  `json:"at_us"`
	LeaseUS  int64  `json:"lease_us"`
	AcceptUS int64  `json:"accept_stale_us,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	Via      string `json:"via"`
	Unproved string `json:"unproved,omitempty"`
}

// writeMembers returns members as text, and a hash of it that is their id; both are empty
// for none.
func writeMembers(members []keys.ReceiptMember) (id, text string, err error) {
	if len(members) == 0 {
		return "", "", nil
	}
	rows := make([]memberRow, len(members))
	for i, m := range members {
		rows[i] = memberRow{m.Session.ID, m.Name, string(m.State), micros(m.At), m.Session.Lease.Microseconds(),
			m.Session.AcceptStale.Microseconds(), m.Session.ClientID, m.Session.Via, m.Session.Unproved}
	}
	data, err := json.Marshal(rows)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16]), string(data), err
}

func readMembers(text string) (members []keys.ReceiptMember, err error) {
	if text == "" {
		return nil, nil
	}
	var rows []memberRow
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		return nil, err
	}
	for _, r := range rows {
		session := keys.Session{ID: r.Session, Name: r.Name, ClientID: r.ClientID, Via: r.Via, Unproved: r.Unproved,
			Lease: time.Duration(r.LeaseUS) * time.Microsecond, AcceptStale: time.Duration(r.AcceptUS) * time.Microsecond}
		members = append(members, keys.ReceiptMember{ID: session.PublicID(), Name: r.Name,
			State: keys.ReceiptState(r.State), At: instant(r.AtUS), Session: session})
	}
	return members, nil
}
