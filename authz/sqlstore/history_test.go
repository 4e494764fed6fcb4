package sqlstore

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// each runs a test for every database of the repository's history, on every engine.
func each(t *testing.T, test func(*testing.T, *engine, sqlstoretest.Fixture)) {
	for _, e := range engines {
		for _, f := range sqlstoretest.Fixtures(t, "testdata", e.name) {
			t.Run(e.name+" "+f.Commit, func(t *testing.T) { test(t, &e, f) })
		}
	}
}

// fixture is the database of one commit.
func fixture(t *testing.T, engine, commit string) sqlstoretest.Fixture {
	t.Helper()
	for _, f := range sqlstoretest.Fixtures(t, "testdata", engine) {
		if f.Commit == commit {
			return f
		}
	}
	t.Fatalf("no database of %s", commit)
	return sqlstoretest.Fixture{}
}

// TestHistoryIsWhole: of each text that the migrations ever had, a database is kept.
// The first could be served from SQLite only.
func TestHistoryIsWhole(t *testing.T) {
	want := strings.Fields("da03211 7fc49a1 172c2dd c97669a 028a00c f301775" +
		" 0539f40 0166837 74af1da 9244a6b e39f9c0 a7a8a2b")
	for i, e := range engines {
		var have []string
		for _, f := range sqlstoretest.Fixtures(t, "testdata", e.name) {
			have = append(have, f.Commit)
		}
		for _, commit := range want[i:] {
			if !slices.Contains(have, commit) {
				t.Errorf("%s: no database of %s", e.name, commit)
			}
		}
	}
}

// TestEveryVersionsDatabaseBecomesTodays: its schema is that of a new database, what
// was in it is in it, to open it again changes nothing, and its audit log goes on.
func TestEveryVersionsDatabaseBecomesTodays(t *testing.T) {
	fresh := make(map[string][]string)
	for _, e := range engines {
		fresh[e.name] = e.fresh(t)
	}
	each(t, func(t *testing.T, e *engine, f sqlstoretest.Fixture) {
		source := e.source(t, &f)
		db := e.connect(t, source)
		columns := e.columnsOf(t, db)
		for c := range columns {
			// These are another thing today, have a test of their own or live for seconds.
			switch {
			case c == column{"scopes", "dangerous"}, c.table == "sessions", c.table == "goose_db_version":
				delete(columns, c)
			}
		}
		before := contents(t, db, columns)

		e.reopen(t, source)
		if diff := cmp.Diff(fresh[e.name], e.schemaOf(t, db)); diff != "" {
			t.Errorf("schema, a new one's and this one's: %s", diff)
		}
		if diff := cmp.Diff(before, contents(t, db, columns)); diff != "" {
			t.Errorf("rows, before and after: %s", diff)
		}

		columns = e.columnsOf(t, db)
		after := contents(t, db, columns)
		s, err := e.open(t.Context(), source)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if diff := cmp.Diff(after, contents(t, db, columns)); diff != "" {
			t.Errorf("the second opening changed something: %s", diff)
		}
		chainsGoOn(t, s)
	})
}

// TestDangerousScopesAreAnAdminsToGive: they were an Owner's or an Admin's.
func TestDangerousScopesAreAnAdminsToGive(t *testing.T) {
	for _, e := range engines {
		f := fixture(t, e.name, "028a00c")
		source := e.source(t, &f)
		db := e.connect(t, source)
		dangerous := lines(t, db, `SELECT name FROM scopes WHERE dangerous`)
		e.reopen(t, source)
		now := lines(t, db, `SELECT name FROM scopes WHERE granted_by = 'admin'`)
		if len(now) == 0 || !slices.Equal(now, dangerous) {
			t.Errorf("%s: %q were dangerous, and %q are an Admin's", e.name, dangerous, now)
		}
	}
}

// TestSigningKeysFromBeforeTheFirstVersionFollowEachOther: whose they were, and which
// replaced which, was not kept.
func TestSigningKeysFromBeforeTheFirstVersionFollowEachOther(t *testing.T) {
	for _, e := range engines {
		f := fixture(t, e.name, "7fc49a1")
		source := e.source(t, &f)
		db := e.connect(t, source)
		for _, later := range []string{"second", "third"} {
			_, err := db.ExecContext(t.Context(),
				`INSERT INTO signing_keys (id, algorithm, created_at, active_at, box)
				SELECT CAST($1 AS TEXT), algorithm, created_at + 1, active_at, box FROM signing_keys
				WHERE algorithm = 'ES256' ORDER BY created_at DESC LIMIT 1`, later)
			if err != nil {
				t.Fatal(err)
			}
		}
		first := lines(t, db, `SELECT id FROM signing_keys WHERE id <> 'second' AND id <> 'third'`)[0]
		e.reopen(t, source)
		got := lines(t, db, `SELECT id, replaces, issuer FROM signing_keys WHERE algorithm = 'ES256'`)
		issuer := f.Values["ISSUER"]
		want := []string{first + "  " + issuer, "second " + first + " " + issuer, "third second " + issuer}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", e.name, diff)
		}
	}
}

// chainsGoOn wants an entry of today to follow those of the version, in the customer's
// chain and in the one that is about no customer.
func chainsGoOn(t *testing.T, s *Store) {
	t.Helper()
	for _, organization := range []string{"org_demo", ""} {
		entry := keys.Entry{Kind: tokens.Touch, Subject: tokens.Organization(organization),
			OrganizationID: organization, Action: "test"}
		if _, err := s.Append(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
		events, err := s.Events(t.Context(), organization, keys.EventPage{})
		if err != nil {
			t.Fatal(err)
		}
		var chain keys.Chain
		for _, event := range events {
			if err := chain.Add(event); err != nil {
				t.Error(err)
			}
		}
		if chain.Events == chain.Unchained {
			t.Errorf("%q: no event is in the chain", organization)
		}
	}
}
