package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// AddUsage implements keys.Store. Rows are written in one order everywhere: two
// servers that flush at once wait, and do not deadlock.
func (s *Store) AddUsage(ctx context.Context, u keys.Usage) error {
	if len(u.Credentials)+len(u.Scopes)+len(u.Counts)+len(u.Attempts) == 0 {
		return nil
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.fail(err)
	}
	defer tx.Rollback()
	for _, id := range slices.Sorted(maps.Keys(u.Credentials)) {
		if _, err := tx.ExecContext(ctx,
			`UPDATE credentials SET last_used_at = $2, last_used_from = $3, first_used_at = CASE WHEN first_used_at = 0 THEN $2 ELSE first_used_at END
			 WHERE id = $1 AND last_used_at < $2`, id, micros(u.Credentials[id].At), u.Credentials[id].From); err != nil {
			return s.fail(err)
		}
	}
	for _, use := range slices.SortedFunc(maps.Keys(u.Scopes), func(a, b keys.ScopeUse) int {
		return cmp.Or(strings.Compare(a.KeyID, b.KeyID), strings.Compare(a.Scope, b.Scope))
	}) {
		if _, err := tx.ExecContext(ctx,
			`INSERT INTO scope_uses (key_id, scope, last_at) SELECT id, $2, $3 FROM keys WHERE id = $1
			 ON CONFLICT (key_id, scope) DO UPDATE SET last_at = excluded.last_at WHERE scope_uses.last_at < excluded.last_at`,
			use.KeyID, use.Scope, micros(u.Scopes[use])); err != nil {
			return s.fail(err)
		}
	}
	for _, t := range slices.SortedFunc(maps.Keys(u.Counts), func(a, b keys.Tally) int {
		return cmp.Or(strings.Compare(a.KeyID, b.KeyID), a.Hour.Compare(b.Hour), cmp.Compare(a.Outcome, b.Outcome))
	}) {
		if _, err := tx.ExecContext(ctx,
			`INSERT INTO usage_counts (key_id, hour, outcome, count) SELECT id, $2, $3, $4 FROM keys WHERE id = $1
			 ON CONFLICT (key_id, hour, outcome) DO UPDATE SET count = usage_counts.count + excluded.count`,
			t.KeyID, micros(t.Hour), string(t.Outcome), u.Counts[t]); err != nil {
			return s.fail(err)
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(u.Attempts), func(a, b keys.Attempt) int {
		return cmp.Or(strings.Compare(a.KeyID, b.KeyID), cmp.Compare(a.Outcome, b.Outcome), strings.Compare(a.Address, b.Address))
	}) {
		tries := u.Attempts[a]
		if _, err := tx.ExecContext(ctx,
			`INSERT INTO attempts (key_id, outcome, address, count, last_at) SELECT id, $2, $3, $4, $5 FROM keys WHERE id = $1
			 ON CONFLICT (key_id, outcome, address) DO UPDATE SET count = attempts.count + excluded.count,
			   last_at = CASE WHEN attempts.last_at < excluded.last_at THEN excluded.last_at ELSE attempts.last_at END`,
			a.KeyID, string(a.Outcome), a.Address, tries.Count, micros(tries.Last)); err != nil {
			return s.fail(err)
		}
		// Of a key that strangers try, the newest are enough.
		if _, err := tx.ExecContext(ctx,
			`DELETE FROM attempts WHERE key_id = $1 AND last_at < COALESCE((SELECT last_at FROM attempts WHERE key_id = $1 ORDER BY last_at DESC LIMIT 1 OFFSET 199), 0)`,
			a.KeyID); err != nil {
			return s.fail(err)
		}
	}
	return s.fail(tx.Commit())
}

// PruneUsage implements keys.Store.
func (s *Store) PruneUsage(ctx context.Context, counts, attempts time.Time) error {
	if _, err := s.write.ExecContext(ctx, `DELETE FROM usage_counts WHERE hour < $1`, micros(counts)); err != nil {
		return s.fail(err)
	}
	if _, err := s.write.ExecContext(ctx, `DELETE FROM attempts WHERE last_at < $1`, micros(attempts)); err != nil {
		return s.fail(err)
	}
	_, err := s.write.ExecContext(ctx, `DELETE FROM deliveries WHERE state <> 'pending' AND tried_at < $1`, micros(attempts))
	return s.fail(err)
}

// Usage implements keys.Store.
func (s *Store) Usage(ctx context.Context, organizationID, keyID string, since time.Time, by time.Duration) ([]keys.UsageRow, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT u.key_id, u.hour / $4 * $4 AS begun, u.outcome, CAST(SUM(u.count) AS BIGINT) FROM usage_counts u JOIN keys k ON k.id = u.key_id
		 WHERE k.organization_id = $1 AND ($2 = '' OR k.id = $2) AND u.hour >= $3 GROUP BY u.key_id, begun, u.outcome ORDER BY begun, u.key_id, u.outcome`,
		organizationID, keyID, micros(since), by.Microseconds())
	list, err := collect(rows, err, func(rows *sql.Rows) (row keys.UsageRow, err error) {
		var hour int64
		err = rows.Scan(&row.KeyID, &hour, &row.Outcome, &row.Count)
		row.Hour = instant(hour)
		return row, err
	})
	return list, s.fail(err)
}

// Attempts implements keys.Store.
func (s *Store) Attempts(ctx context.Context, organizationID, keyID string) ([]keys.AttemptRow, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT a.key_id, a.outcome, a.address, a.count, a.last_at FROM attempts a JOIN keys k ON k.id = a.key_id
		 WHERE k.organization_id = $1 AND k.id = $2 ORDER BY a.last_at DESC, a.address LIMIT 100`, organizationID, keyID)
	list, err := collect(rows, err, func(rows *sql.Rows) (row keys.AttemptRow, err error) {
		var last int64
		err = rows.Scan(&row.KeyID, &row.Outcome, &row.Address, &row.Count, &last)
		row.Last = instant(last)
		return row, err
	})
	return list, s.fail(err)
}

// ScopeUses implements keys.Store.
func (s *Store) ScopeUses(ctx context.Context, organizationID string) (map[keys.ScopeUse]time.Time, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT u.key_id, u.scope, u.last_at FROM scope_uses u JOIN keys k ON k.id = u.key_id WHERE k.organization_id = $1`, organizationID)
	uses := map[keys.ScopeUse]time.Time{}
	_, err = collect(rows, err, func(rows *sql.Rows) (use keys.ScopeUse, err error) {
		var last int64
		err = rows.Scan(&use.KeyID, &use.Scope, &last)
		uses[use] = instant(last)
		return use, err
	})
	return uses, s.fail(err)
}
