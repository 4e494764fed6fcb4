package keys

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
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

// passwords bounds how many are hashed at once, each in [argonMemory], and how many of one
// network wait for it, so that it leaves room for the others.
type passwords struct {
	slots  chan struct{}
	mu     sync.Mutex
	queued map[string]int // of each network, those that wait and those that are hashed
}

const queuedOfNetwork = 8

// enter waits for a slot, for a moment.
func (p *passwords) enter(ctx context.Context, address string) (leave func(), err error) {
	network := networkOf(address)
	if !p.queue(network, 1) {
		return nil, ErrBusy
	}
	defer func() {
		if err != nil {
			p.queue(network, -1)
		}
	}()
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return func() { <-p.slots; p.queue(network, -1) }, nil
	case <-timer.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// queue counts one more of a network, or one less; false when there are enough.
func (p *passwords) queue(network string, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > 0 && p.queued[network] >= queuedOfNetwork {
		return false
	}
	if p.queued == nil {
		p.queued = make(map[string]int)
	}
	if p.queued[network] += n; p.queued[network] == 0 {
		delete(p.queued, network)
	}
	return true
}
