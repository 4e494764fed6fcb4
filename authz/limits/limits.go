package limits

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/imara/apikeys/keys"
)

// A Limiter is a [keys.Limiter] in memory, and shared over Redis where there is one. Its
// methods are safe for many goroutines.
type Limiter struct {
	config Config
	begun  time.Time
	seed   maphash.Seed
	shards [shards]shard
}

const (
	shards = 32
	// maxBudgets are kept of a shard; what comes then takes the place of others.
	maxBudgets = 4096
)

type shard struct {
	mu sync.Mutex
	of map[keys.Limited]*budget
}

// A budget is when it is full again, since the limiter began.
type budget struct {
	full   time.Duration
	untold time.Duration // of that, what the other servers do not know
	rate   keys.Rate
}

// Take implements [keys.Limiter].
func (l *Limiter) Take(of keys.Limited, r keys.Rate, n int) keys.Budget {
	now := time.Since(l.begun)
	s := l.shard(of)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.of[of]
	if b == nil {
		if n <= 0 {
			return keys.Budget{Left: r.Burst}
		}
		b = s.add(of, now)
	}
	b.change(r, now)
	return b.take(now, n)
}

func (l *Limiter) shard(of keys.Limited) *shard {
	return &l.shards[maphash.Comparable(l.seed, of)%shards]
}

// take takes n at a time.
func (b *budget) take(now time.Duration, n int) keys.Budget {
	empty := now + time.Duration(b.rate.Burst)*b.rate.Every
	full := max(b.full, now)
	cost := time.Duration(n) * b.rate.Every
	if late := full + max(cost, b.rate.Every) - empty; n >= 0 && late > 0 {
		return keys.Budget{Left: int(max(0, empty-full) / b.rate.Every), Wait: late}
	}
	b.full = max(full+cost, now)
	b.untold += b.full - full
	return keys.Budget{Left: int((empty - b.full) / b.rate.Every)}
}

// change sets another rate: as many as were taken of the old one are taken of the new one.
func (b *budget) change(r keys.Rate, now time.Duration) {
	if old := b.rate.Every; old != r.Every && old > 0 && b.full > now {
		taken := (b.full - now + old - 1) / old
		b.full = now + taken*r.Every
		b.untold = min(b.untold, taken*r.Every)
	}
	b.rate = r
}

// add makes room for a budget, and adds it.
func (s *shard) add(of keys.Limited, now time.Duration) *budget {
	if s.of == nil {
		s.of = make(map[keys.Limited]*budget)
	}
	if len(s.of) >= maxBudgets {
		s.forget(now)
	}
	b := &budget{}
	s.of[of] = b
	return b
}

// forget drops what is full, and where that is not enough a quarter of the others.
func (s *shard) forget(now time.Duration) {
	for of, b := range s.of {
		if b.full <= now && b.untold == 0 {
			delete(s.of, of)
		}
	}
	for of := range s.of {
		if len(s.of) < maxBudgets*3/4 {
			return
		}
		delete(s.of, of)
	}
}
