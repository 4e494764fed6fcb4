package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// errNoSchema: the tables, or the first row of the log, are not there yet.
var errNoSchema = errors.New("no schema")

// migrate brings the schema up to date over db, refuses one in which something is
// missing all the same, and starts the log.
func (s *Store) migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect,
	options ...goose.ProviderOption) error {
	if err := upgrade(ctx, db, dialect, options...); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := s.checkSchema(ctx, s.write); err != nil {
		return err
	}
	// Positions stand in tokens. A random beginning does not tell how many
	// changes there were, and a new database does not repeat an old one's.
	_, err := s.write.ExecContext(ctx,
		`INSERT INTO feed (one, seq, floor, protocol) VALUES (1, $1, $1, 2) ON CONFLICT (one) DO NOTHING`,
		1+rand.Int64N(1<<40))
	return err
}

// upgrade runs the migrations that have not run. Each is a transaction that ends with
// the row that says so: one that is ended half-way has changed nothing.
func upgrade(ctx context.Context, db *sql.DB, dialect goose.Dialect,
	options ...goose.ProviderOption) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if dialect == goose.DialectSQLite3 {
		files = strictMigrations{files}
	}
	options = append(options, goose.WithGoMigrations(
		goose.NewGoMigration(9, &goose.GoFunc{RunTx: repair}, nil),
	))
	provider, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}
