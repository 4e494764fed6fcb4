package authz

import (
	"slices"
	"sync"
	"time"
)

// flaps remembers whose verifiers fall silent: a key of which ten sessions were retired
// within an hour has leases of a second until an hour has passed without another, so that
// a revocation does not wait long for the next. Each server counts those that it retired,
// and forgets them when it ends. The zero value is ready.
type flaps struct {
	mu sync.Mutex
	of map[string]*flapping // by client id
}

type flapping struct {
	retired []time.Time // within the last hour, the newest last; no more than are counted
	short   bool
}

const (
	flapLimit  = 10
	flapWindow = time.Hour
	shortLease = time.Second
)

// retired counts a session of a client that fell silent.
func (f *flaps) retired(clientID string, now time.Time) {
	if clientID == "" {
		return // a server's own
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = make(map[string]*flapping)
	}
	k := f.of[clientID]
	if k == nil {
		k = &flapping{}
		f.of[clientID] = k
	}
	k.retired = append(k.retired, now)
	k.retired = k.retired[max(0, len(k.retired)-flapLimit):]
	f.prune(now)
	k.short = k.short || len(k.retired) >= flapLimit
}

// grant returns the lease of a session that a client asks for.
func (f *flaps) grant(clientID string, asked time.Duration, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prune(now)
	if k := f.of[clientID]; k != nil && k.short {
		return min(asked, shortLease)
	}
	return asked
}

// prune forgets what is older than the window. It is called with the lock.
func (f *flaps) prune(now time.Time) {
	for clientID, k := range f.of {
		k.retired = slices.DeleteFunc(k.retired, func(t time.Time) bool { return now.Sub(t) > flapWindow })
		if len(k.retired) == 0 {
			delete(f.of, clientID)
		}
	}
}
