package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"time"

	"github.com/imara/apikeys/keys"
)

// deliver stores a delivery for each webhook that wants an entry.
func deliver(ctx context.Context, tx *sql.Tx, e keys.Entry, position uint64, t time.Time) error {
	for _, kind := range e.Types() {
		// The id need not be random: it begins with what is, and is the webhook's own.
		if _, err := tx.ExecContext(ctx,
			`INSERT INTO deliveries (id, webhook_id, seq, type, state, attempts, next_at, tried_at, status, error)
			 SELECT $1 || '_' || id, id, $2, $3, 'pending', 0, $4, 0, 0, '' FROM webhooks
			 WHERE organization_id = $5 AND (events = '' OR `+holds(`' ' || events || ' '`, `' ' || CAST($3 AS TEXT) || ' '`)+`)
			   AND ($3 <> $6 OR id = $7) AND (SELECT COUNT(*) FROM deliveries p WHERE p.webhook_id = webhooks.id AND p.state = 'pending') < $8`,
			"msg_"+rand.Text(), position, kind, micros(t), e.OrganizationID, keys.TestType, e.Target, keys.MaxPending); err != nil {
			return err
		}
	}
	return nil
}

// AddWebhook implements keys.Store.
func (s *Store) AddWebhook(ctx context.Context, w keys.Webhook, entry keys.Entry, admit func(int) error) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		if _, err := organization(ctx, tx, w.OrganizationID, s.lock); err != nil {
			return keys.Commit{}, err
		}
		var others int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM webhooks WHERE organization_id = $1`, w.OrganizationID).Scan(&others); err != nil {
			return keys.Commit{}, err
		}
		if err := admit(others); err != nil {
			return keys.Commit{}, err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO webhooks (id, organization_id, url, events, created_at) VALUES ($1, $2, $3, $4, $5)`,
			w.ID, w.OrganizationID, w.URL, words(w.Events), micros(w.CreatedAt)); err != nil {
			return keys.Commit{}, err
		}
		return appendEntry(ctx, tx, entry)
	})
}

const webhookColumns = `w.id, w.organization_id, w.url, w.events, w.created_at`

// webhookRow scans webhookColumns.
type webhookRow struct {
	keys.Webhook
	events  string
	created int64
}

func (w *webhookRow) columns() []any {
	return []any{&w.ID, &w.OrganizationID, &w.URL, &w.events, &w.created}
}

func (w *webhookRow) webhook() keys.Webhook {
	w.Events, w.CreatedAt = fields(w.events), instant(w.created)
	return w.Webhook
}

// Webhooks implements keys.Store.
func (s *Store) Webhooks(ctx context.Context, organizationID string) ([]keys.Webhook, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+webhookColumns+` FROM webhooks w WHERE w.organization_id = $1 ORDER BY w.created_at, w.id`, organizationID)
	list, err := collect(rows, err, func(rows *sql.Rows) (keys.Webhook, error) {
		var w webhookRow
		err := rows.Scan(w.columns()...)
		return w.webhook(), inRow("webhooks", w.ID, err)
	})
	return list, s.fail(err)
}

