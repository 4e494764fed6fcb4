package sqlstoretest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// A Fixture is a database that the program of an earlier commit made.
type Fixture struct {
	Commit string
	// Values are what the test needs to know of it: MASTER_KEY, ISSUER, and of the
	// keys CLIENT, OPERATOR, NIGHTLY and LEAKED, which is revoked, _ID and _SECRET.
	Values map[string]string
	sql    string
}

// Fixtures are those of an engine, sqlite or postgres, in the directory that
// testdata/make.sh wrote.
func Fixtures(t testing.TB, dir, engine string) []Fixture {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*."+engine+".sql.gz"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no databases of %s in %s: %v", engine, dir, err)
	}
	var list []Fixture
	for _, path := range paths {
		f, err := readFixture(path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		list = append(list, f)
	}
	return list
}

func readFixture(path string) (Fixture, error) {
	commit, _, _ := strings.Cut(filepath.Base(path), ".")
	file, err := os.Open(path)
	if err != nil {
		return Fixture{}, err
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		return Fixture{}, err
	}
	text, err := io.ReadAll(unpacked)
	f := Fixture{Commit: commit, Values: make(map[string]string), sql: string(text)}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line, comment := strings.CutPrefix(lines.Text(), "-- ")
		if !comment {
			break
		}
		name, value, _ := strings.Cut(line, "=")
		f.Values[name] = value
	}
	return f, err
}

// SQLite returns a data directory with the database and its master key.
func (f Fixture) SQLite(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "sqlite", filepath.Join(dir, "imara.db"), f.sql)
	f.WriteMasterKey(t, filepath.Join(dir, "master.key"))
	return dir
}

// Postgres returns the URL of a database of the shared server that is the fixture.
func (f Fixture) Postgres(t testing.TB) string {
	t.Helper()
	url := URL(t)
	run(t, "pgx", url, f.sql)
	return url
}

// PostgresIn makes the fixture in a schema of a database.
func (f Fixture) PostgresIn(t testing.TB, url, schema string) {
	t.Helper()
	run(t, "pgx", url, strings.ReplaceAll(f.sql, "public.", schema+"."))
}

// WriteMasterKey writes the master key of the fixture to a file of the owner's.
func (f Fixture) WriteMasterKey(t testing.TB, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(f.Values["MASTER_KEY"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs statements on one connection: those of a dump set what it sees.
func run(t testing.TB, driver, source, statements string) {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(context.Background(), statements); err != nil {
		t.Fatal(err)
	}
}
