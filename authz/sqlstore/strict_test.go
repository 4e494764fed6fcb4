package sqlstore

import (
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"
)

// TestEveryTableBecomesStrict: of a new database and of earlier versions', with each row,
// index and reference as it was, and ids that cannot be NULL.
func TestEveryTableBecomesStrict(t *testing.T) {
	e := engines[0]
	sources := []string{e.source(t, nil)}
	for _, commit := range []string{"172c2dd", "c97669a", "a7a8a2b"} {
		f := fixture(t, e.name, commit)
		sources = append(sources, e.source(t, &f))
	}
	for _, source := range sources {
		db := e.connect(t, source)
		if err := upgrade(t.Context(), db, goose.DialectSQLite3); err != nil {
			t.Fatal(err)
		}
		before, schema := contents(t, db, e.columnsOf(t, db)), e.schemaOf(t, db)
		if unfit, err := makeStrict(t.Context(), db); err != nil || unfit != nil {
			t.Fatalf("%s: %v, %v", source, unfit, err)
		}
		db.Close()
		db = e.connect(t, source)
		if diff := cmp.Diff(before, contents(t, db, e.columnsOf(t, db))); diff != "" {
			t.Errorf("%s: %s", source, diff)
		}
		indexes := func(line string) bool { return strings.HasPrefix(line, "CREATE TABLE") }
		if diff := cmp.Diff(slices.DeleteFunc(schema, indexes), slices.DeleteFunc(e.schemaOf(t, db), indexes)); diff != "" {
			t.Errorf("%s: indexes: %s", source, diff)
		}
		loose := lines(t, db, `SELECT name FROM pragma_table_list WHERE NOT strict AND schema = 'main'
			AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name <> 'goose_db_version'`)
		nullable := lines(t, db, `SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
			WHERE t.type = 'table' AND c.pk > 0 AND NOT c."notnull" AND t.name <> 'goose_db_version'`)
		faults := append(lines(t, db, `PRAGMA integrity_check`), lines(t, db, `PRAGMA foreign_key_check`)...)
		if len(loose) > 0 || len(nullable) > 0 || !slices.Equal(faults, []string{"ok"}) {
			t.Errorf("%s: loose %v, NULL in %v, %v", source, loose, nullable, faults)
		}
		for _, wrong := range []string{`INSERT INTO presets VALUES (NULL, '', '', '')`,
			`INSERT INTO presets VALUES (x'00', '', '', '')`, `INSERT INTO feed VALUES (NULL, 1, 1, 2, 0, 0)`} {
			if _, err := db.ExecContext(t.Context(), wrong); err == nil {
				t.Errorf("%s: %s is done", source, wrong)
			}
		}
		if _, err := db.ExecContext(t.Context(), `ALTER TABLE keys ADD COLUMN later INT NOT NULL DEFAULT 0`); err != nil {
			t.Errorf("a later migration: %v", err)
		}
	}
}

// TestTableWithARowThatDoesNotFitStaysWhole: the start works and names table, row and
// column, the other tables are strict, and so is this one once the row is put right.
func TestTableWithARowThatDoesNotFitStaysWhole(t *testing.T) {
	e := engines[0]
	source := e.source(t, nil)
	db := e.connect(t, source)
	if err := upgrade(t.Context(), db, goose.DialectSQLite3); err != nil {
		t.Fatal(err)
	}
	exec := func(db *sql.DB, statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec(db, `INSERT INTO presets VALUES (NULL, 'n', 'd', 's'), ('p', 'n', 'd', 's')`)
	exec(db, `INSERT INTO organizations VALUES ('o', 'n', 'Free', NULL, 0, 'yesterday', '{}')`)
	db.Close()
	told := func() (list []string) {
		s, err := e.open(t.Context(), source)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.OnDamage(func(err error) { list = append(list, err.Error()) })
		return list
	}
	want := []string{"table organizations, rowid 1: what column created_at holds is not of its type",
		"table presets, rowid 1: what column id holds is not of its type"}
	if diff := cmp.Diff(want, told()); diff != "" {
		t.Error(diff)
	}
	db = e.connect(t, source)
	if n := lines(t, db, `SELECT COUNT(*) FROM presets`); n[0] != "2" {
		t.Errorf("%v presets are left", n)
	}
	exec(db, `UPDATE presets SET id = 'q' WHERE id IS NULL`)
	db.Close()
	if diff := cmp.Diff(want[:1], told()); diff != "" {
		t.Error(diff)
	}
}