// RemoveWebhook implements keys.Store.
func (s *Store) RemoveWebhook(ctx context.Context, organizationID, id string, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		// The log first: every other change locks it before it locks webhooks.
		commit, err := appendEntry(ctx, tx, entry)
		if err != nil {
			return keys.Commit{}, err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM deliveries WHERE webhook_id = (SELECT id FROM webhooks WHERE id = $1 AND organization_id = $2)`, id, organizationID); err != nil {
			return keys.Commit{}, err
		}
		err = tx.QueryRowContext(ctx, `DELETE FROM webhooks WHERE id = $1 AND organization_id = $2 RETURNING id`, id, organizationID).Scan(&id)
		return commit, err
	})
}

// selectDeliveries begins every query for deliveries, as d.
const selectDeliveries = `SELECT d.id, d.type, d.state, d.attempts, d.next_at, d.tried_at, d.status, d.error, ` + webhookColumns + `, ` + eventColumns + `
	FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id JOIN log l ON l.seq = d.seq LEFT JOIN receipts r ON r.seq = l.seq `

func scanDelivery(rows *sql.Rows) (d keys.Delivery, err error) {
	var next, tried int64
	var w webhookRow
	columns := append([]any{&d.ID, &d.Type, &d.State, &d.Attempts, &next, &tried, &d.Status, &d.Error}, w.columns()...)
	d.Event, err = scanEvent(rows, columns...)
	d.NextAt, d.TriedAt, d.Webhook = instant(next), instant(tried), w.webhook()
	return d, err
}

// DueDeliveries implements keys.Store.
func (s *Store) DueDeliveries(ctx context.Context, t, next time.Time, limit int, busy []string) ([]keys.Delivery, error) {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return nil, s.fail(err)
	}
	defer tx.Rollback()
	// The condition stands twice: whoever waits for another's claim looks again.
	rows, err := tx.QueryContext(ctx,
		`UPDATE deliveries SET next_at = $2 WHERE state = 'pending' AND next_at <= $1
		   AND id IN (SELECT id FROM (
		         SELECT d.id, d.next_at, ROW_NUMBER() OVER (PARTITION BY w.organization_id ORDER BY d.next_at, d.id) AS turn
		         FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
		         WHERE d.state = 'pending' AND d.next_at <= $1 AND `+lacks(`CAST($4 AS TEXT)`, `' ' || w.organization_id || ' '`)+`) due
		       WHERE turn = 1 ORDER BY next_at LIMIT $3) RETURNING id`,
		micros(t), micros(next), limit, " "+words(busy)+" ")
	ids, err := collect(rows, err, func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) })
	if err != nil {
		return nil, s.fail(err)
	}
	var list []keys.Delivery
	for _, id := range ids {
		rows, err := tx.QueryContext(ctx, selectDeliveries+`WHERE d.id = $1`, id)
		one, err := collect(rows, err, scanDelivery, s.damaged.met)
		if err != nil {
			return nil, s.fail(err)
		}
		list = append(list, one...)
	}
	return list, s.fail(tx.Commit())
}

// Delivered implements keys.Store.
func (s *Store) Delivered(ctx context.Context, d keys.Delivery) error {
	_, err := s.write.ExecContext(ctx,
		`UPDATE deliveries SET state = $2, attempts = $3, next_at = $4, tried_at = $5, status = $6, error = $7 WHERE id = $1`,
		d.ID, string(d.State), d.Attempts, micros(d.NextAt), micros(d.TriedAt), d.Status, d.Error)
	return s.fail(err)
}

// Deliveries implements keys.Store.
func (s *Store) Deliveries(ctx context.Context, webhookID, before string, limit int) ([]keys.Delivery, error) {
	rows, err := s.read.QueryContext(ctx, selectDeliveries+`
		WHERE d.webhook_id = $1 AND ($2 = '' OR (d.seq, d.id) < (SELECT b.seq, b.id FROM deliveries b WHERE b.id = $2))
		ORDER BY d.seq DESC, d.id DESC LIMIT $3`, webhookID, before, limit)
	list, err := collect(rows, err, scanDelivery)
	return list, s.fail(err)
}

// Redeliver implements keys.Store.
func (s *Store) Redeliver(ctx context.Context, webhookID, id string, t time.Time) error {
	err := s.write.QueryRowContext(ctx, `UPDATE deliveries SET state = 'pending', attempts = 0, next_at = $3 WHERE id = $1 AND webhook_id = $2 RETURNING id`,
		id, webhookID, micros(t)).Scan(&id)
	return s.fail(err)
}

// Ending implements keys.Store.
func (s *Store) Ending(ctx context.Context, after, until time.Time) ([]keys.Key, error) {
	rows, err := s.read.QueryContext(ctx, selectKeys+`
		FROM keys k LEFT JOIN credentials c ON c.id = ''
		WHERE k.revoked_at = 0 AND k.expires_at > 0 AND k.expires_at > $1 AND k.expires_at <= $2 ORDER BY k.expires_at, k.id LIMIT 1000`, micros(after), micros(until))
	list, err := collectKeys(rows, err, s.damaged.met)
	return list, s.fail(err)
}
