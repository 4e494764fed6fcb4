package tokens

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// Positions keeps, in memory, the newest log position of each subject. Any
// number of goroutines may ask; one at a time may write. Asking takes no lock
// and does not allocate.
//
// It is an open-addressing table of keyed 64-bit hashes, 20 to 40 bytes an
// entry: a collision, which nobody can provoke without the random key, can only
// make a position look newer, which denies and never admits. A byte of each hash
// stands apart, eight to a word, so that most misses, which are most questions,
// are answered from the seventeenth of the table that stays in the processor's cache.
// A map behind a lock is several times slower with two readers, and holds every id.
type Positions struct {
	seed  maphash.Seed
	table atomic.Pointer[table]
}

// table is groups of eight slots. A tag of 0 is an empty slot.
type table struct {
	tags  []atomic.Uint64 // of one group each; a power of two
	slots []slot          // eight a group
	used  int             // the writer's own
}

type slot struct{ key, position atomic.Uint64 }

const smallestTable = 8 // groups

func newTable(groups int) *table {
	return &table{tags: make([]atomic.Uint64, groups), slots: make([]slot, 8*groups)}
}

// NewPositions returns an empty table.
func NewPositions() *Positions {
	p := &Positions{seed: maphash.MakeSeed()}
	p.table.Store(newTable(smallestTable))
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
	if full(t.used+1, len(t.tags)) {
		t = t.rebuilt(2*len(t.tags), 0)
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
	groups := smallestTable
	for full(keep+1, groups) {
		groups *= 2
	}
	p.table.Store(t.rebuilt(groups, floor))
}

func (p *Positions) newest(dimension byte, id string) uint64 {
	key := p.hash(dimension, id)
	t := p.table.Load()
	mask := uint64(len(t.tags) - 1)
	for g := key & mask; ; g = (g + 1) & mask {
		tags := t.tags[g].Load()
		for found := zeroBytes(tags ^ tagOf(key)*everyByte); found != 0; found &= found - 1 {
			s := &t.slots[8*g+uint64(bits.TrailingZeros64(found)/8)]
			if s.key.Load() == key {
				return s.position.Load()
			}
		}
		if zeroBytes(tags) != 0 {
			return 0
		}
	}
}

func (p *Positions) hash(dimension byte, id string) uint64 {
	return maphash.String(p.seed, id) + uint64(dimension)*0x9e3779b97f4a7c15
}

const everyByte = 0x0101010101010101

// tagOf is the upper byte of a hash, never 0.
func tagOf(key uint64) uint64 { return max(key>>56, 1) }

// zeroBytes marks with its highest bit each byte of x that is 0. A byte of 1 after
// one of 0 may be marked as well; the key decides.
func zeroBytes(x uint64) uint64 { return (x - everyByte) &^ x & (everyByte << 7) }

// full tells whether more than 85 percent of the slots of so many groups are used.
func full(used, groups int) bool { return 100*used > 85*8*groups }

// raise writes the position and the key before the tag: a reader that sees the
// tag sees what belongs to it.
func (t *table) raise(key, position uint64) {
	mask := uint64(len(t.tags) - 1)
	for g := key & mask; ; g = (g + 1) & mask {
		tags := t.tags[g].Load()
		for i := range uint64(8) {
			s := &t.slots[8*g+i]
			switch tag := tags >> (8 * i) & 0xff; {
			case tag == 0:
				s.position.Store(position)
				s.key.Store(key)
				t.tags[g].Store(tags | tagOf(key)<<(8*i))
				t.used++
				return
			case tag == tagOf(key) && s.key.Load() == key:
				if position > s.position.Load() {
					s.position.Store(position)
				}
				return
			}
		}
	}
}

// rebuilt copies what is above floor to a table of so many groups. Readers of the
// old one see it as it was.
func (t *table) rebuilt(groups int, floor uint64) *table {
	next := newTable(groups)
	for i := range t.slots {
		if position := t.slots[i].position.Load(); position > floor {
			next.raise(t.slots[i].key.Load(), position)
		}
	}
	return next
}
