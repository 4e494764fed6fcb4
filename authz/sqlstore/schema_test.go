package sqlstore

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestSchemaThatLacksSomethingIsRefusedByName: at the start, and by a server that runs.
func TestSchemaThatLacksSomethingIsRefusedByName(t *testing.T) {
	for _, e := range engines {
		for statement, name := range map[string]string{
			`ALTER TABLE keys DROP COLUMN staff_hold`:   "column keys.staff_hold",
			`ALTER TABLE log RENAME COLUMN hash TO sum`: "column log.hash",
			`ALTER TABLE feed DROP COLUMN floor`:        "column feed.floor",
			`DROP TABLE presets`:                        "table presets",
			`DROP TABLE feed`:                           "table feed",
		} {
			t.Run(e.name+" "+name, func(t *testing.T) {
				source := e.source(t, nil)
				s, err := e.open(t.Context(), source)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if _, err := s.write.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
				s.compared.Store(&comparison{at: time.Now().Add(-schemaAge)})
				if err := s.Ping(t.Context()); !names(err, name) {
					t.Errorf("ping: %v", err)
				}
				s.Close()
				if _, err := e.open(t.Context(), source); !names(err, name) {
					t.Errorf("the start: %v", err)
				}
			})
		}
	}
}

// names tells whether an error says that this is missing, and nothing else.
func names(err error, missing string) bool {
	return errors.Is(err, ErrSchema) && strings.HasSuffix(err.Error(), ErrSchema.Error()+": "+missing)
}

// TestLaterSchemaIsReady: what another version added is in nobody's way.
func TestLaterSchemaIsReady(t *testing.T) {
	for _, e := range engines {
		source := e.source(t, nil)
		e.reopen(t, source)
		db := e.connect(t, source)
		for _, statement := range []string{
			`ALTER TABLE keys ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'`,
			`CREATE TABLE later (id TEXT PRIMARY KEY)`,
			`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, TRUE)`,
		} {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		e.reopen(t, source)
	}
}

// TestComparisonsOfTheSchemaAreRare: probes are asked every second or two, by many.
func TestComparisonsOfTheSchemaAreRare(t *testing.T) {
	s := openDir(t, t.TempDir())
	first := s.compared.Load()
	for range 100 {
		if err := s.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s.compared.Load() != first {
		t.Error("the schema was compared again")
	}
	s.compared.Store(&comparison{at: time.Now().Add(-schemaAge), err: ErrSchema})
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("an old comparison still counts: %v", err)
	}
}
