package keys

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"
)

// ErrTooManyTries: wrong passwords came too fast from where this one does; a [WaitError]
// says how long to wait.
var ErrTooManyTries = errors.New("too many tries")

// A WaitError says how long a sign-in has to wait. It wraps [ErrTooManyTries].
type WaitError struct{ Wait time.Duration }

func (e *WaitError) Error() string { return fmt.Sprintf("%v: wait %v", ErrTooManyTries, e.Wait) }
func (e *WaitError) Unwrap() error { return ErrTooManyTries }

// tries slow down who guesses the password of an account: after some wrong ones from a
// network each next has to wait twice as long. Nobody elsewhere waits for it, so nobody
// can keep somebody else out. They are forgotten when the process ends. The zero value is
// ready.
type tries struct {
	mu sync.Mutex
	of map[[sha256.Size]byte]try
}

type try struct {
	wrong int
	last  time.Time
}

const (
	freeTries    = 5 // without a wait
	longestWait  = 15 * time.Minute
	maxTries     = 20000 // kept at once
	triesKeptFor = time.Hour
)

// wait is how long after the last one the next try may come.
func (t try) wait() time.Duration {
	if t.wrong < freeTries {
		return 0
	}
	return min(time.Second<<min(t.wrong-freeTries, 20), longestWait)
}

// take counts a try as wrong until [tries.right] says otherwise, so that many at once are
// no way around it; a [WaitError] for one that comes too early, and does not count.
func (t *tries) take(email, address string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, key := now(), tryKey(email, address)
	old := t.of[key]
	since := at.Sub(old.last)
	if since >= triesKeptFor {
		old.wrong = 0
	}
	if left := old.wait() - since; left > 0 {
		return &WaitError{left.Truncate(time.Second) + time.Second}
	}
	t.makeRoom(at)
	t.of[key] = try{old.wrong + 1, at}
	return nil
}

// right takes back a try that was none, and those before it.
func (t *tries) right(email, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, tryKey(email, address))
}

// makeRoom forgets what is old, and where that is not enough, something.
func (t *tries) makeRoom(at time.Time) {
	if t.of == nil {
		t.of = make(map[[sha256.Size]byte]try)
	}
	if len(t.of) < maxTries {
		return
	}
	maps.DeleteFunc(t.of, func(_ [sha256.Size]byte, old try) bool { return at.Sub(old.last) >= triesKeptFor })
	for key := range t.of {
		if len(t.of) < maxTries {
			return
		}
		delete(t.of, key)
	}
}

// tryKey is of an account, and a network or a session.
func tryKey(email, from string) [sha256.Size]byte {
	return sha256.Sum256([]byte(email + "\x00" + networkOf(from)))
}

// networkOf is an address, or the network of an IPv6 one, where one machine has many.
func networkOf(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() {
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return address
}
