package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
)

// garbage is what a column is set to, by its type: of that type, since a column of
// Postgres, and of a strict table, holds nothing else.
var garbage = map[string]string{"TEXT": `'{bad'`, "text": `'{bad'`, "INT": `-7`, "bigint": `-7`,
	"BLOB": `x'00'`, "bytea": `'\x00'`, "boolean": `TRUE`}

// TestADamagedRowIsItsOwnErrorOnly garbles each column of each table in turn, in one row.
// Nothing panics, what a start reads is read, and of two organizations one works at least;
// what fails names its table.
func TestADamagedRowIsItsOwnErrorOnly(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			f := fixture(t, e.name, "a7a8a2b")
			source := e.source(t, &f)
			s, err := e.open(t.Context(), source)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			db := e.connect(t, source)
			g := newGarbler(t, &e, db)
			// A claim of Postgres moves the row, which could then not be put back.
			due := time.Unix(-1, 0)
			if e.name == "sqlite" {
				due = time.Now()
			}
			checkStore(t, "nothing", s, due)
			garbled := 0
			for _, c := range g.columns {
				if undo := g.garble(c); undo != nil {
					garbled++
					checkStore(t, c.table+"."+c.name, s, due)
					undo()
				}
			}
			checkStore(t, "nothing any more", s, due)
			if garbled < 50 {
				t.Errorf("only %d columns were garbled", garbled)
			}
		})
	}
}

// checkStore reads what a start reads, and what faces ask of each organization.
func checkStore(t *testing.T, garbled string, s *Store, dueAt time.Time) {
	t.Helper()
	ctx, now := t.Context(), time.Now()
	_, signing := s.SigningKeys(ctx)
	_, resources := s.Resources(ctx)
	_, presets := s.Presets(ctx)
	list, organizations := s.Organizations(ctx, "", 10)
	_, unsettled := s.Unsettled(ctx, now)
	_, due := s.DueDeliveries(ctx, dueAt, dueAt, 10, nil)
	_, ending := s.Ending(ctx, now, now.Add(time.Hour))
	_, snapshot := s.Snapshot(ctx)
	_, read := s.Read(ctx, 0, 1000)
	_, roll := s.Roll(ctx)
	start := errors.Join(signing, resources, presets, organizations, unsettled, due, ending, snapshot, read, roll)
	if start != nil && !strings.HasPrefix(garbled, "feed.") {
		t.Errorf("%s: a start fails: %v", garbled, start)
	}
	if len(list) != 2 && garbled != "organizations.id" {
		t.Errorf("%s: %d organizations are listed", garbled, len(list))
	}
	broken := 0
	for _, o := range list {
		if err := checkOrganization(ctx, s, o.ID); err != nil {
			broken++
			if row := (*RowError)(nil); !errors.As(err, &row) || row.Table == "" {
				t.Errorf("%s: %v", garbled, err)
			}
		}
	}
	if strings.HasPrefix(garbled, "feed.") {
		return // there is one, and everything stands on it
	}
	if broken > 1 || broken > 0 && strings.HasPrefix(garbled, "nothing") {
		t.Errorf("%s: %d organizations are broken", garbled, broken)
	}
}

func checkOrganization(ctx context.Context, s *Store, id string) error {
	_, organization := s.Organization(ctx, id)
	if errors.Is(organization, keys.ErrNotFound) {
		organization = nil
	}
	list, all := s.Keys(ctx, id, keys.Page{})
	for _, k := range list[:min(1, len(list))] {
		if _, err := s.Record(ctx, k.ClientID, ""); err != nil && !errors.Is(err, keys.ErrNotFound) {
			return err
		}
	}
	_, members := s.Members(ctx, id)
	_, hooks := s.Webhooks(ctx, id)
	_, events := s.Events(ctx, id, keys.EventPage{Limit: 1000})
	receipts, cuts := s.Receipts(ctx, id, keys.ReceiptPage{})
	for _, r := range receipts[:min(1, len(receipts))] {
		if _, err := s.Receipt(ctx, r.Position); err != nil && !errors.Is(err, keys.ErrNotFound) {
			return err
		}
	}
	return errors.Join(organization, all, members, hooks, events, cuts)
}

// A garbler damages rows, on a connection that no reference holds back.
type garbler struct {
	t       *testing.T
	conn    *sql.Conn
	row     string // what names a row
	columns []typedColumn
}

type typedColumn struct{ table, name, kind string }

func newGarbler(t *testing.T, e *engine, db *sql.DB) *garbler {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	g := &garbler{t: t, conn: conn, row: "rowid"}
	types := `SELECT t.name, c.name, c.type FROM sqlite_schema t, pragma_table_info(t.name) c
		WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\' AND t.name <> 'goose_db_version'`
	if e.name == "postgres" {
		g.row = "ctid"
		types = `SELECT table_name, column_name, data_type FROM information_schema.columns
			WHERE table_schema = current_schema() AND table_name <> 'goose_db_version'
			  AND data_type = 'text'` // numbers are read as those of SQLite are
		if _, err := conn.ExecContext(t.Context(), `SET session_replication_role = replica`); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := conn.QueryContext(t.Context(), types)
	g.columns, err = collect(rows, err, func(rows *sql.Rows) (c typedColumn, err error) {
		return c, rows.Scan(&c.table, &c.name, &c.kind)
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// garble damages a column in the first row of its table, and returns what takes that
// back; nil when there is no row, or a constraint that forbids it.
func (g *garbler) garble(c typedColumn) (undo func()) {
	value, known := garbage[c.kind]
	if !known {
		g.t.Fatalf("no garbage for %v", c)
	}
	var was, row any
	ctx := g.t.Context()
	first := fmt.Sprintf(`SELECT %s, %s FROM %s ORDER BY 2 LIMIT 1`, c.name, g.row, c.table)
	if g.conn.QueryRowContext(ctx, first).Scan(&was, &row) != nil {
		return nil
	}
	set := fmt.Sprintf(`UPDATE %s SET %s = %%s WHERE %s = %%s RETURNING %[3]s`, c.table, c.name, g.row)
	var at any
	if g.conn.QueryRowContext(ctx, fmt.Sprintf(set, value, "$1"), row).Scan(&at) != nil {
		return nil
	}
	return func() {
		if err := g.conn.QueryRowContext(ctx, fmt.Sprintf(set, "$1", "$2"), was, at).Scan(&at); err != nil {
			g.t.Fatalf("%v is not put back: %v", c, err)
		}
	}
}
