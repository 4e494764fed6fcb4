package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/imara/apikeys/keys"
)

// PutResource implements keys.Store.
func (s *Store) PutResource(ctx context.Context, r keys.Resource, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		var id string
		err := tx.QueryRowContext(ctx,
			`INSERT INTO resources (id, audience, name, algorithm, token_ttl, created_at) VALUES ($1, $2, $3, $4, $5, $6)
			 ON CONFLICT (audience) DO UPDATE SET name = excluded.name, algorithm = excluded.algorithm, token_ttl = excluded.token_ttl
			 RETURNING id`,
			r.ID, r.Audience, r.Name, r.Algorithm, r.TokenTTL.Microseconds(), time.Now().UnixMicro()).Scan(&id)
		if err != nil {
			return keys.Commit{}, err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM scopes WHERE resource_id = $1`, id); err != nil {
			return keys.Commit{}, err
		}
		for i, scope := range r.Scopes {
			if _, err := tx.ExecContext(ctx,
				`INSERT INTO scopes (name, resource_id, description, restricted, ordinal) VALUES ($1, $2, $3, $4, $5)`,
				scope.Name, id, scope.Description, scope.Restricted, i); err != nil {
				return keys.Commit{}, err
			}
		}
		return appendEntry(ctx, tx, entry)
	})
}

// Resources implements keys.Store.
func (s *Store) Resources(ctx context.Context) ([]keys.Resource, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT r.id, r.audience, r.name, r.algorithm, r.token_ttl, s.name, s.description, s.restricted
		 FROM resources r LEFT JOIN scopes s ON s.resource_id = r.id
		 ORDER BY r.created_at, r.id, s.ordinal`)
	if err != nil {
		return nil, s.fail(err)
	}
	defer rows.Close()
	var resources []keys.Resource
	for rows.Next() {
		var r keys.Resource
		var ttl int64
		var name, description sql.NullString
		var restricted sql.NullBool
		if err := rows.Scan(&r.ID, &r.Audience, &r.Name, &r.Algorithm, &ttl, &name, &description, &restricted); err != nil {
			return nil, s.fail(err)
		}
		r.TokenTTL = time.Duration(ttl) * time.Microsecond
		if n := len(resources); n == 0 || resources[n-1].ID != r.ID {
			resources = append(resources, r)
		}
		if name.Valid {
			last := &resources[len(resources)-1]
			last.Scopes = append(last.Scopes, keys.Scope{Name: name.String, Description: description.String, Restricted: restricted.Bool})
		}
	}
	return resources, s.fail(rows.Err())
}
