// Package history checks what verifiers decided against what revocation promises.
//
// Whoever revokes tells a [History] when the call began and returned, whoever
// verifies tells it each decision; [History.Violations] then lists what must not
// have happened. It needs one clock, so its users are one process.
//
// What is promised is not a linearizable register: one verifier may refuse a token
// while another still accepts it, as long as the call has not returned. It is, for
// each key: no verifier accepts a request that begins after the revocation
// returned; none, however the call ended, later than a bound after the commit; a
// verifier that has refused a key as revoked never accepts it again; none refuses a
// key before somebody began to revoke it; and a receipt claims no more than was seen.
//
// Only the latest acceptance and the earliest refusal of a key by a verifier can
// break a rule, so these two are all that is kept. A general checker of
// linearizability would need the whole history, and a model of it that is wrong.
package history

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// A History of revocations and decisions. The zero value is an empty one; it may
// be used from any goroutine.
type History struct {
	mu   sync.Mutex
	keys map[string]*key
}

type key struct {
	revoking time.Time // the call began; zero: nobody revokes it
	returned time.Time // zero: not yet, or its answer was lost
	bound    time.Time // nobody accepts a request that begins after; zero: no bound
	claims   []Claim   // of its receipts
	at       map[string]*decisions
}

// decisions of one verifier on one key.
type decisions struct {
	accepted time.Time // when the last accepted request began
	refused  time.Time // when the first refused one ended
}

func (h *History) key(name string) *key {
	if h.keys == nil {
		h.keys = make(map[string]*key)
	}
	if h.keys[name] == nil {
		h.keys[name] = &key{at: make(map[string]*decisions)}
	}
	return h.keys[name]
}

// Revoking says that a call to revoke a key begins.
func (h *History) Revoking(name string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.key(name).revoking = at
}

// Returned says that the call returned, and with it the promise.
func (h *History) Returned(name string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.key(name).returned = at
}

// Bound says that the revocation was committed, whatever became of the call, and
// that no lease lasts longer than until at.
func (h *History) Bound(name string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.key(name).bound = at
}

// A Claim is what a receipt says of those who verify.
type Claim struct {
	// Since is the moment from which on it says that a key is refused, and May how many
	// verifiers it lets go on nevertheless: none, unless their owners waive. The zero Since
	// claims nothing.
	Since time.Time
	May   int
	// Refuse are the verifiers that it names as confirmed, left, or without a lease, and
	// from when on each accepts nothing.
	Refuse map[string]time.Time
}

// Claimed says what a receipt of a revocation claims.
func (h *History) Claimed(name string, c Claim) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.key(name)
	k.claims = append(k.claims, c)
}

// beyond is how long after a receipt of the key said that it does not a verifier accepted a
// request; 0 when no receipt is wrong about it.
func (k *key) beyond(verifier string) (by time.Duration) {
	accepted := k.at[verifier].accepted
	late := func(since time.Time) {
		if !since.IsZero() && accepted.After(since) {
			by = max(by, accepted.Sub(since))
		}
	}
	for _, c := range k.claims {
		late(c.Refuse[verifier])
		after := 0
		for _, d := range k.at {
			if d.accepted.After(c.Since) {
				after++
			}
		}
		if after > c.May {
			late(c.Since)
		}
	}
	return by
}

// Accepted says that a verifier accepted a token of a key, in a request that began
// at some time.
func (h *History) Accepted(verifier, name string, began time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.decisions(verifier, name); began.After(d.accepted) {
		d.accepted = began
	}
}

// Refused says that a verifier refused a token of a key as revoked, in a request
// that ended at some time. That it does not know is no decision.
func (h *History) Refused(verifier, name string, ended time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.decisions(verifier, name); d.refused.IsZero() || ended.Before(d.refused) {
		d.refused = ended
	}
}

func (h *History) decisions(verifier, name string) *decisions {
	k := h.key(name)
	if k.at[verifier] == nil {
		k.at[verifier] = &decisions{}
	}
	return k.at[verifier]
}

// Lead is how long before the revocation of a key returned the last request began
// that was accepted, by any verifier. It is negative for a violation, and not there
// when none was accepted or the call did not return.
func (h *History) Lead(name string) (lead time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.key(name)
	var last time.Time
	for _, d := range k.at {
		if d.accepted.After(last) {
			last = d.accepted
		}
	}
	return k.returned.Sub(last), !last.IsZero() && !k.returned.IsZero()
}

// A Violation is one broken rule.
type Violation struct {
	Key      string `json:"key"`
	Verifier string `json:"verifier"`
	Rule     string `json:"rule"`
	// By is how much too late, or too early.
	By time.Duration `json:"by_ns"`
}

func (v Violation) String() string {
	return fmt.Sprintf("%s, key %s: %s, by %v", v.Verifier, v.Key, v.Rule, v.By)
}

// The rules.
const (
	AfterReturn  = "accepted a request that began after the revocation returned"
	AfterBound   = "accepted a request that began after every lease from before the commit had ended"
	AfterRefusal = "accepted again what it had refused as revoked"
	BeforeRevoke = "refused as revoked what nobody had begun to revoke"
	AfterReceipt = "accepted a request that began after its receipt said that it accepts none"
)

// Overclaimed counts the keys whose receipts claim more than the history shows.
func Overclaimed(found []Violation) int {
	keys := make(map[string]bool)
	for _, v := range found {
		if v.Rule == AfterReceipt {
			keys[v.Key] = true
		}
	}
	return len(keys)
}

// Violations lists the rules that were broken, in a stable order.
func (h *History) Violations() []Violation {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []Violation
	for name, k := range h.keys {
		for verifier, d := range k.at {
			broken := func(rule string, by time.Duration) { found = append(found, Violation{name, verifier, rule, by}) }
			if !k.returned.IsZero() && d.accepted.After(k.returned) {
				broken(AfterReturn, d.accepted.Sub(k.returned))
			}
			if !k.bound.IsZero() && d.accepted.After(k.bound) {
				broken(AfterBound, d.accepted.Sub(k.bound))
			}
			if !d.refused.IsZero() && d.accepted.After(d.refused) {
				broken(AfterRefusal, d.accepted.Sub(d.refused))
			}
			if !d.refused.IsZero() && (k.revoking.IsZero() || d.refused.Before(k.revoking)) {
				broken(BeforeRevoke, k.revoking.Sub(d.refused))
			}
			if by := k.beyond(verifier); by > 0 {
				broken(AfterReceipt, by)
			}
		}
	}
	slices.SortFunc(found, func(a, b Violation) int {
		return slices.Compare([]string{a.Key, a.Verifier, a.Rule}, []string{b.Key, b.Verifier, b.Rule})
	})
	return found
}
