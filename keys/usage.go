package keys

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Usage is what happened at the token endpoint, added up. Nothing of it is written
// for a single token: a server counts in memory and stores the sums every few
// seconds, so that a crash loses that much of them.
type Usage struct {
	// Credentials that were used, by id.
	Credentials map[string]Use
	// Scopes that were in a token, and when last.
	Scopes map[ScopeUse]time.Time
	// Counts of requests.
	Counts map[Tally]int64
	// Attempts that were refused, by where they came from.
	Attempts map[Attempt]Tries
}

// A ScopeUse is a scope of a key.
type ScopeUse struct{ KeyID, Scope string }

// A Tally is what is counted: requests of a key that ended so in an hour.
type Tally struct {
	KeyID   string
	Hour    time.Time // its beginning, in UTC; of the day where days are summed
	Outcome Outcome
}

// An Outcome is how a request for a token ended.
type Outcome string

// The outcomes.
const (
	Issued         Outcome = "issued"
	RefusedSecret  Outcome = "wrong_secret"
	RefusedEnded   Outcome = "secret_ended"
	RefusedRevoked Outcome = "revoked"
	RefusedExpired Outcome = "expired"
	RefusedPaused  Outcome = "suspended"
	RefusedPending Outcome = "pending"
	RefusedPlan    Outcome = "no_api_access"
	RefusedNetwork Outcome = "network"
	RefusedScope   Outcome = "scope"
	RefusedTarget  Outcome = "resource"
	RefusedQuota   Outcome = "quota"
)

// An Attempt is a request that was refused.
type Attempt struct {
	KeyID   string
	Outcome Outcome
	Address string
}

// Tries are how often, and when last.
type Tries struct {
	Count int64
	Last  time.Time
}

// How long usage is kept.
const (
	UsageRetention   = 400 * 24 * time.Hour
	AttemptRetention = 30 * 24 * time.Hour
)

// AddUsage adds what a server counted to what is stored.
func (r *Registry) AddUsage(ctx context.Context, u Usage) error {
	return r.config.Store.AddUsage(ctx, u)
}

// PruneUsage forgets what is older than it is kept.
func (r *Registry) PruneUsage(ctx context.Context) error {
	return r.config.Store.PruneUsage(ctx, now().Add(-UsageRetention), now().Add(-AttemptRetention))
}

// A UsageRow is one sum.
type UsageRow struct {
	Tally
	Count int64
}

// Usage returns the sums of one key of an organisation, or of all if keyID is
// empty, from the hour of a time on, by hours or by days, the oldest first.
func (r *Registry) Usage(ctx context.Context, organizationID, keyID string, since time.Time, by time.Duration) ([]UsageRow, error) {
	return r.config.Store.Usage(ctx, organizationID, keyID, since.UTC().Truncate(time.Hour), by)
}

// An AttemptRow is one kind of refused attempts.
type AttemptRow struct {
	Attempt
	Tries
}

// Attempts returns those of a key, the newest first, at most a hundred.
func (r *Registry) Attempts(ctx context.Context, organizationID, keyID string) ([]AttemptRow, error) {
	return r.config.Store.Attempts(ctx, organizationID, keyID)
}

// A ScopeReport says when a scope of a key was last in a token; zero is never.
type ScopeReport struct {
	Scope      string
	LastUsedAt time.Time
}

// ScopesUsed says of each scope that a key has when it was last used.
func (r *Registry) ScopesUsed(ctx context.Context, organizationID, keyID string) ([]ScopeReport, error) {
	key, err := r.config.Store.Key(ctx, organizationID, keyID)
	if err != nil {
		return nil, err
	}
	used, err := r.config.Store.ScopeUses(ctx, organizationID)
	if err != nil {
		return nil, err
	}
	var list []ScopeReport
	for _, scope := range key.Scopes {
		list = append(list, ScopeReport{scope, used[ScopeUse{key.ID, scope}]})
	}
	slices.SortStableFunc(list, func(a, b ScopeReport) int { return strings.Compare(a.Scope, b.Scope) })
	return list, nil
}
