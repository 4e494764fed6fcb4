package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// Strict tables of SQLite hold in each column what it is declared as, as tables of
// Postgres do. The migrations are one text for both engines, which makes tables that hold
// anything, and a NULL as an id: so each start makes the tables strict that are not.
//
// What is stored is the same in both kinds: only the text of the schema is changed, and
// every row, index, trigger and reference stays where it is. A copy of each table would
// take as long as the log is, and its space. A table with a row that does not fit stays
// as it is, and is asked again at the next start: to move the row away could lose a cut,
// and to refuse the start would let one row stop everything.

// makeStrict makes every table strict whose rows fit, and returns what does not fit, a
// sentence for each table.
func makeStrict(ctx context.Context, db *sql.DB) (unfit []string, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	texts, err := looseTables(ctx, conn)
	if err != nil || len(texts) == 0 {
		return nil, err
	}
	changed := make(map[string]string)
	for name, text := range texts {
		row, err := unfitRow(ctx, conn, name, text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("table %s: %w", name, err)
		case row != "":
			unfit = append(unfit, row)
		default:
			changed[name] = strictText(text)
		}
	}
	slices.Sort(unfit)
	if len(changed) == 0 {
		return unfit, nil
	}
	if err := tryTables(ctx, changed); err != nil {
		return nil, err
	}
	return unfit, replaceTexts(ctx, conn, changed)
}

// looseTables are our tables that are not strict, with the text of each.
func looseTables(ctx context.Context, conn *sql.Conn) (map[string]string, error) {
	rows, err := conn.QueryContext(ctx, `SELECT s.name, s.sql
		FROM sqlite_schema s JOIN pragma_table_list l ON l.schema = 'main' AND l.name = s.name
		WHERE s.type = 'table' AND NOT l.strict AND s.name NOT LIKE 'sqlite\_%' ESCAPE '\'
		  AND s.name <> 'goose_db_version'`)
	texts := make(map[string]string)
	_, err = collect(rows, err, func(rows *sql.Rows) (name string, err error) {
		var text string
		err = rows.Scan(&name, &text)
		texts[name] = text
		return name, err
	})
	return texts, err
}

// The words of a CREATE TABLE that a strict one has otherwise.
var (
	strictWords = strings.NewReplacer("BIGINT", "INT", "BOOLEAN", "INT", "BYTEA", "BLOB")
	looseKey    = regexp.MustCompile(`(TEXT|INT|BLOB) PRIMARY KEY`)
)

// strictText is the text of the strict table instead of one of ours. An INT that is a
// key stays a column: an INTEGER would take a NULL for the next number.
func strictText(text string) string {
	text = strings.TrimRight(strictWords.Replace(text), " \n;") + " STRICT"
	return looseKey.ReplaceAllString(text, "$1 NOT NULL PRIMARY KEY")
}

// strictTypes are the storage classes that a declared type may hold.
var strictTypes = map[string]string{"BIGINT": "integer", "BOOLEAN": "integer", "INT": "integer",
	"BYTEA": "blob", "BLOB": "blob", "TEXT": "text"}

// strictMigrations are the migrations with the words of strict tables, in which a column
// of another type cannot be added.
type strictMigrations struct{ fs.FS }

// firstStrict is the first migration that can meet a strict table.
const firstStrict = "00014"

// Open implements [fs.FS].
func (m strictMigrations) Open(name string) (fs.File, error) {
	file, err := m.FS.Open(name)
	if err != nil || name < firstStrict {
		return file, err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return strictFile{file, strings.NewReader(strictWords.Replace(string(text)))}, nil
}

// A strictFile is read from its reader.
type strictFile struct {
	fs.File
	io.Reader
}

func (f strictFile) Read(b []byte) (int, error) { return f.Reader.Read(b) }

// unfitRow names the first row of a table that a strict one could not hold; empty when
// all fit.
func unfitRow(ctx context.Context, conn *sql.Conn, table, text string) (string, error) {
	rows, err := conn.QueryContext(ctx, `SELECT name, type, "notnull", pk FROM pragma_table_info($1)`, table)
	var conditions []string
	_, err = collect(rows, err, func(rows *sql.Rows) (string, error) {
		var name, kind string
		var notNull bool
		var key int
		if err := rows.Scan(&name, &kind, &notNull, &key); err != nil {
			return "", err
		}
		class, known := strictTypes[kind]
		if !known {
			return "", fmt.Errorf("column %s: no type %s", name, kind)
		}
		condition := fmt.Sprintf(`WHEN typeof(%s) <> '%s'`, name, class)
		if !notNull && key == 0 {
			condition += fmt.Sprintf(` AND %s IS NOT NULL`, name)
		}
		conditions = append(conditions, condition+fmt.Sprintf(` THEN '%s'`, name))
		return name, nil
	})
	if err != nil {
		return "", err
	}
	var row int64
	var column string
	err = conn.QueryRowContext(ctx, `SELECT at, unfit FROM (SELECT rowid AS at, CASE `+
		strings.Join(conditions, " ")+` END AS unfit FROM `+table+`) WHERE unfit IS NOT NULL LIMIT 1`).Scan(&row, &column)
	if err == sql.ErrNoRows {
		return "", nil
	}
	return fmt.Sprintf("table %s, rowid %d: what column %s holds is not of its type", table, row, column), err
}

// tryTables makes the tables in a database of their own: a text with a fault would take
// the real one's schema with it.
func tryTables(ctx context.Context, texts map[string]string) error {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection has a memory of its own
	for name, text := range texts {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
	}
	return nil
}

// replaceTexts changes the schema in one transaction, which it takes back when the
// database does not stand the check of it.
func replaceTexts(ctx context.Context, conn *sql.Conn, texts map[string]string) (err error) {
	defer func() {
		_, e := conn.ExecContext(context.WithoutCancel(ctx), `PRAGMA writable_schema = RESET`)
		if err == nil {
			err = e
		}
	}()
	if _, err := conn.ExecContext(ctx, `PRAGMA writable_schema = ON`); err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for name, text := range texts {
		if _, err := tx.ExecContext(ctx,
			`UPDATE sqlite_schema SET sql = $2 WHERE type = 'table' AND name = $1`, name, text); err != nil {
			return err
		}
	}
	var version int64
	if err := tx.QueryRowContext(ctx, `PRAGMA schema_version`).Scan(&version); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA schema_version = %d`, version+1)); err != nil {
		return err
	}
	return tx.Commit()
}
