package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
)

// An engine is what the tests of schemas need of one.
type engine struct {
	name, driver string
	// source of a fixture, or of an empty database without one, for the driver and
	// for open.
	source func(*testing.T, *sqlstoretest.Fixture) string
	open   func(context.Context, string) (*Store, error)
	// schema is a query of lines that describe the schema, and describe writes one so
	// that the order in which it came to be does not show.
	schema   string
	describe func(string) string
	columns  string
}

var engines = []engine{
	{
		name: "sqlite", driver: "sqlite",
		source: func(t *testing.T, f *sqlstoretest.Fixture) string {
			if f == nil {
				return t.TempDir() + "/imara.db"
			}
			return f.SQLite(t) + "/imara.db"
		},
		open: func(ctx context.Context, path string) (*Store, error) {
			return OpenSQLite(ctx, strings.TrimSuffix(path, "/imara.db"))
		},
		schema:   `SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'`,
		describe: sorted,
		columns:  sqliteColumns,
	},
	{
		name: "postgres", driver: "pgx",
		source: func(t *testing.T, f *sqlstoretest.Fixture) string {
			if f == nil {
				return sqlstoretest.URL(t)
			}
			return f.Postgres(t)
		},
		open: OpenPostgres,
		schema: `SELECT table_name || '.' || column_name || ' ' || data_type || ' null: ' || is_nullable || ' default: ' || COALESCE(column_default, '')
			FROM information_schema.columns WHERE table_schema = current_schema()
			UNION ALL SELECT REPLACE(indexdef, schemaname || '.', '') FROM pg_indexes WHERE schemaname = current_schema()
			UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
			FROM pg_constraint WHERE connamespace = current_schema()::regnamespace`,
		describe: func(line string) string { return line },
		columns:  postgresColumns,
	},
}

// sorted puts the definitions of a CREATE TABLE in their alphabetical order, since
// columns that were added later stand last, and its white space in order.
func sorted(create string) string {
	head, body, _ := strings.Cut(strings.Join(strings.Fields(create), " "), "(")
	if !strings.HasPrefix(head, "CREATE TABLE") {
		return head + "(" + body
	}
	var definitions []string
	for depth, start, i := 0, 0, 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '(':
			depth++
		case c == ',' && depth == 0 || c == ')' && depth == 0:
			definitions = append(definitions, strings.TrimSpace(body[start:i]))
			start = i + 1
		case c == ')':
			depth--
		}
	}
	slices.Sort(definitions)
	return head + "(\n" + strings.Join(definitions, "\n") + ")"
}

func (e *engine) connect(t *testing.T, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(e.driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// schemaOf describes a database's tables, columns, constraints and indexes.
func (e *engine) schemaOf(t *testing.T, db *sql.DB) []string {
	t.Helper()
	lines := lines(t, db, e.schema)
	for i, line := range lines {
		lines[i] = e.describe(line)
	}
	slices.Sort(lines)
	return lines
}

// lines are the rows of a query as text, in order.
func lines(t *testing.T, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	list, err := collect(rows, nil, func(rows *sql.Rows) (string, error) {
		values := make([]any, len(names))
		for i := range values {
			values[i] = new(any)
		}
		err := rows.Scan(values...)
		for i, v := range values {
			values[i] = *v.(*any)
		}
		return strings.Trim(fmt.Sprint(values), "[]"), err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// columnsOf are the columns that a database has now.
func (e *engine) columnsOf(t *testing.T, db *sql.DB) map[column]bool {
	t.Helper()
	columns, err := readColumns(t.Context(), db, e.columns)
	if err != nil {
		t.Fatal(err)
	}
	for c := range columns {
		if strings.HasPrefix(c.table, "sqlite_") {
			delete(columns, c)
		}
	}
	return columns
}

// contents are the rows of each table, of these columns.
func contents(t *testing.T, db *sql.DB, columns map[column]bool) map[string][]string {
	t.Helper()
	tables := make(map[string][]string)
	for c := range columns {
		tables[c.table] = append(tables[c.table], c.name)
	}
	rows := make(map[string][]string)
	for table, names := range tables {
		slices.Sort(names)
		rows[table] = lines(t, db, `SELECT `+strings.Join(names, ", ")+` FROM `+table)
	}
	return rows
}

// reopen opens and closes a store.
func (e *engine) reopen(t *testing.T, source string) {
	t.Helper()
	s, err := e.open(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// fresh is the schema of a new database.
func (e *engine) fresh(t *testing.T) []string {
	t.Helper()
	source := e.source(t, nil)
	e.reopen(t, source)
	return e.schemaOf(t, e.connect(t, source))
}
