//go:build linux

package main

import (
	"bytes"
	"database/sql"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
)

const fixtures = "../../authz/sqlstore/testdata"

// TestEveryVersionsDatabaseIsServed: a database that the program of an earlier commit
// made, on the embedded store and on Postgres. Its secrets still get tokens, what was
// revoked stays so, and its keys are created, revoked and audited.
func TestEveryVersionsDatabaseIsServed(t *testing.T) {
	for _, f := range sqlstoretest.Fixtures(t, fixtures, "sqlite") {
		t.Run("embedded "+f.Commit, func(t *testing.T) { upgraded(t, f, f.SQLite(t)) })
	}
	for _, f := range sqlstoretest.Fixtures(t, fixtures, "postgres") {
		t.Run("Postgres "+f.Commit, func(t *testing.T) {
			dir := t.TempDir()
			master := filepath.Join(dir, "master.key")
			f.WriteMasterKey(t, master)
			upgraded(t, f, dir, "--database-url", f.Postgres(t), "--master-key-file", master)
		})
	}
}

// upgraded serves a fixture.
func upgraded(t *testing.T, f sqlstoretest.Fixture, dir string, store ...string) {
	serve := append([]string{"imara", "serve", "--issuer", f.Values["ISSUER"]}, store...)
	s := serveWith(t, dir, address(t), serve...)
	s.wantToken(f, "CLIENT", http.StatusOK)
	s.wantToken(f, "NIGHTLY", http.StatusOK)
	s.wantToken(f, "LEAKED", http.StatusUnauthorized)

	s.operate(f, "keys", "create", "--name", "Today", "--scope", "alerts:read")
	receipt := s.operate(f, "keys", "revoke", "Nightly", "--yes", "--json")
	if !strings.Contains(receipt, `"confirmed"`) {
		t.Errorf("receipt %s", receipt)
	}
	s.wantToken(f, "NIGHTLY", http.StatusUnauthorized)
	list := s.operate(f, "keys", "list")
	for _, name := range []string{"Demo integration", "Nightly", "Leaked", "Today"} {
		if !strings.Contains(list, name) {
			t.Errorf("no %s in\n%s", name, list)
		}
	}
	// The operator's key of before 0.2 may not read an audit log.
	if !slices.Contains([]string{"da03211", "7fc49a1", "172c2dd"}, f.Commit) {
		s.operate(f, "audit", "verify")
	}
	if err := s.stop(); err != nil {
		t.Errorf("%v\n%s", err, s.stderr)
	}
}

// wantToken asks for a token with the secret of a fixture's key.
func (c *child) wantToken(f sqlstoretest.Fixture, key string, want int) {
	c.t.Helper()
	form := strings.NewReader("grant_type=client_credentials")
	request, err := http.NewRequest("POST", c.url+"/oauth2/token", form)
	if err != nil {
		c.t.Fatal(err)
	}
	request.SetBasicAuth(f.Values[key+"_ID"], f.Values[key+"_SECRET"])
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != want {
		c.t.Errorf("a token for %s: %d, want %d\n%s", key, answer.StatusCode, want, c.stderr)
	}
}

// operate runs the program with the operator's key of a fixture, for the demo customer.
func (c *child) operate(f sqlstoretest.Fixture, args ...string) string {
	c.t.Helper()
	args = append(args, "--issuer", f.Values["ISSUER"], "--url", c.url, "--org", "org_demo",
		"--client-id", f.Values["OPERATOR_ID"], "--secret-stdin")
	var out, talk bytes.Buffer
	secret := strings.NewReader(f.Values["OPERATOR_SECRET"])
	if code := run(c.t.Context(), args, secret, &out, &talk); code != exitOK {
		c.t.Errorf("imara %s: code %d, %s", strings.Join(args, " "), code, &talk)
	}
	return out.String()
}

// TestServerWithoutAColumnIsNotReady: it says which in its log, and does not start again.
func TestServerWithoutAColumnIsNotReady(t *testing.T) {
	const missing = "column keys.staff_hold"
	dir := t.TempDir()
	s := serveWith(t, dir, address(t), "imara", "serve")
	db, err := sql.Open("sqlite", filepath.Join(dir, "imara.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`ALTER TABLE keys DROP COLUMN staff_hold`); err != nil {
		t.Fatal(err)
	}
	if err := awaitStatus(s.url+"/readyz", http.StatusServiceUnavailable); err != nil {
		t.Fatal(err)
	}
	s.stop()
	log := s.stderr.String()
	if !strings.Contains(log, `"msg":"not ready"`) || !strings.Contains(log, missing) {
		t.Errorf("the log does not say what is missing:\n%s", log)
	}
	out, err := exec.Command("imara", "serve", "--listen", address(t), "--data", dir).CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "✗") || !strings.Contains(string(out), missing) {
		t.Errorf("the next start: %v\n%s", err, out)
	}
}
