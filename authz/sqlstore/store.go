package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// A Store is a database. It implements keys.Store.
type Store struct {
	write, read *sql.DB
	// lock is what a SELECT ends with to lock its rows until the commit.
	lock string
	// patient is what a transaction says before its commit, so that no timeout of
	// the engine's ends the wait for a standby.
	patient string
	// relax makes the commits of a connection not wait for the disk, strict takes that
	// back; lazily, behind a RETURNING, does the same for one statement. Each engine has
	// one of the two.
	relax, strict, lazily string
	// records is [selectRecord], which every refusal runs: prepared, where the driver does
	// not keep the statements itself. To parse it takes SQLite three times as long as to
	// run it.
	records func(ctx context.Context, args ...any) (*sql.Rows, error)
	// primary is a condition that only the database that takes writes fulfils.
	primary string
	// columns is the query of the tables and columns that there are, and compared what
	// it last said of them.
	columns  string
	compared atomic.Pointer[comparison]
	// present returns an error when the database that is open is no longer the one
	// that the next start would find; nil when that cannot be.
	present func() error
	// classify turns an engine's error into ErrExists, ErrNotFound or
	// ErrUnavailable of keys, errRetry or errNoSchema, or nil for one that it
	// does not know.
	classify func(error) error
	closers  []func() error
	// unfit is what keeps tables of SQLite from being strict.
	unfit   []string
	damaged damaged
}

// errRetry: the engine gave up this transaction in favour of another.
var errRetry = errors.New("transaction gave way to another")

// Restored makes a database that was put back from a backup safe to serve. What
// happened after the backup is lost to it, revocations among it, but tokens of
// that time are alive. So every token from before is cut, by a position beyond
// any that can have been given out, every verifier must join again, and every person
// must sign in again.
func (s *Store) Restored(ctx context.Context) error {
	const beyond = 1_000_000_000 // changes: decades of them
	_, err := s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		// A link that was used, or a session that was ended, after the backup.
		for _, table := range []string{"sessions", "web_sessions", "links"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table); err != nil {
				return keys.Commit{}, err
			}
		}
		if _, err := tx.ExecContext(ctx, `UPDATE feed SET seq = seq + $1 WHERE one = 1`, beyond); err != nil {
			return keys.Commit{}, err
		}
		commit, err := appendEntry(ctx, tx, keys.Entry{Kind: tokens.Touch, Subject: tokens.Organization(""), Actor: keys.Program("restored"), Action: "store.restored"})
		if err != nil {
			return keys.Commit{}, err
		}
		_, err = tx.ExecContext(ctx, `UPDATE feed SET floor = seq, restored = seq WHERE one = 1`)
		return commit, err
	})
	return err
}

// Waited says that a restore has been waited out: no lease from before can be held.
func (s *Store) Waited(ctx context.Context) error {
	_, err := s.write.ExecContext(ctx, `UPDATE feed SET restored = 0 WHERE one = 1`)
	return s.fail(err)
}

// Ping returns nil when the store answers, takes writes and has the schema that the
// code needs; else [ErrSchema].
func (s *Store) Ping(ctx context.Context) error {
	if err := s.checkSchema(ctx, s.read); err != nil {
		return err
	}
	return s.answer(ctx)
}

// answer returns nil when the store answers and takes writes.
func (s *Store) answer(ctx context.Context) error {
	if err := s.present(); err != nil {
		return err
	}
	var seq int64
	err := s.fail(s.read.QueryRowContext(ctx, `SELECT seq FROM feed WHERE one = 1`+s.primary).Scan(&seq))
	if errors.Is(err, keys.ErrNotFound) {
		// Between the last table and the first row, another server is starting.
		if err = s.fail(s.read.QueryRowContext(ctx, `SELECT seq FROM feed WHERE one = 1`).Scan(&seq)); err == nil {
			return errStandby
		}
		if errors.Is(err, keys.ErrNotFound) {
			return errNoSchema
		}
	}
	return err
}

// errStandby: reads would be answered, late. Only the primary's count.
var errStandby = fmt.Errorf("%w: it is a standby", keys.ErrUnavailable)

