package sqlstore

import (
	"errors"
	"fmt"
	"sync"
)

// A RowError is a row that is not as this program writes rows: it is the error of what
// needs that row, and of nothing else. Lists of what everybody needs leave it out, and
// [Store.OnDamage] tells of it; lists of one organization fail with it.
type RowError struct {
	Table string
	ID    string // of its first column; empty when that is what cannot be read
	Err   error
}

func (e *RowError) Error() string {
	return fmt.Sprintf("table %s, row %q cannot be read: %v", e.Table, e.ID, e.Err)
}

func (e *RowError) Unwrap() error { return e.Err }

// inRow is the error of a row of a table, or nil.
func inRow(table, id string, err error) error {
	if err == nil {
		return nil
	}
	return &RowError{table, id, err}
}

// damaged counts rows that could not be read, and tells of each once.
type damaged struct {
	mu    sync.Mutex
	count uint64
	told  map[string]bool
	tell  func(error)
}

// maxDamaged bounds what is remembered.
const maxDamaged = 1000

// met tells whether err is one of a row, and counts it.
func (d *damaged) met(err error) bool {
	var row *RowError
	if !errors.As(err, &row) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	if name := row.Table + "/" + row.ID; d.tell != nil && !d.told[name] && len(d.told) < maxDamaged {
		d.told[name] = true
		d.tell(row)
	}
	return true
}

// OnDamage sets what is told, once each, of rows that cannot be read, and at once of
// tables of SQLite that hold what strict ones could not.
func (s *Store) OnDamage(tell func(error)) {
	s.damaged.mu.Lock()
	s.damaged.tell, s.damaged.told = tell, make(map[string]bool)
	s.damaged.mu.Unlock()
	for _, text := range s.unfit {
		tell(errors.New(text))
	}
}

// Damaged is how often a row could not be read.
func (s *Store) Damaged() uint64 {
	s.damaged.mu.Lock()
	defer s.damaged.mu.Unlock()
	return s.damaged.count
}
