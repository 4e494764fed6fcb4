package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/imara/apikeys/keys"
)

// CreateOrganization implements keys.Store.
func (s *Store) CreateOrganization(ctx context.Context, o keys.Organization, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		if err := insertOrganization(ctx, tx, o); err != nil {
			return keys.Commit{}, err
		}
		return appendEntry(ctx, tx, entry)
	})
}

func insertOrganization(ctx context.Context, tx *sql.Tx, o keys.Organization) error {
	limit, settings, err := packSettings(&o)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx,
		`INSERT INTO organizations (id, name, plan, custom_limit, operator, created_at, settings) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		o.ID, o.Name, o.Plan, limit, o.Operator, micros(o.CreatedAt), settings)
	return err
}

// Organization implements keys.Store.
func (s *Store) Organization(ctx context.Context, id string) (keys.Organization, error) {
	o, err := organization(ctx, s.read, id, "")
	return o, s.fail(err)
}

// Organizations implements keys.Store.
func (s *Store) Organizations(ctx context.Context, after string, limit int) ([]keys.Organization, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+organizationColumns+` FROM organizations o WHERE o.id > $1 ORDER BY o.id LIMIT $2`, after, limit)
	list, err := collect(rows, err, func(rows *sql.Rows) (keys.Organization, error) {
		o, err := scanOrganization(rows)
		if s.damaged.met(err) {
			return keys.Organization{ID: o.ID, Name: o.Name, Plan: o.Plan, Damaged: true}, nil
		}
		return o, err
	})
	return list, s.fail(err)
}

// organization reads one; lock holds it until the transaction ends.
func organization(ctx context.Context, q querier, id, lock string) (keys.Organization, error) {
	rows, err := q.QueryContext(ctx, `SELECT `+organizationColumns+` FROM organizations o WHERE o.id = $1`+lock, id)
	list, err := collect(rows, err, scanOrganization)
	if err == nil && len(list) == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return keys.Organization{}, err
	}
	return list[0], nil
}

// scanOrganization returns of a row that cannot be read what can.
func scanOrganization(rows *sql.Rows) (keys.Organization, error) {
	var o organizationRow
	if err := rows.Scan(o.columns()...); err != nil {
		return o.Organization, inRow("organizations", o.ID, err)
	}
	return o.organization()
}

const organizationColumns = `o.id, o.name, o.plan, o.custom_limit, o.operator, o.created_at, o.settings`

type organizationRow struct {
	keys.Organization
	limit    *int
	created  int64
	settings string
}

func (o *organizationRow) columns() []any {
	return []any{&o.ID, &o.Name, &o.Plan, &o.limit, &o.Operator, &o.created, &o.settings}
}

// settings is the JSON of what no query asks for. MaxKeys of the custom limit is in
// a column of its own.
type settings struct {
	CustomLimit  *keys.CustomLimit  `json:",omitempty"`
	LimitRequest *keys.LimitRequest `json:",omitempty"`
	MaxLifetime  time.Duration      `json:",omitempty"`
	Networks     []netip.Prefix     `json:",omitempty"`
	Approval     bool               `json:",omitempty"`
	Creators     []keys.Role        `json:",omitempty"`
	KeepLeaked   bool               `json:",omitempty"`
}

func packSettings(o *keys.Organization) (limit *int, text string, err error) {
	p := o.Policy
	data, err := json.Marshal(settings{o.CustomLimit, o.LimitRequest, p.MaxLifetime, p.Networks, p.Approval, p.Creators, p.KeepLeaked})
	if o.CustomLimit != nil {
		limit = &o.CustomLimit.MaxKeys
	}
	return limit, string(data), err
}

func (o *organizationRow) organization() (keys.Organization, error) {
	var s settings
	if err := json.Unmarshal([]byte(o.settings), &s); err != nil {
		return o.Organization, inRow("organizations", o.ID, err)
	}
	o.CreatedAt, o.LimitRequest = instant(o.created), s.LimitRequest
	o.Policy = keys.Policy{MaxLifetime: s.MaxLifetime, Networks: s.Networks, Approval: s.Approval, Creators: s.Creators, KeepLeaked: s.KeepLeaked}
	if o.limit != nil {
		o.CustomLimit = &keys.CustomLimit{}
		if s.CustomLimit != nil {
			o.CustomLimit = s.CustomLimit
		}
		o.CustomLimit.MaxKeys = *o.limit
	}
	return o.Organization, nil
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
		limit, settings, err := packSettings(&o)
		if err != nil {
			return keys.Commit{}, err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE organizations SET name = $2, plan = $3, custom_limit = $4, settings = $5 WHERE id = $1`,
			o.ID, o.Name, o.Plan, limit, settings); err != nil {
			return keys.Commit{}, err
		}
		return appendEntry(ctx, tx, entry)
	})
	return o, commit, err
}
