package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// A connection pooler between a server and Postgres may lend a connection for a session,
// or for each transaction. The second takes away what stands on a session: prepared
// statements, the settings by which a receipt's commit is durable, and the lock of the
// migrations. Sessions work: what is set here is set by statements, since PgBouncer
// refuses a start-up parameter that it does not know.

// setOnConnect sets these on each new connection, but those that the URL sets.
func setOnConnect(config *pgx.ConnConfig, settings map[string]string) {
	var calls []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if _, given := config.RuntimeParams[name]; !given || name == "synchronous_commit" && config.RuntimeParams[name] == "off" {
			calls = append(calls, fmt.Sprintf("set_config('%s', '%s', false)", name, settings[name]))
		}
	}
	statement := "SELECT " + strings.Join(calls, ", ")
	if len(calls) == 0 {
		return
	}
	config.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		_, err := conn.Exec(ctx, statement).ReadAll()
		return err
	}
}

// errPooler: a session is not one.
var errPooler = errors.New("a pooler lends connections for a transaction only (pool_mode=transaction or statement of PgBouncer): " +
	"Imara needs pool_mode=session, or Postgres itself")

// checkSessions returns [errPooler] unless a connection is a session, and an error when
// one does not have the settings that the promises stand on.
func checkSessions(ctx context.Context, db *sql.DB) error {
	var pids [2]string
	var conns [2]*sql.Conn
	for i := range conns {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns[i] = conn
	}
	// Of two sessions each has a process of its own, and keeps it.
	for range 5 {
		for i, conn := range conns {
			pid, err := ask(ctx, conn, "SELECT pg_backend_pid()")
			if err != nil {
				return err
			}
			if pids[i] != "" && pids[i] != pid || pids[1-i] == pid {
				return errPooler
			}
			pids[i] = pid
		}
	}
	for _, name := range []string{"synchronous_commit", "statement_timeout", "idle_in_transaction_session_timeout"} {
		value, err := ask(ctx, conns[0], "SHOW "+name)
		if err != nil {
			return err
		}
		if value == "off" || value == "0" {
			return fmt.Errorf("%s is %s on a connection that has it set otherwise: a pooler, a role or the URL takes it back", name, value)
		}
	}
	return nil
}

// ask returns the one value of a query, without preparing it.
func ask(ctx context.Context, conn *sql.Conn, query string) (value string, err error) {
	err = conn.Raw(func(driver any) error {
		results, err := driver.(*stdlib.Conn).Conn().PgConn().Exec(ctx, query).ReadAll()
		if err == nil {
			value = string(results[0].Rows[0][0])
		}
		return err
	})
	return value, err
}
