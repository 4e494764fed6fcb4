package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/imara/apikeys/keys"
)

// Memberships implements keys.Store.
func (s *Store) Memberships(ctx context.Context, email string) ([]keys.Member, error) {
	list, err := selectMembers(ctx, s.read, `email = $1 AND removed_at = 0`, email)
	return list, s.fail(err)
}

// Account implements keys.Store.
func (s *Store) Account(ctx context.Context, email string) (keys.Account, error) {
	a := keys.Account{Email: email}
	err := s.read.QueryRowContext(ctx, `SELECT password, issuer, subject FROM accounts WHERE email = $1`, email).
		Scan(&a.Password, &a.Issuer, &a.Subject)
	if err != nil {
		return keys.Account{}, s.fail(err)
	}
	return a, nil
}

// AddLink implements keys.Store.
func (s *Store) AddLink(ctx context.Context, l keys.Link, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		if _, err := tx.ExecContext(ctx, `DELETE FROM links WHERE expires_at <= $1`, micros(l.CreatedAt)); err != nil {
			return keys.Commit{}, err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO links (hash, email, organization_id, opens, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6)`,
			l.Hash, l.Email, l.OrganizationID, words(l.Opens), micros(l.CreatedAt), micros(l.ExpiresAt)); err != nil {
			return keys.Commit{}, err
		}
		return appendEntry(ctx, tx, entry)
	})
}

// Link implements keys.Store.
func (s *Store) Link(ctx context.Context, hash []byte) (keys.Link, error) {
	l := keys.Link{Hash: hash}
	var created, expires int64
	var opens string
	err := s.read.QueryRowContext(ctx,
		`SELECT email, organization_id, opens, created_at, expires_at FROM links WHERE hash = $1`, hash).
		Scan(&l.Email, &l.OrganizationID, &opens, &created, &expires)
	if err != nil {
		return keys.Link{}, s.fail(err)
	}
	l.Opens = fields(opens)
	l.CreatedAt, l.ExpiresAt = instant(created), instant(expires)
	return l, nil
}

// UseLink implements keys.Store. It holds every link of the address, in one order, so
// that of several that are used at once, the first to come ends the others.
func (s *Store) UseLink(ctx context.Context, hash []byte, a keys.Account, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		if err := s.claim(ctx, tx, hash, a.Email); err != nil {
			return keys.Commit{}, err
		}
		if err := putAccount(ctx, tx, a); err != nil {
			return keys.Commit{}, err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM web_sessions WHERE email = $1`, a.Email); err != nil {
			return keys.Commit{}, err
		}
		return appendEntry(ctx, tx, entry)
	})
}

// claim removes the links of an address, of which one must have hash.
func (s *Store) claim(ctx context.Context, tx *sql.Tx, hash []byte, email string) error {
	rows, err := tx.QueryContext(ctx, `SELECT hash FROM links WHERE email = $1 ORDER BY hash`+s.lock, email)
	links, err := collect(rows, err, func(rows *sql.Rows) (h []byte, err error) { return h, rows.Scan(&h) })
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(links, func(h []byte) bool { return bytes.Equal(h, hash) }) {
		return keys.ErrNotFound
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM links WHERE email = $1`, email)
	return err
}

func putAccount(ctx context.Context, tx *sql.Tx, a keys.Account) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO accounts (email, password) VALUES ($1, $2) ON CONFLICT (email) DO UPDATE SET password = excluded.password`,
		a.Email, a.Password)
	return err
}

// Found implements keys.Store.
func (s *Store) Found(ctx context.Context, hash []byte, b keys.Beginning, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		err := s.claim(ctx, tx, hash, "")
		if err == nil {
			err = insertOrganization(ctx, tx, b.Organization)
		}
		for _, m := range b.Members {
			if err == nil {
				err = insertMember(ctx, tx, m)
			}
		}
		if err == nil {
			err = putAccount(ctx, tx, b.Account)
		}
		if err != nil {
			return keys.Commit{}, err
		}
		return appendEntry(ctx, tx, entry)
	})
}

