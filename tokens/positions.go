package tokens

import (
	"hash/maphash"
	"sync/atomic"
)

// Positions keeps, in memory, the newest log position of each subject. Any
// number of goroutines may ask; one at a time may write. Asking takes no lock
// and does not allocate.
//
// It is an open-addressing table of keyed 64-bit hashes, 20 to 40 bytes an
// entry: a collision, which nobody can provoke without the random key, can only
// make a position look newer, which denies and never admits. A map behind a
// lock is two to three times slower with two readers, and holds every id.
type Positions struct {
	seed  maphash.Seed
	table atomic.Pointer[table]
}

type table struct {
	slots []slot // a power of two
	used  int    // the writer's own
}

type slot struct{ key, position atomic.Uint64 }

const smallestTable = 64

// NewPositions returns an empty table.
func NewPositions() *Positions {
	p := &Positions{seed: maphash.MakeSeed()}
	p.table.Store(&table{slots: make([]slot, smallestTable)})
	return p
}

// Newest returns the newest position of subject, 0 when it has none.
func (p *Positions) Newest(subject Subject) uint64 { return p.newest(subject.split()) }

// Len returns how many subjects the table holds. It is the writer's to call.
func (p *Positions) Len() int { return p.table.Load().used }

// Raise records that subject has an entry at position. Lower ones than it
// already holds change nothing.
func (p *Positions) Raise(subject Subject, position uint64) {
	t := p.table.Load()
	if 5*(t.used+1) > 4*len(t.slots) {
		t = t.rebuilt(2*len(t.slots), 0)
		p.table.Store(t)
	}
	t.raise(p.hash(subject.split()), position)
}

// Drop forgets all positions up to and including floor.
func (p *Positions) Drop(floor uint64) {
	t := p.table.Load()
	keep := 0
	for i := range t.slots {
		if t.slots[i].position.Load() > floor {
			keep++
		}
	}
	if keep == t.used {
		return
	}
	size := smallestTable
	for 5*(keep+1) > 4*size {
		size *= 2
	}
	p.table.Store(t.rebuilt(size, floor))
}

func (p *Positions) newest(dimension byte, id string) uint64 {
	key := p.hash(dimension, id)
	t := p.table.Load()
	for i := key; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		switch s.key.Load() {
		case key:
			return s.position.Load()
		case 0:
			return 0
		}
	}
}

// hash is never 0, which marks an empty slot.
func (p *Positions) hash(dimension byte, id string) uint64 {
	h := maphash.String(p.seed, id) + uint64(dimension)*0x9e3779b97f4a7c15
	return max(h, 1)
}

// raise writes the position before the key: a reader that sees the key sees a
// position that belongs to it.
func (t *table) raise(key, position uint64) {
	for i := key; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		switch s.key.Load() {
		case key:
			if position > s.position.Load() {
				s.position.Store(position)
			}
			return
		case 0:
			s.position.Store(position)
			s.key.Store(key)
			t.used++
			return
		}
	}
}

// rebuilt copies what is above floor to a table of size slots. Readers of the
// old one see it as it was.
func (t *table) rebuilt(size int, floor uint64) *table {
	next := &table{slots: make([]slot, size)}
	for i := range t.slots {
		if position := t.slots[i].position.Load(); position > floor {
			next.raise(t.slots[i].key.Load(), position)
		}
	}
	return next
}
