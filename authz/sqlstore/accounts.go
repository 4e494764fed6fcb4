package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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
	if err := s.read.QueryRowContext(ctx, `SELECT password FROM accounts WHERE email = $1`, email).Scan(&a.Password); err != nil {
		return keys.Account{}, s.fail(err)
	}
	return a, nil
}

// AddLink implements keys.Store.
func (s *Store) AddLink(ctx context.Context, l keys.Link) error {
	return s.apart(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM links WHERE expires_at <= $1`, micros(l.CreatedAt)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO links (hash, email, created_at, expires_at) VALUES ($1, $2, $3, $4)`,
			l.Hash, l.Email, micros(l.CreatedAt), micros(l.ExpiresAt))
		return err
	})
}

// Link implements keys.Store.
func (s *Store) Link(ctx context.Context, hash []byte) (keys.Link, error) {
	l := keys.Link{Hash: hash}
	var created, expires int64
	if err := s.read.QueryRowContext(ctx, `SELECT email, created_at, expires_at FROM links WHERE hash = $1`, hash).Scan(&l.Email, &created, &expires); err != nil {
		return keys.Link{}, s.fail(err)
	}
	l.CreatedAt, l.ExpiresAt = instant(created), instant(expires)
	return l, nil
}

// UseLink implements keys.Store. Of several at once, one deletes the row of the link.
func (s *Store) UseLink(ctx context.Context, hash []byte, a keys.Account) error {
	return s.apart(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, `DELETE FROM links WHERE hash = $1 AND email = $2 RETURNING email`, hash, a.Email).Scan(&a.Email); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO accounts (email, password) VALUES ($1, $2) ON CONFLICT (email) DO UPDATE SET password = excluded.password`,
			a.Email, a.Password); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM web_sessions WHERE email = $1`, a.Email); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM links WHERE email = $1`, a.Email)
		return err
	})
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
		_, err := tx.ExecContext(ctx, `INSERT INTO web_sessions (hash, email, created_at, seen_at) VALUES ($1, $2, $3, $4)`,
			w.Hash, w.Email, micros(w.CreatedAt), micros(w.SeenAt))
		return err
	})
}

// WebSession implements keys.Store.
func (s *Store) WebSession(ctx context.Context, hash []byte) (keys.WebSession, error) {
	w := keys.WebSession{Hash: hash}
	var created, seen int64
	if err := s.read.QueryRowContext(ctx, `SELECT email, created_at, seen_at FROM web_sessions WHERE hash = $1`, hash).Scan(&w.Email, &created, &seen); err != nil {
		return keys.WebSession{}, s.fail(err)
	}
	w.CreatedAt, w.SeenAt = instant(created), instant(seen)
	return w, nil
}

// SeeWebSession implements keys.Store.
func (s *Store) SeeWebSession(ctx context.Context, hash []byte, t time.Time) error {
	_, err := s.write.ExecContext(ctx, `UPDATE web_sessions SET seen_at = $2 WHERE hash = $1 AND seen_at < $2`, hash, micros(t))
	return s.fail(err)
}

// EndWebSession implements keys.Store.
func (s *Store) EndWebSession(ctx context.Context, hash []byte) error {
	_, err := s.write.ExecContext(ctx, `DELETE FROM web_sessions WHERE hash = $1`, hash)
	return s.fail(err)
}

// apart commits what is no change of an organisation, and so is not in the log.
func (s *Store) apart(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.fail(err)
	}
	defer tx.Rollback()
	err = f(tx)
	if err == nil {
		err = tx.Commit()
	}
	if err = s.fail(err); errors.Is(err, errRetry) {
		err = fmt.Errorf("%w: %w", keys.ErrUnavailable, err)
	}
	return err
}
