// Package sqlstoretest starts a real Postgres for tests, as a child process that
// ends with them.
package sqlstoretest

import (
	"bytes"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// A Postgres is one server.
type Postgres struct {
	t       testing.TB
	dir     string // PGDATA
	port    int
	cmd     *exec.Cmd
	log     *bytes.Buffer
	options []string
}

var shared struct {
	sync.Mutex
	server    *Postgres
	databases int
}

// URL returns an empty database of a server that all tests of the process share.
func URL(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		// It outlives the test that asks first; Pdeathsig ends it with the process.
		dir, err := os.MkdirTemp("", "imara-postgres-*")
		if err != nil {
			t.Fatal(err)
		}
		p := newPostgres(t, dir)
		p.Start()
		shared.server = p
	}
	shared.databases++
	return shared.server.Database(t, fmt.Sprintf("test%d", shared.databases))
}

// Stop ends the shared server and removes its files; for TestMain.
func Stop() {
	shared.Lock()
	defer shared.Unlock()
	if p := shared.server; p != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		os.RemoveAll(filepath.Dir(p.dir))
	}
}

// New returns a server of the test's own, started, that the test may harm.
// options are settings: "fsync=on".
func New(t testing.TB, options ...string) *Postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "imara-postgres-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := newPostgres(t, dir, options...)
	p.Start()
	t.Cleanup(p.Kill)
	return p
}

// newPostgres runs initdb. The tests' data need not survive the machine, only
// the process: fsync is off.
func newPostgres(t testing.TB, dir string, options ...string) *Postgres {
	t.Helper()
	p := &Postgres{t: t, dir: filepath.Join(dir, "data"), port: freePort(t), log: &bytes.Buffer{}, options: options}
	giveAway(t, dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p.run("initdb", "-D", p.dir, "-U", "postgres", "-A", "trust", "--no-sync", "--encoding=UTF8", "--locale=C")
	return p
}

// Start starts the server and waits until it answers.
func (p *Postgres) Start() {
	p.t.Helper()
	args := []string{"-D", p.dir, "-p", strconv.Itoa(p.port), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off", "-c", "max_connections=200"}
	for _, o := range p.options {
		args = append(args, "-c", o)
	}
	p.cmd = p.command("postgres", args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	db := p.open(p.t, "postgres")
	defer db.Close()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for db.Ping() != nil {
		select {
		case <-tick.C:
		case <-deadline:
			p.Kill()
			p.t.Fatalf("postgres does not answer: %s", p.log)
		}
	}
}

// Kill is kill -9 of the whole server.
func (p *Postgres) Kill() {
	p.cmd.Process.Signal(syscall.SIGQUIT) // immediate shutdown: the backends end too
	p.cmd.Wait()
}

// Standby returns a started hot standby of p.
func (p *Postgres) Standby() *Postgres {
	t := p.t
	t.Helper()
	dir, err := os.MkdirTemp("", "imara-standby-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	giveAway(t, dir)
	s := &Postgres{t: t, dir: filepath.Join(dir, "data"), port: freePort(t), log: &bytes.Buffer{}}
	s.run("pg_basebackup", "-D", s.dir, "-R", "-X", "stream", "--no-sync", "-c", "fast", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", "postgres")
	s.Start()
	t.Cleanup(s.Kill)
	return s
}

// Promote makes a standby the primary.
func (p *Postgres) Promote() { p.run("pg_ctl", "-D", p.dir, "promote", "-w") }

// Exec runs SQL as the superuser, in a database.
func (p *Postgres) Exec(database, statement string) {
	p.t.Helper()
	db := p.open(p.t, database)
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		p.t.Fatal(err)
	}
}

// Count runs a query whose answer is one number.
func (p *Postgres) Count(database, query string) (n int) {
	p.t.Helper()
	db := p.open(p.t, database)
	defer db.Close()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// Database makes an empty database and returns its URL.
func (p *Postgres) Database(t testing.TB, name string) string {
	t.Helper()
	db := p.open(t, "postgres")
	defer db.Close()
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	return p.URL(name)
}

// URL of a database.
func (p *Postgres) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", p.port, database)
}

// Address is host and port.
func (p *Postgres) Address() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

func (p *Postgres) open(t testing.TB, database string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", p.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// run runs one of Postgres' programs to its end.
func (p *Postgres) run(program string, args ...string) {
	p.t.Helper()
	if out, err := p.command(program, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// command finds a program of Debian's package, which are not all on the PATH.
// Postgres refuses to run as root.
func (p *Postgres) command(program string, args ...string) *exec.Cmd {
	p.t.Helper()
	path, err := exec.LookPath(program)
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program); len(found) > 0 {
		path, err = slices.Max(found), nil
	}
	if err != nil {
		p.t.Fatalf("%s is needed: apt-get install postgresql", program)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = child(p.t)
	return cmd
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