// Close ends all connections.
func (s *Store) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// commitTimeout bounds a transaction, the wait for a standby included.
const commitTimeout = 10 * time.Second

// attempts of a transaction that gives way to others.
const attempts = 4

// change runs f in one transaction that ends with an entry of the log, and
// commits it exactly once. f may run again, and starts afresh each time.
func (s *Store) change(ctx context.Context, f func(*sql.Tx) (keys.Commit, error)) (keys.Commit, error) {
	for attempt := 1; ; attempt++ {
		commit, err := s.attempt(ctx, f)
		if !errors.Is(err, errRetry) {
			return commit, err
		}
		if attempt == attempts {
			return keys.Commit{}, fmt.Errorf("%w: %w", keys.ErrUnavailable, err)
		}
		select {
		case <-time.After(rand.N(time.Duration(attempt) * 20 * time.Millisecond)):
		case <-ctx.Done():
			return keys.Commit{}, ctx.Err()
		}
	}
}

func (s *Store) attempt(ctx context.Context, f func(*sql.Tx) (keys.Commit, error)) (keys.Commit, error) {
	if err := s.present(); err != nil {
		return keys.Commit{}, err
	}
	// The caller's end must not cancel a COMMIT: Postgres would give up waiting for
	// its standby, and commit all the same.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	tx, err := s.write.BeginTx(bounded, nil)
	if err != nil {
		return keys.Commit{}, s.late(bounded, err)
	}
	defer tx.Rollback()
	commit, err := f(tx)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == nil && s.patient != "" {
		_, err = tx.ExecContext(bounded, s.patient)
	}
	if err != nil {
		return keys.Commit{}, s.late(bounded, err)
	}
	if err := s.fail(tx.Commit()); err != nil {
		if !errors.Is(err, errRetry) && s.committed(commit) {
			return commit, nil
		}
		return keys.Commit{}, err
	}
	return commit, nil
}

// committed finds out what became of a commit whose answer was lost. It waits for
// the lock that the transaction held until its end, so that the answer is final;
// an engine that cannot be reached leaves it open, and the caller's error stands.
func (s *Store) committed(commit keys.Commit) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for pause := 10 * time.Millisecond; ctx.Err() == nil; pause *= 2 {
		tx, err := s.write.BeginTx(ctx, nil)
		if err == nil {
			// A write, and a commit of it: where a standby must have each commit,
			// this one's success says that it has the earlier one too.
			var head int64
			_, err = tx.ExecContext(ctx, `UPDATE feed SET seq = seq WHERE one = 1`)
			if err == nil {
				err = tx.QueryRowContext(ctx, `SELECT head FROM log WHERE seq = $1`, commit.Position).Scan(&head)
			}
			if err == nil && s.patient != "" {
				_, err = tx.ExecContext(ctx, s.patient)
			}
			if err == nil {
				err = tx.Commit()
			}
			tx.Rollback()
			if err == nil || errors.Is(err, sql.ErrNoRows) {
				return err == nil && uint64(head) == commit.Head
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return false
}

// late is [Store.fail] for what happens below the store's own deadline. Once that has
// passed, database/sql says this or that about rows and transactions that are closed.
func (s *Store) late(bounded context.Context, err error) error {
	if bounded.Err() != nil {
		return fmt.Errorf("%w: not within %v: %w", keys.ErrUnavailable, commitTimeout, err)
	}
	return s.fail(err)
}

// fail turns a driver's error into one of the domain's. Errors that are the
// domain's already, and those it does not know, stay as they are.
func (s *Store) fail(err error) error {
	switch {
	case err == nil:
		return nil
	case s.damaged.met(err):
		return err
	case errors.Is(err, sql.ErrNoRows):
		return keys.ErrNotFound
	}
	switch known := s.classify(err); {
	case known == keys.ErrUnavailable, known == errNoSchema: // which table is not there
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

// collect reads all rows of a query, but those whose error leave says to leave out.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error),
	leave ...func(error) bool) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		item, err := scan(rows)
		if err != nil && len(leave) > 0 && leave[0](err) {
			continue
		}
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

// fields are the words of a text; nil for none.
func fields(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Fields(text)
}
