//go:build unix

package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
)

// TestKilledRepairIsDoneByTheNextStart: kill -9 before its first statement, its fourth
// and so on.
func TestKilledRepairIsDoneByTheNextStart(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			fresh := e.fresh(t)
			for n, killed := 1, true; killed; n += 3 {
				f := fixture(t, e.name, "c97669a")
				source := e.source(t, &f)
				killed = kill(t, e.driver, source, n)
				e.reopen(t, source)
				if diff := cmp.Diff(fresh, e.schemaOf(t, e.connect(t, source))); diff != "" {
					t.Fatalf("killed before statement %d: %s", n, diff)
				}
				if !killed && n < 10 {
					t.Errorf("the repair had only %d statements", n)
				}
			}
		})
	}
}

// kill migrates in a process of its own that is killed before the n-th statement of
// the repair, and tells whether the repair had that many.
func kill(t *testing.T, driver, source string, n int) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	task := strings.Join([]string{driver, source, strconv.Itoa(n)}, "\n")
	cmd.Env = append(os.Environ(), mortalVariable+"="+task)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return true
	}
	t.Fatalf("%v\n%s", err, out)
	return false
}

// mortalVariable holds driver, source and number of a process that kill starts.
const mortalVariable = "IMARA_TEST_KILLED_MIGRATION"

// migrateUntilKilled is the process that kill starts.
func migrateUntilKilled(task string) error {
	words := strings.Split(task, "\n")
	dialect, dsn := goose.DialectPostgres, words[1]
	if words[0] == "sqlite" {
		dialect = goose.DialectSQLite3
		dsn = "file:" + words[1] + "?_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)&_txlock=immediate"
	}
	n, err := strconv.Atoi(words[2])
	if err != nil {
		return err
	}
	plain, err := sql.Open(words[0], dsn)
	if err != nil {
		return err
	}
	db := sql.OpenDB(&mortal{driver: plain.Driver(), dsn: dsn, left: n})
	return upgrade(context.Background(), db, dialect)
}

// mortal connects to a database, and kills this process before a statement of the
// repair.
type mortal struct {
	driver driver.Driver
	dsn    string
	begun  bool // the repair
	left   int  // statements until the kill
}

func (m *mortal) Driver() driver.Driver { return m.driver }

func (m *mortal) Connect(context.Context) (driver.Conn, error) {
	conn, err := m.driver.Open(m.dsn)
	return &mortalConn{conn, m}, err
}

func (m *mortal) before(statement string) {
	m.begun = m.begun || strings.HasPrefix(statement, "SELECT * FROM sessions")
	if !m.begun {
		return
	}
	if m.left--; m.left == 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

type mortalConn struct {
	driver.Conn
	*mortal
}

func (c *mortalConn) ExecContext(ctx context.Context, query string,
	args []driver.NamedValue) (driver.Result, error) {
	c.before(query)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *mortalConn) QueryContext(ctx context.Context, query string,
	args []driver.NamedValue) (driver.Rows, error) {
	c.before(query)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *mortalConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, options)
	return &mortalTx{tx, c.mortal}, err
}

type mortalTx struct {
	driver.Tx
	*mortal
}

func (tx *mortalTx) Commit() error {
	tx.before("COMMIT")
	return tx.Tx.Commit()
}

// TestReplicasMayRepairAtOnce: six servers start on a database of an earlier version.
func TestReplicasMayRepairAtOnce(t *testing.T) {
	e, f := engines[1], fixture(t, "postgres", "c97669a")
	url := e.source(t, &f)
	openAtOnce(t, url, 6)
	if diff := cmp.Diff(e.fresh(t), e.schemaOf(t, e.connect(t, url))); diff != "" {
		t.Error(diff)
	}
}

// TestOwnerOfASchemaIsEnough: a user of Postgres that may do nothing but what the owner
// of one schema may, beside a newer Imara in another schema of the same database.
func TestOwnerOfASchemaIsEnough(t *testing.T) {
	p := sqlstoretest.New(t)
	url := p.Database(t, "shared")
	openURL(t, url).Close() // the schema public, with everything
	p.Exec("shared", `REVOKE ALL ON DATABASE shared FROM PUBLIC`)
	p.Exec("shared", `REVOKE ALL ON SCHEMA public FROM PUBLIC`)
	e, f := engines[1], fixture(t, "postgres", "c97669a")
	fresh := e.fresh(t)
	for i, user := range []string{"older", "new"} {
		p.Exec("shared", `CREATE ROLE `+user+` LOGIN NOSUPERUSER`)
		p.Exec("shared", `GRANT CONNECT ON DATABASE shared TO `+user)
		p.Exec("shared", `CREATE SCHEMA `+user+` AUTHORIZATION `+user)
		own := strings.Replace(url, "postgres@", user+"@", 1)
		if i == 0 {
			f.PostgresIn(t, own, user)
		}
		openURL(t, own).Close()
		if diff := cmp.Diff(fresh, e.schemaOf(t, e.connect(t, own))); diff != "" {
			t.Errorf("%s: %s", user, diff)
		}
		p.Exec("shared", fmt.Sprintf(`ALTER TABLE %s.keys DROP COLUMN staff_hold`, user))
		if _, err := OpenPostgres(t.Context(), own); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: another schema has the column: %v", user, err)
		}
	}
}
