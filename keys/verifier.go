package keys

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// The scopes of keys with which verifiers follow the revocation log. Only an operator
// grants them.
const (
	// FeedScope lets a key follow.
	FeedScope = "revocations:read"
	// WaiveScope lets its verifiers accept a view that is older than their leases, which
	// waives the promise for them.
	WaiveScope = "revocations:waive"
)

// What a key may have as a verifier, unless an operator set another limit for it.
const (
	// DefaultMaxSessions is how many sessions follow at once.
	DefaultMaxSessions = 1000
	// DefaultMaxLease is the longest lease: one silent session holds a revocation up as long
	// as a thousand.
	DefaultMaxLease = 10 * time.Second
	// MaxLease is the longest that an operator can grant.
	MaxLease = time.Minute
)

var (
	// ErrSessions: all sessions that the key may have are alive.
	ErrSessions = errors.New("the key has as many verifiers as it may have")
	// ErrWaive: the key may not waive the promise.
	ErrWaive = errors.New("the key may not accept a stale view")
)

// A LeaseError refuses a lease that is longer than the key may have.
type LeaseError struct{ Longest time.Duration }

func (e *LeaseError) Error() string {
	return fmt.Sprintf("the longest lease of this key is %v", e.Longest)
}

// VerifierLimits are what a key may have as a verifier; 0 is the server's default.
type VerifierLimits struct {
	Sessions int
	Lease    time.Duration
}

func (l VerifierLimits) check() error {
	if l.Sessions < 0 || l.Sessions > 100_000 {
		return invalid("max_sessions", "it must be between 0, for the default, and 100000")
	}
	if l.Lease < 0 || l.Lease > MaxLease || l.Lease > 0 && l.Lease < time.Second {
		return invalid("max_lease_ms", "it must be between 1000 and %d, or 0 for the default", MaxLease.Milliseconds())
	}
	return nil
}

// MaxSessions is how many sessions of the key may follow at once.
func (k *Key) MaxSessions() int {
	if k.Verifier.Sessions > 0 {
		return k.Verifier.Sessions
	}
	return DefaultMaxSessions
}

// MaxLease is the longest lease that its sessions may have.
func (k *Key) MaxLease() time.Duration {
	if k.Verifier.Lease > 0 {
		return k.Verifier.Lease
	}
	return DefaultMaxLease
}

// Crowded tells whether so many sessions are nearly as many as the key may have.
func (k *Key) Crowded(sessions int) bool { return (sessions+1)*5 >= k.MaxSessions()*4 }

// follows tells whether the key may follow the revocation log at time t.
func (k *Key) follows(t time.Time) bool {
	return k.usable(t) == nil && slices.Contains(k.Scopes, FeedScope)
}

// MayJoin decides whether a session of the key may join at time t: [ErrForbidden] when the
// key may not follow, [ErrWaive], a [LeaseError].
func (k *Key) MayJoin(s Session, t time.Time) error {
	switch {
	case !k.follows(t):
		return fmt.Errorf("%w: the key does not follow the revocation log", ErrForbidden)
	case s.AcceptStale > 0 && !slices.Contains(k.Scopes, WaiveScope):
		return ErrWaive
	case s.Lease > k.MaxLease():
		return &LeaseError{k.MaxLease()}
	}
	return nil
}
