package keys

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

// Passwords have so many characters at least (NIST SP 800-63B-4, 3.1.1.2), and so many
// bytes at most. They cost what RFC 9106 recommends where memory is scarce.
const (
	MinPassword = 15
	MaxPassword = 1024
	argonMemory = 64 << 10 // KiB
	argonTime   = 3
)

func hashPassword(password string) string {
	salt := make([]byte, 16)
	rand.Read(salt)
	sum := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, 1, 32)
	return phc(salt, sum)
}

// phc is how a hash is stored.
func phc(salt, sum []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, argonMemory, argonTime,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}

// matches compares a password with a hash, at the cost that stands in the hash.
func matches(hash, password string) bool {
	var version int
	var memory, rounds uint32
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || len(password) > MaxPassword {
		return false
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=1", &version, &memory, &rounds); err != nil || version != argon2.Version {
		return false
	}
	salt, errSalt := base64.RawStdEncoding.DecodeString(parts[4])
	sum, errSum := base64.RawStdEncoding.DecodeString(parts[5])
	if errSalt != nil || errSum != nil || len(sum) != 32 {
		return false
	}
	return subtle.ConstantTimeCompare(argon2.IDKey([]byte(password), salt, rounds, memory, 1, 32), sum) == 1
}

// decoy is compared with where there is no account, so that the time does not tell.
var decoy = phc(make([]byte, 16), make([]byte, 32))

// passwords bounds how many are hashed at once, each in [argonMemory], and how many wait for
// it: one core is left for tokens. People who are known, by a session, a link or an earlier
// sign-in, go first. Of strangers each network has its turn, so that one with many requests
// leaves room for the others, and together they have half of the slots.
type passwords struct {
	slots int
	mu    sync.Mutex
	busy  int // slots in use
	// strangers are those of the slots in use that strangers have.
	strangers int
	waiting   []*hasher
	queued    map[string]int // of each network, those that wait and those that are hashed
}

// A hasher waits for a slot.
type hasher struct {
	known bool
	// rank is how many of its network were before it.
	rank  int
	ready chan struct{}
}

const (
	// queuedStrangers and queuedKnown wait of a network.
	queuedStrangers = 4
	queuedKnown     = 16
	// hashPatience is how long one waits.
	hashPatience = 4 * time.Second
)

// newPasswords leaves a core of n free, where there are two.
func newPasswords(n int) *passwords {
	return &passwords{slots: max(1, min(4, n-1)), queued: make(map[string]int)}
}

// enter waits for a slot, for a moment: [ErrBusy] after it, or where too many wait.
func (p *passwords) enter(ctx context.Context, address string, known bool) (leave func(), err error) {
	network := Network(address)
	h, err := p.queue(network, known)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(hashPatience)
	defer timer.Stop()
	select {
	case <-h.ready:
		return func() { p.leave(network, h) }, nil
	case <-timer.C:
		err = ErrBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.giveUp(network, h)
	return nil, err
}

func (p *passwords) queue(network string, known bool) (*hasher, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rank, most := p.queued[network], queuedStrangers
	if known {
		most = queuedKnown
	}
	if rank >= most {
		return nil, ErrBusy
	}
	p.queued[network]++
	h := &hasher{known: known, rank: rank, ready: make(chan struct{})}
	p.waiting = append(p.waiting, h)
	p.serve()
	return h, nil
}

// serve gives free slots to those whose turn it is; p.mu is held.
func (p *passwords) serve() {
	for p.busy < p.slots {
		next := -1
		for i, h := range p.waiting {
			if !h.known && p.strangers >= max(1, p.slots/2) {
				continue
			}
			if next < 0 || h.before(p.waiting[next]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		h := p.waiting[next]
		p.waiting = slices.Delete(p.waiting, next, next+1)
		p.count(h, 1)
		close(h.ready)
	}
}

// before tells whether h goes before one that came earlier, if it is not as good.
func (h *hasher) before(earlier *hasher) bool {
	if h.known != earlier.known {
		return h.known
	}
	return h.rank < earlier.rank
}

func (p *passwords) count(h *hasher, n int) {
	p.busy += n
	if !h.known {
		p.strangers += n
	}
}

func (p *passwords) leave(network string, h *hasher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count(h, -1)
	p.forget(network)
	p.serve()
}

// giveUp takes back a place in the queue, or the slot that came at the last moment.
func (p *passwords) giveUp(network string, h *hasher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, h); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else {
		p.count(h, -1)
	}
	p.forget(network)
	p.serve()
}

func (p *passwords) forget(network string) {
	if p.queued[network]--; p.queued[network] == 0 {
		delete(p.queued, network)
	}
}
