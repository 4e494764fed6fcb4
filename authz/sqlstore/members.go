package sqlstore

import (
	"context"
	"database/sql"

	"github.com/imara/apikeys/keys"
)

// AddMember implements keys.Store.
func (s *Store) AddMember(ctx context.Context, m keys.Member, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		if _, err := organization(ctx, tx, m.OrganizationID, s.lock); err != nil {
			return keys.Commit{}, err
		}
		if err := checkEmail(ctx, tx, m); err != nil {
			return keys.Commit{}, err
		}
		if err := insertMember(ctx, tx, m); err != nil {
			return keys.Commit{}, err
		}
		return appendEntry(ctx, tx, entry)
	})
}

func insertMember(ctx context.Context, tx *sql.Tx, m keys.Member) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO members (id, organization_id, name, email, role, created_at, accepted_at)
		 VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		m.ID, m.OrganizationID, m.Name, m.Email, string(m.Role), micros(m.CreatedAt), micros(m.AcceptedAt))
	return err
}

func checkEmail(ctx context.Context, q querier, m keys.Member) error {
	var others int
	err := q.QueryRowContext(ctx, `SELECT COUNT(*) FROM members WHERE organization_id = $1 AND email = $2 AND removed_at = 0 AND id <> $3`,
		m.OrganizationID, m.Email, m.ID).Scan(&others)
	if err == nil && others > 0 {
		err = keys.ErrExists
	}
	return err
}

// Members implements keys.Store.
func (s *Store) Members(ctx context.Context, organizationID string) ([]keys.Member, error) {
	list, err := members(ctx, s.read, organizationID)
	return list, s.fail(err)
}

// Member implements keys.Store.
func (s *Store) Member(ctx context.Context, id string) (keys.Member, error) {
	list, err := selectMembers(ctx, s.read, `id = $1`, id)
	if err == nil && len(list) == 0 {
		return keys.Member{}, keys.ErrNotFound
	}
	if err != nil {
		return keys.Member{}, s.fail(err)
	}
	return list[0], nil
}

func members(ctx context.Context, q querier, organizationID string) ([]keys.Member, error) {
	return selectMembers(ctx, q, `organization_id = $1`, organizationID)
}

func selectMembers(ctx context.Context, q querier, where string, argument any) ([]keys.Member, error) {
	rows, err := q.QueryContext(ctx,
		`SELECT id, organization_id, name, email, role, created_at, accepted_at, removed_at
		 FROM members WHERE `+where+` ORDER BY created_at, id`, argument)
	return collect(rows, err, func(rows *sql.Rows) (m keys.Member, err error) {
		var created, accepted, removed int64
		err = rows.Scan(&m.ID, &m.OrganizationID, &m.Name, &m.Email, &m.Role, &created, &accepted, &removed)
		m.CreatedAt, m.AcceptedAt, m.RemovedAt = instant(created), instant(accepted), instant(removed)
		return m, inRow("members", m.ID, err)
	})
}

// ChangeMember implements keys.Store.
func (s *Store) ChangeMember(ctx context.Context, organizationID, id string, change keys.ChangeMember) (m keys.Member, commit keys.Commit, err error) {
	commit, err = s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		o, err := organization(ctx, tx, organizationID, s.lock)
		if err != nil {
			return keys.Commit{}, err
		}
		all, err := members(ctx, tx, organizationID)
		if err != nil {
			return keys.Commit{}, err
		}
		m = keys.Member{}
		for _, one := range all {
			if one.ID == id {
				m = one
			}
		}
		if m.ID == "" {
			return keys.Commit{}, keys.ErrNotFound
		}
		var owned int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM keys WHERE owner_id = $1 AND revoked_at = 0`, id).Scan(&owned); err != nil {
			return keys.Commit{}, err
		}
		entry, err := change(o, all, owned, &m)
		if err != nil {
			return keys.Commit{}, err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE members SET name = $2, role = $3, accepted_at = $4, removed_at = $5 WHERE id = $1`,
			id, m.Name, string(m.Role), micros(m.AcceptedAt), micros(m.RemovedAt)); err != nil {
			return keys.Commit{}, err
		}
		if !m.RemovedAt.IsZero() && m.Heir != "" {
			for _, statement := range []string{`UPDATE keys SET requested_by = $2 WHERE requested_by = $1 AND revoked_at = 0`, `UPDATE keys SET owner_id = $2 WHERE owner_id = $1 AND revoked_at = 0`} {
				if _, err := tx.ExecContext(ctx, statement, id, m.Heir); err != nil {
					return keys.Commit{}, err
				}
			}
		}
		return appendEntry(ctx, tx, entry)
	})
	return m, commit, err
}
