package sqlstore

import (
	"context"
	"database/sql"

	"github.com/imara/apikeys/keys"
)

// CreateOrganization implements keys.Store.
func (s *Store) CreateOrganization(ctx context.Context, o keys.Organization) error {
	_, err := s.write.ExecContext(ctx,
		`INSERT INTO organizations (id, name, plan, custom_limit, operator, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		o.ID, o.Name, o.Plan, o.CustomLimit, o.Operator, micros(o.CreatedAt))
	return s.fail(err)
}

// Organization implements keys.Store.
func (s *Store) Organization(ctx context.Context, id string) (keys.Organization, error) {
	o, err := organization(ctx, s.read, id, "")
	return o, s.fail(err)
}

// organization reads one; lock holds it until the transaction ends.
func organization(ctx context.Context, q querier, id, lock string) (o keys.Organization, err error) {
	var created int64
	err = q.QueryRowContext(ctx,
		`SELECT id, name, plan, custom_limit, operator, created_at FROM organizations WHERE id = $1`+lock, id).
		Scan(&o.ID, &o.Name, &o.Plan, &o.CustomLimit, &o.Operator, &created)
	o.CreatedAt = instant(created)
	return o, err
}

// ChangeOrganization implements keys.Store.
func (s *Store) ChangeOrganization(ctx context.Context, id string, change func(*keys.Organization) (keys.Entry, error)) (o keys.Organization, commit keys.Commit, err error) {
	commit, err = s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		if o, err = organization(ctx, tx, id, s.lock); err != nil {
			return keys.Commit{}, err
		}
		entry, err := change(&o)
		if err != nil {
			return keys.Commit{}, err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE organizations SET name = $2, plan = $3, custom_limit = $4 WHERE id = $1`,
			o.ID, o.Name, o.Plan, o.CustomLimit); err != nil {
			return keys.Commit{}, err
		}
		return appendEntry(ctx, tx, entry)
	})
	return o, commit, err
}

// AddMember implements keys.Store.
func (s *Store) AddMember(ctx context.Context, m keys.Member) error {
	_, err := s.write.ExecContext(ctx,
		`INSERT INTO members (id, organization_id, name, email, role, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		m.ID, m.OrganizationID, m.Name, m.Email, string(m.Role), micros(m.CreatedAt))
	return s.fail(err)
}

// Members implements keys.Store.
func (s *Store) Members(ctx context.Context, organizationID string) ([]keys.Member, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT id, organization_id, name, email, role, created_at FROM members WHERE organization_id = $1 ORDER BY created_at, id`,
		organizationID)
	members, err := collect(rows, err, func(rows *sql.Rows) (m keys.Member, err error) {
		var created int64
		err = rows.Scan(&m.ID, &m.OrganizationID, &m.Name, &m.Email, &m.Role, &created)
		m.CreatedAt = instant(created)
		return m, err
	})
	return members, s.fail(err)
}
