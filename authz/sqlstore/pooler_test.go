//go:build linux

package sqlstore

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
	"github.com/imara/apikeys/keys"
)

// pgBouncer puts a real one before a database and returns the URL through it.
func pgBouncer(t *testing.T, database, mode, settings string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	file := filepath.Join(t.TempDir(), "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = host=%s port=%s user=postgres
[pgbouncer]
listen_addr = %s
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = %s
default_pool_size = 40
%s
`, u.Hostname(), u.Port(), host, port, mode, settings)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		path = "/usr/sbin/pgbouncer" // which is not on everybody's PATH
	}
	args := []string{file}
	if os.Getuid() == 0 { // as whom it does not run
		args = []string{"-u", "nobody", file}
	}
	var log bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: make tools installs it", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	address := net.JoinHostPort(host, port)
	eventually(t, "pgbouncer listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	u.Host = address
	return u.String()
}

// TestPoolerOfSessionsWorksAndAnotherIsRefused: through a PgBouncer as Debian configures
// it, and one that leaves our settings out.
func TestPoolerOfSessionsWorksAndAnotherIsRefused(t *testing.T) {
	database := sqlstoretest.URL(t)
	s := openURL(t, pgBouncer(t, database, "session", ""))
	if _, err := s.CreateOrganization(t.Context(), keys.Organization{ID: "org", Name: "x", Plan: "x"}, keys.Entry{}); err != nil {
		t.Error(err)
	}
	s.Close()
	for _, mode := range []string{"transaction", "statement"} {
		for _, settings := range []string{"", "ignore_startup_parameters = extra_float_digits,statement_timeout,synchronous_commit"} {
			through := pgBouncer(t, database, mode, settings)
			for _, exec := range []string{"", "&default_query_exec_mode=exec"} {
				_, err := OpenPostgres(t.Context(), through+exec)
				if !errors.Is(err, errPooler) || !strings.Contains(err.Error(), "pool_mode=session") {
					t.Errorf("%s, %q%s: %v", mode, settings, exec, err)
				}
			}
		}
	}
}

// TestSettingsOfAConnectionAreLookedAt: those with which a commit is durable and a lock is
// not waited for for ever.
func TestSettingsOfAConnectionAreLookedAt(t *testing.T) {
	database := sqlstoretest.URL(t)
	_, err := OpenPostgres(t.Context(), database+"&statement_timeout=0")
	if err == nil || !strings.Contains(err.Error(), "statement_timeout is 0") {
		t.Error(err)
	}
	openURL(t, database+"&synchronous_commit=off").Close() // which ours replaces
	openURL(t, database+"&statement_timeout=3000").Close()
}
