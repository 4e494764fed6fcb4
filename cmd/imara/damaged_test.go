//go:build linux

package main

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
)

// TestDamagedRowsStopNoServer: the settings of a customer, a scope, an old signing key.
// The start works, others get tokens, and lists and the log say what is damaged.
func TestDamagedRowsStopNoServer(t *testing.T) {
	list := sqlstoretest.Fixtures(t, fixtures, "sqlite")
	f := list[len(list)-1]
	dir := f.SQLite(t)
	start := func() *child {
		t.Helper()
		return serveWith(t, dir, address(t), "imara", "serve", "--issuer", f.Values["ISSUER"])
	}
	start().stop() // on today's schema
	db, err := sql.Open("sqlite", filepath.Join(dir, "imara.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		`UPDATE organizations SET settings = '{bad' WHERE id = 'org_demo'`,
		`UPDATE scopes SET restricted = 7 WHERE name = 'incidents:read'`,
		`UPDATE log SET changes = '{bad' WHERE seq = (SELECT MIN(seq) FROM log)`,
		`UPDATE signing_keys SET active_at = 1 WHERE algorithm = 'EdDSA'`,
		`INSERT INTO signing_keys SELECT 'old', issuer, algorithm, 'none', 1, 1, x'00' FROM signing_keys WHERE algorithm = 'ES256' LIMIT 1`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	s := start()
	s.wantToken(f, "CLIENT", http.StatusInternalServerError)
	s.wantToken(f, "OPERATOR", http.StatusOK)
	if list := s.operate(f, "orgs", "list", "--json"); !strings.Contains(list, `"damaged":true`) {
		t.Errorf("orgs list: %s", list)
	}
	if err := s.stop(); err != nil {
		t.Errorf("%v\n%s", err, s.stderr)
	}
	for _, want := range []string{`organizations, row \"org_demo\"`, `incidents:read`, `"kid":"old"`} {
		if !strings.Contains(s.stderr.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, s.stderr)
		}
	}
}