// BindAccount implements keys.Store. Of two who come at once, the statement that is second
// finds what the first one has stored.
func (s *Store) BindAccount(ctx context.Context, email, issuer, subject string) error {
	return s.apart(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO accounts (email, password) VALUES ($1, '') ON CONFLICT (email) DO NOTHING`, email); err != nil {
			return err
		}
		bound, err := tx.ExecContext(ctx,
			`UPDATE accounts SET issuer = $2, subject = $3
			 WHERE email = $1 AND (issuer = '' OR issuer = $2 AND subject = $3)`, email, issuer, subject)
		return one(bound, err, keys.ErrSubject)
	})
}

// UnbindAccount implements keys.Store.
func (s *Store) UnbindAccount(ctx context.Context, email string, entry keys.Entry) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		freed, err := tx.ExecContext(ctx, `UPDATE accounts SET issuer = '', subject = '' WHERE email = $1 AND issuer <> ''`, email)
		if err := one(freed, err, keys.ErrNotFound); err != nil {
			return keys.Commit{}, err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM web_sessions WHERE email = $1`, email); err != nil {
			return keys.Commit{}, err
		}
		return appendEntry(ctx, tx, entry)
	})
}

// one returns none unless a statement changed a row.
func one(changed sql.Result, err, none error) error {
	if err != nil {
		return err
	}
	n, err := changed.RowsAffected()
	if err == nil && n == 0 {
		err = none
	}
	return err
}

// AddWebSession implements keys.Store. It holds the account, so that a password that
// changes meanwhile ends this session too.
func (s *Store) AddWebSession(ctx context.Context, w keys.WebSession, password string) error {
	return s.apart(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, `SELECT password FROM accounts WHERE email = $1 AND password = $2`+s.lock, w.Email, password).Scan(&password); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM web_sessions WHERE seen_at <= $1 OR created_at <= $2`,
			micros(w.CreatedAt.Add(-keys.SessionIdle)), micros(w.CreatedAt.Add(-keys.SessionLife))); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO web_sessions (hash, email, created_at, seen_at, proved_at, address, agent)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			w.Hash, w.Email, micros(w.CreatedAt), micros(w.SeenAt), micros(w.ProvedAt), w.Address, w.Agent)
		return err
	})
}

// WebSession implements keys.Store.
func (s *Store) WebSession(ctx context.Context, hash []byte) (keys.WebSession, error) {
	list, err := s.webSessions(ctx, `hash = $1`, hash)
	if err == nil && len(list) == 0 {
		err = keys.ErrNotFound
	}
	if err != nil {
		return keys.WebSession{}, err
	}
	return list[0], nil
}

// WebSessions implements keys.Store.
func (s *Store) WebSessions(ctx context.Context, email string) ([]keys.WebSession, error) {
	return s.webSessions(ctx, `email = $1`, email)
}

func (s *Store) webSessions(ctx context.Context, where string, argument any) ([]keys.WebSession, error) {
	rows, err := s.read.QueryContext(ctx,
		`SELECT hash, email, created_at, seen_at, proved_at, address, agent FROM web_sessions WHERE `+where+` ORDER BY created_at DESC, hash`, argument)
	list, err := collect(rows, err, func(rows *sql.Rows) (w keys.WebSession, err error) {
		var created, seen, proved int64
		err = rows.Scan(&w.Hash, &w.Email, &created, &seen, &proved, &w.Address, &w.Agent)
		w.CreatedAt, w.SeenAt, w.ProvedAt = instant(created), instant(seen), instant(proved)
		return w, err
	})
	return list, s.fail(err)
}

// SeeWebSession implements keys.Store.
func (s *Store) SeeWebSession(ctx context.Context, hash []byte, t time.Time) error {
	return s.apart(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE web_sessions SET seen_at = $2 WHERE hash = $1 AND seen_at < $2`, hash, micros(t))
		return err
	})
}

// EndWebSession implements keys.Store.
func (s *Store) EndWebSession(ctx context.Context, hash []byte) error {
	return s.apart(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM web_sessions WHERE hash = $1`, hash)
		return err
	})
}

// apart commits what is not in the log. Where the answer to the commit is lost, the
// error stands, although it may have happened.
func (s *Store) apart(ctx context.Context, f func(*sql.Tx) error) error {
	_, err := s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) { return keys.Commit{}, f(tx) })
	return err
}
