package keys

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
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

// passwords bounds how many are hashed at once, each in [argonMemory].
type passwords struct{ slots chan struct{} }

// enter waits for a slot, for a moment.
func (p passwords) enter(ctx context.Context) (leave func(), err error) {
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return func() { <-p.slots }, nil
	case <-timer.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
