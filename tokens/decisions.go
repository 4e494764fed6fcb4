package tokens

import (
	"errors"
	"sync/atomic"
)

// reasons are how [Verifier.Authorize] decides. Where an error wraps another, it comes first.
var reasons = [...]struct {
	err  error
	name string
}{
	{nil, "accepted"},
	{ErrMissing, "no_token"},
	{ErrTwice, "two_tokens"},
	{ErrSecret, "client_secret"},
	{ErrMalformed, "malformed"},
	{ErrUnknownKey, "unknown_key"},
	{ErrSignature, "wrong_signature"},
	{ErrNotForUs, "not_for_us"},
	{ErrExpired, "expired"},
	{ErrRevoked, "revoked"},
	{ErrScope, "insufficient_scope"},
	{ErrStale, "stale"},
}

// decisions counts them, by their place in reasons.
type decisions [len(reasons)]atomic.Uint64

func (d *decisions) count(err error) {
	for i := range reasons {
		if errors.Is(err, reasons[i].err) {
			d[i].Add(1)
			return
		}
	}
}

// Decisions returns how many requests [Verifier.Authorize] accepted since the verifier was
// made, and how many it refused for each reason: no_token, two_tokens, client_secret,
// malformed, unknown_key, wrong_signature, not_for_us, expired, revoked, insufficient_scope
// and stale. Each is there, 0 as well.
func (v *Verifier) Decisions() map[string]uint64 {
	counts := make(map[string]uint64, len(reasons))
	for i, reason := range reasons {
		counts[reason.name] = v.decided[i].Load()
	}
	return counts
}
