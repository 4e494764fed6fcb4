package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/imara/apikeys/keys"
)

// A Store is a database. It implements keys.Store and signing.Store.
type Store struct {
	write, read *sql.DB
	// lock is what a SELECT ends with to lock its rows until the commit.
	lock string
	// classify turns an engine's error into ErrExists, ErrNotFound or
	// ErrUnavailable of keys, or nil for one that it does not know.
	classify func(error) error
	closers  []func() error
}

//go:embed migrations
var migrations embed.FS

const dialectSQLite = goose.DialectSQLite3

// migrate brings the schema up to date and starts the log.
func (s *Store) migrate(ctx context.Context, dialect goose.Dialect) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, s.write, files)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	// Positions stand in tokens. A random beginning does not tell how many
	// changes there were, and a new database does not repeat an old one's.
	_, err = s.write.ExecContext(ctx,
		`INSERT INTO feed (one, seq, floor) VALUES (1, $1, $1) ON CONFLICT (one) DO NOTHING`, 1+rand.Int64N(1<<40))
	return err
}

// Ping returns nil when the store answers.
func (s *Store) Ping(ctx context.Context) error {
	var seq int64
	return s.fail(s.read.QueryRowContext(ctx, `SELECT seq FROM feed WHERE one = 1`).Scan(&seq))
}

// Close ends all connections.
func (s *Store) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// tx runs f in one transaction that writes.
func (s *Store) tx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.fail(err)
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return s.fail(err)
	}
	return s.fail(tx.Commit())
}

// fail turns a driver's error into one of the domain's. Errors that are the
// domain's already, and those it does not know, stay as they are.
func (s *Store) fail(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return keys.ErrNotFound
	}
	switch known := s.classify(err); {
	case known == keys.ErrUnavailable:
		return fmt.Errorf("%w: %w", known, err)
	case known != nil:
		return known
	}
	return err
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// collect reads all rows of a query.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, rows.Err()
}

// micros and instant keep the zero time as 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func instant(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

func words(list []string) string { return strings.Join(list, " ") }
