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
		for missing, statements := range map[string][]string{
			"column feed.floor, column keys.staff_hold, column log.hash, table presets": {
				`ALTER TABLE keys DROP COLUMN staff_hold`, `DROP TABLE presets`,
				`ALTER TABLE log RENAME COLUMN hash TO sum`, `ALTER TABLE feed DROP COLUMN floor`},
			"table feed": {`DROP TABLE feed`},
		} {
			t.Run(e.name+" "+missing, func(t *testing.T) { e.lacks(t, missing, statements) })
		}
	}
}

// lacks wants a store that has lost something to name it.
func (e *engine) lacks(t *testing.T, missing string, statements []string) {
	source := e.source(t, nil)
	s, err := e.open(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, statement := range statements {
		if _, err := s.write.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	s.compared.Store(&comparison{at: time.Now().Add(-schemaAge)})
	if err := s.Ping(t.Context()); !names(err, missing) {
		t.Errorf("ping: %v", err)
	}
	s.Close()
	if _, err := e.open(t.Context(), source); !names(err, missing) {
		t.Errorf("the start: %v", err)
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
