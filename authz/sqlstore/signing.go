package sqlstore

import (
	"context"
	"database/sql"

	"github.com/imara/apikeys/tokens/signing"
)

// SigningKeys implements signing.Store.
func (s *Store) SigningKeys(ctx context.Context) ([]signing.Sealed, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id, issuer, algorithm, replaces, created_at, active_at, box FROM signing_keys`)
	sealed, err := collect(rows, err, func(rows *sql.Rows) (k signing.Sealed, err error) {
		var created, active int64
		err = rows.Scan(&k.ID, &k.Issuer, &k.Algorithm, &k.Replaces, &created, &active, &k.Box)
		k.CreatedAt, k.ActiveAt = instant(created), instant(active)
		return k, err
	})
	return sealed, s.fail(err)
}

// AddSigningKey implements signing.Store.
func (s *Store) AddSigningKey(ctx context.Context, k signing.Sealed) error {
	_, err := s.write.ExecContext(ctx,
		`INSERT INTO signing_keys (id, issuer, algorithm, replaces, created_at, active_at, box) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		k.ID, k.Issuer, k.Algorithm, k.Replaces, micros(k.CreatedAt), micros(k.ActiveAt), k.Box)
	return s.fail(err)
}
