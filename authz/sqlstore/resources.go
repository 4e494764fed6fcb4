package sqlstore

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// PutResource implements keys.Store.
func (s *Store) PutResource(ctx context.Context, r keys.Resource, entry keys.Entry, agree func([]keys.KeyUse) error) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		users, err := s.users(ctx, tx, r.Audience)
		if err == nil {
			err = agree(users)
		}
		if err != nil {
			return keys.Commit{}, err
		}
		var id string
		err = tx.QueryRowContext(ctx,
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
				`INSERT INTO scopes (name, resource_id, description, restricted, ordinal, heading, level, granted_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
				scope.Name, id, scope.Description, scope.Restricted, i, scope.Group, scope.Level, string(scope.GrantedBy)); err != nil {
				return keys.Commit{}, err
			}
		}
		return appendEntry(ctx, tx, entry)
	})
}

// RemoveResource implements keys.Store.
func (s *Store) RemoveResource(ctx context.Context, id string, entry keys.Entry, agree func([]keys.KeyUse) error) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		var audience string
		if err := tx.QueryRowContext(ctx, `SELECT audience FROM resources WHERE id = $1`+s.lock, id).Scan(&audience); err != nil {
			return keys.Commit{}, err
		}
		users, err := s.users(ctx, tx, audience)
		if err == nil {
			err = agree(users)
		}
		if err != nil {
			return keys.Commit{}, err
		}
		for _, statement := range []string{`DELETE FROM scopes WHERE resource_id = $1`, `DELETE FROM resources WHERE id = $1`} {
			if _, err := tx.ExecContext(ctx, statement, id); err != nil {
				return keys.Commit{}, err
			}
		}
		return appendEntry(ctx, tx, entry)
	})
}

// users are the keys that are not revoked and may call an audience.
func (s *Store) users(ctx context.Context, tx *sql.Tx, audience string) (list []keys.KeyUse, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, organization_id, scopes FROM keys
		 WHERE revoked_at = 0 AND `+holds(`' ' || resources || ' '`, `$1`)+` ORDER BY id`, " "+audience+" ")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var k keys.KeyUse
		var scopes string
		if err := rows.Scan(&k.ID, &k.OrganizationID, &scopes); err != nil {
			return nil, err
		}
		k.Scopes = strings.Fields(scopes)
		list = append(list, k)
	}
	return list, rows.Err()
}

// PutPreset implements keys.Store.
func (s *Store) PutPreset(ctx context.Context, p keys.Preset, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		if _, err := tx.ExecContext(ctx, `INSERT INTO presets (id, name, description, scopes) VALUES ($1, $2, $3, $4)
			 ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description, scopes = excluded.scopes`,
			p.ID, p.Name, p.Description, words(p.Scopes)); err != nil {
			return keys.Commit{}, err
		}
		return appendEntry(ctx, tx, entry)
	})
}

// RemovePreset implements keys.Store.
func (s *Store) RemovePreset(ctx context.Context, id string, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		if err := tx.QueryRowContext(ctx, `DELETE FROM presets WHERE id = $1 RETURNING id`, id).Scan(&id); err != nil {
			return keys.Commit{}, err
		}
		return appendEntry(ctx, tx, entry)
	})
}

// Presets implements keys.Store.
func (s *Store) Presets(ctx context.Context) ([]keys.Preset, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id, name, description, scopes FROM presets ORDER BY name, id`)
	list, err := collect(rows, err, func(rows *sql.Rows) (p keys.Preset, err error) {
		var scopes string
		err = rows.Scan(&p.ID, &p.Name, &p.Description, &scopes)
		p.Scopes = strings.Fields(scopes)
		return p, inRow("presets", p.ID, err)
	}, s.damaged.met)
	return list, s.fail(err)
}

// Resources implements keys.Store.
func (s *Store) Resources(ctx context.Context) ([]keys.Resource, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT r.id, r.audience, r.name, r.algorithm, r.token_ttl, s.name, s.description, s.restricted, s.heading, s.level, s.granted_by
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
		var name, description, heading, level, grantedBy sql.NullString
		var restricted sql.NullBool
		err := rows.Scan(&r.ID, &r.Audience, &r.Name, &r.Algorithm, &ttl, &name, &description, &restricted, &heading, &level, &grantedBy)
		// A scope that cannot be read is one that nobody can be granted.
		if s.damaged.met(inRow("resources, scopes", r.ID+" "+name.String, err)) {
			continue
		}
		r.TokenTTL = time.Duration(ttl) * time.Microsecond
		if n := len(resources); n == 0 || resources[n-1].ID != r.ID {
			resources = append(resources, r)
		}
		if name.Valid {
			last := &resources[len(resources)-1]
			last.Scopes = append(last.Scopes, keys.Scope{Name: name.String, Description: description.String, Restricted: restricted.Bool,
				Group: heading.String, Level: level.String, GrantedBy: keys.Role(grantedBy.String)})
		}
	}
	return resources, s.fail(rows.Err())
}
