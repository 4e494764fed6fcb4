package authz

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
)

// usage adds up what happens at the token endpoint, for the next flush.
type usage struct {
	registry *keys.Registry

	mu    sync.Mutex
	sum   keys.Usage
	first map[string]firstUse // by credential id
}

// firstUse of a secret for which older ones wait.
type firstUse struct {
	key keys.Key
	at  time.Time
}

// maxAttempts bounds the memory between two flushes. Beyond it, where a refused
// attempt came from is not remembered.
const maxAttempts = 1000

func newUsage(registry *keys.Registry) *usage {
	u := &usage{registry: registry}
	u.take()
	return u
}

// take empties the sums.
func (u *usage) take() (keys.Usage, map[string]firstUse) {
	u.mu.Lock()
	defer u.mu.Unlock()
	sum, first := u.sum, u.first
	u.sum = keys.Usage{Credentials: map[string]keys.Use{}, Scopes: map[keys.ScopeUse]time.Time{}, Counts: map[keys.Tally]int64{}, Attempts: map[keys.Attempt]keys.Tries{}}
	u.first = map[string]firstUse{}
	return sum, first
}

// used notes that a credential was right.
func (u *usage) used(p *principal, at time.Time, from string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at.After(u.sum.Credentials[p.credential.ID].At) {
		u.sum.Credentials[p.credential.ID] = keys.Use{At: at, From: from}
	}
	if _, known := u.first[p.credential.ID]; !known && p.record.Key.Awaits(p.credential.ID) {
		u.first[p.credential.ID] = firstUse{p.record.Key, at}
	}
}

// issued counts a token with these scopes.
func (u *usage) issued(keyID, scope string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sum.Counts[tally(keyID, keys.Issued, at)]++
	for name := range strings.SplitSeq(scope, " ") {
		if name != "" {
			u.sum.Scopes[keys.ScopeUse{KeyID: keyID, Scope: name}] = at
		}
	}
}

// outcomes are what refusals are counted as.
var outcomes = []struct {
	err     error
	outcome keys.Outcome
}{
	{keys.ErrCredentials, keys.RefusedSecret},
	{keys.ErrSecretEnded, keys.RefusedEnded},
	{keys.ErrRevoked, keys.RefusedRevoked},
	{keys.ErrExpired, keys.RefusedExpired},
	{keys.ErrSuspended, keys.RefusedPaused},
	{keys.ErrPending, keys.RefusedPending},
	{keys.ErrNoAPIAccess, keys.RefusedPlan},
	{keys.ErrNetwork, keys.RefusedNetwork},
	{web.ErrRateLimited, keys.RefusedQuota},
}

// refused counts a request of a key that got no token because of err. One without a key, of
// an unknown client, is counted in the same time, as one sum that no store keeps.
func (u *usage) refused(keyID string, err error, at time.Time, from string) {
	var outcome keys.Outcome
	for _, known := range outcomes {
		if errors.Is(err, known.err) {
			outcome = known.outcome
		}
	}
	var answer *oauthError
	if errors.As(err, &answer) {
		switch answer.code {
		case "invalid_scope":
			outcome = keys.RefusedScope
		case "invalid_target":
			outcome = keys.RefusedTarget
		}
	}
	if outcome == "" {
		return
	}
	address := network(from)
	if keyID == "" {
		address = ""
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sum.Counts[tally(keyID, outcome, at)]++
	u.attempt(keys.Attempt{KeyID: keyID, Outcome: outcome, Address: address}, keys.Tries{Count: 1, Last: at})
}

// attempt adds tries; u.mu is held.
func (u *usage) attempt(a keys.Attempt, tries keys.Tries) {
	if _, known := u.sum.Attempts[a]; !known && len(u.sum.Attempts) >= maxAttempts {
		a.Address = ""
	}
	old := u.sum.Attempts[a]
	if tries.Last.Before(old.Last) {
		tries.Last = old.Last
	}
	u.sum.Attempts[a] = keys.Tries{Count: old.Count + tries.Count, Last: tries.Last}
}

// network is the address of an attempt; of IPv6, where one host has as many as it
// likes, the /64.
func network(from string) string {
	a, err := netip.ParseAddr(from)
	if err != nil || a.Is4() {
		return from
	}
	p, _ := a.Prefix(64)
	return p.String()
}

func tally(keyID string, outcome keys.Outcome, at time.Time) keys.Tally {
	return keys.Tally{KeyID: keyID, Hour: at.UTC().Truncate(time.Hour), Outcome: outcome}
}

// flushInterval is how far usage may be behind, and what a crash can lose of it.
const flushInterval = 5 * time.Second

// run stores the sums until ctx ends, and once more then.
func (u *usage) run(ctx context.Context, failed func(error)) {
	var pruned time.Time
	for ended := false; !ended; {
		select {
		case <-time.After(flushInterval):
		case <-ctx.Done():
			ended = true
		}
		store, cancel := context.WithTimeout(context.WithoutCancel(ctx), 8*time.Second)
		err := u.flush(store)
		if err == nil && !ended && time.Since(pruned) > time.Hour {
			err, pruned = u.registry.PruneUsage(store), time.Now()
		}
		cancel()
		if err != nil {
			failed(err)
		}
	}
}

// flush stores the sums. What could not be stored is kept for the next time.
func (u *usage) flush(ctx context.Context) error {
	sum, first := u.take()
	err := u.registry.AddUsage(ctx, sum)
	if err != nil {
		u.mu.Lock()
		for id, use := range sum.Credentials {
			if use.At.After(u.sum.Credentials[id].At) {
				u.sum.Credentials[id] = use
			}
		}
		for scope, at := range sum.Scopes {
			if at.After(u.sum.Scopes[scope]) {
				u.sum.Scopes[scope] = at
			}
		}
		for t, n := range sum.Counts {
			u.sum.Counts[t] += n
		}
		for attempt, tries := range sum.Attempts {
			u.attempt(attempt, tries)
		}
		u.mu.Unlock()
	}
	for id, use := range first {
		if e := u.registry.FirstUse(ctx, use.key, id, use.at); e != nil {
			err = errors.Join(err, e)
			u.mu.Lock()
			u.first[id] = use
			u.mu.Unlock()
		}
	}
	return err
}
