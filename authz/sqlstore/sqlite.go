package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/imara/apikeys/keys"
)

// OpenSQLite opens the store in a directory, and makes both when they are not
// there. Its files are for their owner alone, whatever the directory. It refuses a directory that another process has open, a database file that
// is damaged, and with [ErrSchema] one in which something is missing.
func OpenSQLite(ctx context.Context, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{classify: classifySQLite, columns: sqliteColumns, closers: []func() error{lock.Close},
		relax: `PRAGMA synchronous = NORMAL`, strict: `PRAGMA synchronous = FULL`}
	path := filepath.Join(dir, "imara.db")
	if err := makePrivate(path); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	pragmas := url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)", "foreign_keys(1)", "cache_size(-8000)"},
		"_txlock": {"immediate"},
	}
	if err := s.connect(&s.write, path, pragmas, 1); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.checkFile(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), s.Close())
	}
	if err := s.migrate(ctx, s.write, goose.DialectSQLite3); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), s.Close())
	}
	if s.unfit, err = makeStrict(ctx, s.write); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: strict tables: %w", path, s.fail(err)), s.Close())
	}
	if s.present, err = stillThere(path); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	pragmas["_pragma"] = append(pragmas["_pragma"], "query_only(1)")
	pragmas.Set("_txlock", "deferred")
	if err := s.connect(&s.read, path, pragmas, 4); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	records, err := s.read.PrepareContext(ctx, selectRecord)
	if err != nil {
		return nil, errors.Join(s.fail(err), s.Close())
	}
	s.records = records.QueryContext
	// Whoever held these lived in a process that held the lock: it is gone.
	_, err = s.write.ExecContext(ctx, `DELETE FROM sessions WHERE via = id`)
	if err != nil {
		return nil, errors.Join(s.fail(err), s.Close())
	}
	return s, nil
}

// makePrivate makes the files of a database their owner's alone, whatever the umask and the
// directory say. Those that SQLite makes later have the mode of the database.
func makePrivate(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	file.Close()
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		err := os.Chmod(path+suffix, 0o600)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("others may read the database, and it is not ours to change: %w", err)
		}
	}
	return nil
}

// stillThere returns a check that path is the file that it is now: what is
// written to a file that was deleted or replaced is gone with the process.
func stillThere(path string) (func() error, error) {
	opened, err := os.Stat(path)
	return func() error {
		now, err := os.Stat(path)
		if err != nil || !os.SameFile(opened, now) {
			return fmt.Errorf("%w: %s is not the file that was opened", keys.ErrUnavailable, path)
		}
		return nil
	}, err
}

func (s *Store) connect(db **sql.DB, path string, pragmas url.Values, connections int) (err error) {
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: pragmas.Encode()}).String()
	if *db, err = sql.Open("sqlite", dsn); err != nil {
		return err
	}
	(*db).SetMaxOpenConns(connections)
	(*db).SetMaxIdleConns(connections)
	s.closers = append([]func() error{(*db).Close}, s.closers...)
	return nil
}

func (s *Store) checkFile(ctx context.Context) error {
	var verdict string
	if err := s.write.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("damaged database, restore a backup: %s", verdict)
	}
	return nil
}

// ErrLocked: another process has the data directory open.
var ErrLocked = errors.New("another process has the data directory open")

// lockDirectory holds the directory until the file is closed or the process ends.
func lockDirectory(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "imara.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), file.Close())
	}
	return file, nil
}

// classifySQLite names an error by its code, never by its text.
func classifySQLite(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return nil
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return keys.ErrExists
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return keys.ErrNotFound
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
		sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT:
		return keys.ErrUnavailable
	}
	return nil
}
