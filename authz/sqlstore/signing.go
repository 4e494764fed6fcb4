package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// terminalCut is the position of the terminal cut of a subject, or nothing. There are
// few, and an index of them.
const terminalCut = `SELECT MIN(seq) FROM log WHERE terminal AND subject = `

// SigningKeys implements keys.Store.
func (s *Store) SigningKeys(ctx context.Context) ([]keys.SigningKey, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT k.id, k.issuer, k.algorithm, k.replaces, k.created_at, k.active_at, k.box,
		        COALESCE((`+terminalCut+`'k:' || k.id), 0) FROM signing_keys k`)
	list, err := collect(rows, err, func(rows *sql.Rows) (k keys.SigningKey, err error) {
		var created, active int64
		err = rows.Scan(&k.ID, &k.Issuer, &k.Algorithm, &k.Replaces, &created, &active, &k.Box, &k.Withdrawn)
		err = inRow("signing_keys", k.ID, err)
		k.CreatedAt, k.ActiveAt = instant(created), instant(active)
		return k, err
	})
	return list, s.fail(err)
}

// ChangeSigningKeys implements keys.Store.
func (s *Store) ChangeSigningKeys(ctx context.Context, c keys.SigningChange, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		if entry.Terminal {
			if err := s.notCut(ctx, tx, c.ID); err != nil {
				return keys.Commit{}, err
			}
		}
		if c.Activate != "" {
			result, err := tx.ExecContext(ctx,
				`UPDATE signing_keys SET active_at = $2 WHERE id = $1 AND active_at > $2`, c.Activate, micros(c.At))
			if err != nil {
				return keys.Commit{}, err
			}
			if n, err := result.RowsAffected(); err != nil || n == 0 {
				return keys.Commit{}, errors.Join(err, keys.ErrExists)
			}
		}
		if k := c.New; k != nil {
			_, err := tx.ExecContext(ctx,
				`INSERT INTO signing_keys (id, issuer, algorithm, replaces, created_at, active_at, box)
				 VALUES ($1, $2, $3, $4, $5, $6, $7)`,
				k.ID, k.Issuer, k.Algorithm, k.Replaces, micros(k.CreatedAt), micros(k.ActiveAt), k.Box)
			if err != nil {
				return keys.Commit{}, err
			}
		}
		return appendEntry(ctx, tx, entry)
	})
}

// notCut holds a signing key until the commit, and returns [keys.ErrExists] when it was
// withdrawn before.
func (s *Store) notCut(ctx context.Context, tx *sql.Tx, kid string) error {
	if err := tx.QueryRowContext(ctx, `SELECT id FROM signing_keys WHERE id = $1`+s.lock, kid).Scan(&kid); err != nil {
		return err
	}
	var cut sql.NullInt64
	err := tx.QueryRowContext(ctx, terminalCut+`$1`, string(tokens.SigningKey(kid))).Scan(&cut)
	if err == nil && cut.Valid {
		err = keys.ErrExists
	}
	return err
}
