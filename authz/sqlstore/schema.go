package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
)

// ErrSchema: the database lacks tables or columns that this version uses. The error
// names them.
var ErrSchema = errors.New("the schema lacks what this version needs")

// A column of a table.
type column struct{ table, name string }

// What an engine knows of its columns; of Postgres, those that a statement finds
// without naming a schema.
const (
	sqliteColumns = `SELECT t.name, c.name
		FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'`
	postgresColumns = `SELECT c.relname, a.attname
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relkind IN ('r', 'p') AND c.relnamespace <> 'pg_catalog'::regnamespace
		  AND pg_table_is_visible(c.oid) AND a.attnum > 0 AND NOT a.attisdropped`
)

// readColumns runs one of these queries.
func readColumns(ctx context.Context, q querier, query string) (map[column]bool, error) {
	rows, err := q.QueryContext(ctx, query)
	list, err := collect(rows, err, func(rows *sql.Rows) (c column, err error) {
		return c, rows.Scan(&c.table, &c.name)
	})
	columns := make(map[column]bool)
	for _, c := range list {
		columns[c] = true
	}
	return columns, err
}

// needed are the columns that the code uses: those of a database that the migrations
// have just made.
var needed = sync.OnceValues(func() (map[column]bool, error) {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection has a memory of its own
	if err := upgrade(ctx, db, goose.DialectSQLite3); err != nil {
		return nil, err
	}
	return readColumns(ctx, db, sqliteColumns+` AND t.name NOT LIKE 'sqlite_%'`)
})

// lack returns what a database with these columns lacks, or nil: more than is needed
// is what a later version added.
func lack(have map[column]bool) error {
	need, err := needed()
	if err != nil {
		return err
	}
	tables := make(map[string]bool)
	for c := range have {
		tables[c.table] = true
	}
	var missing []string
	for c := range need {
		switch {
		case !tables[c.table]:
			missing = append(missing, "table "+c.table)
		case !have[c]:
			missing = append(missing, "column "+c.table+"."+c.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("%w: %s", ErrSchema, strings.Join(slices.Compact(missing), ", "))
}

// schemaAge is for how long a comparison of the schema holds.
const schemaAge = 10 * time.Second

// A comparison of the schema with what the code needs.
type comparison struct {
	at  time.Time
	err error
}

// checkSchema returns [ErrSchema] when something is missing.
func (s *Store) checkSchema(ctx context.Context, q querier) error {
	if last := s.compared.Load(); last != nil && time.Since(last.at) < schemaAge {
		return last.err
	}
	have, err := readColumns(ctx, q, s.columns)
	if err != nil {
		return s.fail(err)
	}
	now := &comparison{time.Now(), lack(have)}
	s.compared.Store(now)
	return now.err
}
