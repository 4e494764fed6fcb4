package tokens

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestPositionsAgreeWithAMap drives the table and a map with the same random
// operations, through growth and drops.
func TestPositionsAgreeWithAMap(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		p, model := NewPositions(), map[Subject]uint64{}
		for step := uint64(1); step < 3000; step++ {
			subject := Client(fmt.Sprint(r.IntN(800)))
			if r.IntN(5) == 0 {
				subject = Organization(fmt.Sprint(r.IntN(800)))
			}
			position := step + uint64(r.IntN(3))
			p.Raise(subject, position)
			model[subject] = max(model[subject], position)
			if r.IntN(500) == 0 {
				floor := step - uint64(r.IntN(int(min(step, 400))))
				p.Drop(floor)
				for s, at := range model {
					if at <= floor {
						delete(model, s)
					}
				}
			}
			if got, want := p.Newest(subject), model[subject]; got != want {
				t.Fatalf("seed %d step %d: newest of %s is %d, want %d", seed, step, subject, got, want)
			}
		}
		for i := range 800 {
			for _, s := range []Subject{Client(fmt.Sprint(i)), Organization(fmt.Sprint(i)), Token(fmt.Sprint(i))} {
				if got, want := p.Newest(s), model[s]; got != want {
					t.Fatalf("seed %d: newest of %s is %d, want %d", seed, s, got, want)
				}
			}
		}
		if got, want := p.Len(), len(model); got != want {
			t.Fatalf("seed %d: %d entries, want %d", seed, got, want)
		}
	}
}

// TestPositionsNeverGoBackForAReader reads while the table grows: a position
// that was seen once is never missing later.
func TestPositionsNeverGoBackForAReader(t *testing.T) {
	p := NewPositions()
	const subjects = 2000
	var written sync.WaitGroup
	done := make(chan struct{})
	written.Go(func() {
		defer close(done)
		for round := uint64(1); round <= 20; round++ {
			for i := range subjects {
				p.Raise(Client(fmt.Sprint(i)), round)
			}
		}
	})
	for range 4 {
		written.Go(func() {
			var seen [subjects]uint64
			for {
				for i := range subjects {
					got := p.Newest(Client(fmt.Sprint(i)))
					if got < seen[i] {
						t.Errorf("subject %d went from %d back to %d", i, seen[i], got)
						return
					}
					seen[i] = got
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	written.Wait()
}

func BenchmarkPositions(b *testing.B) {
	for _, entries := range []int{10_000, 1_000_000} {
		p := NewPositions()
		for i := range entries {
			p.Raise(Client(fmt.Sprintf("imara_ci_%020d", i)), uint64(i+1))
		}
		var strangers [1 << 16]string // more than the processor's cache has lines of the table
		for i := range strangers {
			strangers[i] = fmt.Sprintf("imara_ci_%020d", entries+i)
		}
		b.Run(fmt.Sprintf("miss-of-%d", entries), func(b *testing.B) {
			n := 0
			for b.Loop() {
				if p.newest('c', strangers[n%len(strangers)]) != 0 {
					b.Fatal("hit")
				}
				n++
			}
			b.ReportMetric(float64(17*len(p.table.Load().slots))/float64(entries), "B/entry")
		})
	}
}
