package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/imara/apikeys/keys"
)

// The bounds of work on Postgres. The two pools keep a burst of management calls
// from taking the connections that tokens need.
const (
	statementTimeout = "2000" // ms, for one statement, waiting for locks included
	writers, readers = 16, 16 // connections
)

// OpenPostgres opens the store in a database, given as a URL or a list of
// key=value pairs, and brings its schema up to date; any number of servers may
// do so at once. It refuses a standby, whose answers are late, a connection
// without TLS to another machine, settings under which a statement is text, and with
// [ErrSchema] a database in which something is missing.
func OpenPostgres(ctx context.Context, url string) (*Store, error) {
	if err := checkDatabaseURL(url); err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("database URL: it cannot be parsed") // the error would quote the password
	}
	if err := checkPostgres(config); err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	if _, given := config.RuntimeParams["application_name"]; !given {
		config.RuntimeParams["application_name"] = "imara"
	}
	settings := map[string]string{"synchronous_commit": "on", "statement_timeout": statementTimeout,
		"idle_in_transaction_session_timeout": statementTimeout, "default_transaction_isolation": "read committed"}
	patient := config.Copy() // an index over a long log takes longer than a statement may otherwise
	setOnConnect(config, settings)
	s := &Store{classify: classifyPostgres, present: func() error { return nil }, lock: " FOR UPDATE", patient: "SET LOCAL statement_timeout = 0",
		lazily: `, set_config('synchronous_commit', 'off', true)`, primary: " AND NOT pg_is_in_recovery()", columns: postgresColumns}
	s.write, s.read = s.pool(config, writers), s.pool(config, readers)
	s.records = func(ctx context.Context, args ...any) (*sql.Rows, error) {
		return s.read.QueryContext(ctx, selectRecord, args...)
	}
	if err := checkSessions(ctx, s.write); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", config.Database, s.fail(err)), s.Close())
	}
	if err := s.answer(ctx); err != nil && !errors.Is(err, errNoSchema) {
		return nil, errors.Join(fmt.Errorf("database %s: %w", config.Database, err), s.Close())
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err == nil {
		delete(patient.RuntimeParams, "statement_timeout")
		delete(patient.RuntimeParams, "idle_in_transaction_session_timeout")
		settings["statement_timeout"], settings["idle_in_transaction_session_timeout"] = "0", "0"
		setOnConnect(patient, settings)
		db := stdlib.OpenDB(*patient)
		err = errors.Join(s.migrate(ctx, db, goose.DialectPostgres, goose.WithSessionLocker(locker)), db.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", config.Database, s.fail(err)), s.Close())
	}
	return s, nil
}

func (s *Store) pool(config *pgx.ConnConfig, connections int) *sql.DB {
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	s.closers = append(s.closers, db.Close)
	return db
}

// checkPostgres refuses what would be unsafe to run on.
func checkPostgres(config *pgx.ConnConfig) error {
	if config.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		return errors.New("default_query_exec_mode=simple_protocol writes values into the statement: leave it out")
	}
	hosts := []*pgconn.FallbackConfig{{Host: config.Host, TLSConfig: config.TLSConfig}}
	for _, h := range append(hosts, config.Fallbacks...) {
		ip := net.ParseIP(h.Host)
		local := strings.HasPrefix(h.Host, "/") || h.Host == "localhost" || ip != nil && ip.IsLoopback()
		if !local && (h.TLSConfig == nil || h.TLSConfig.InsecureSkipVerify && h.TLSConfig.VerifyConnection == nil) {
			return fmt.Errorf("%s is another machine: use sslmode=verify-full", h.Host)
		}
	}
	return nil
}

// classifyPostgres names an error by its SQLSTATE.
func classifyPostgres(err error) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return classifyConnection(err)
	}
	switch e.Code {
	case "23505":
		return keys.ErrExists
	case "23503", "22021": // a text that cannot be stored is not there
		return keys.ErrNotFound
	case "42P01":
		return errNoSchema
	case "40001", "40P01":
		return errRetry
	case "25006": // read-only transaction: a standby, or one that was demoted
		return keys.ErrUnavailable
	}
	switch e.Code[:2] {
	case "08", "53", "55", "57", "58": // connection, resources, object state, operator, system
		return keys.ErrUnavailable
	}
	return nil
}

// classifyConnection knows the ways in which a connection ends.
func classifyConnection(err error) error {
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, pgconn.ErrConnClosed) {
		return keys.ErrUnavailable
	}
	return nil
}
