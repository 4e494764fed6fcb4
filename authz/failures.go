package authz

import (
	"maps"
	"sync"
	"time"
)

// failures slow down a key whose verifiers fail their examinations: after three, one of
// them may ask for another each minute, until one passes or ten minutes are over. Each
// server counts for itself, and forgets when it ends. The zero value is ready.
type failures struct {
	mu sync.Mutex
	of map[string]*streak // by client id
}

type streak struct {
	failed int
	last   time.Time
	next   time.Time // no examination before it
}

const (
	freeFailures    = 3
	failurePause    = time.Minute
	failuresKeptFor = 10 * time.Minute
)

// wait returns how long a client has to wait for an examination; 0 lets it have one
// now, and the next one later if it has failed too often.
func (f *failures) wait(clientID string, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.of[clientID]
	switch {
	case s == nil || now.Sub(s.last) > failuresKeptFor || s.failed < freeFailures:
		return 0
	case now.Before(s.next):
		return s.next.Sub(now)
	}
	s.next = now.Add(failurePause)
	return 0
}

// failed counts a failure, and returns how many there were in a row.
func (f *failures) failed(clientID string, now time.Time) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = make(map[string]*streak)
	}
	maps.DeleteFunc(f.of, func(_ string, s *streak) bool { return now.Sub(s.last) > failuresKeptFor })
	s := f.of[clientID]
	if s == nil {
		s = &streak{}
		f.of[clientID] = s
	}
	s.failed, s.last = s.failed+1, now
	if s.failed == freeFailures {
		s.next = now.Add(failurePause)
	}
	return s.failed
}

// passed forgets the failures of a client.
func (f *failures) passed(clientID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.of, clientID)
}
