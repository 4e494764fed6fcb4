package keys

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// A Finding is something about a key that its owner may want to change.
type Finding struct {
	Kind FindingKind
	Key  Key
	// Scope of an unused scope, and CredentialID of an old or leaked secret.
	Scope        string
	CredentialID string
	// Since is from when it has been so, or when a key expires.
	Since time.Time
	// Action that settles it.
	Action Action
}

// A FindingKind is what was found.
type FindingKind string

// The findings, the most urgent first.
const (
	FoundLeaked      FindingKind = "leaked" // and works: the policy wants to be told only
	FoundExpiring    FindingKind = "expires_soon"
	FoundRefusals    FindingKind = "many_refusals"
	FoundOwnerLeft   FindingKind = "owner_left"
	FoundIdle        FindingKind = "idle"
	FoundNeverUsed   FindingKind = "never_used"
	FoundOldSecret   FindingKind = "old_secret"
	FoundUnusedScope FindingKind = "unused_scope"
	FoundNoEnd       FindingKind = "no_expiry"
)

var findingOrder = []FindingKind{FoundLeaked, FoundExpiring, FoundRefusals, FoundOwnerLeft, FoundIdle, FoundNeverUsed, FoundOldSecret, FoundUnusedScope, FoundNoEnd}

// What is soon, idle, old and many.
const (
	soon        = 7 * 24 * time.Hour
	idle        = 90 * 24 * time.Hour
	oldSecret   = 365 * 24 * time.Hour
	manyRefusal = 20 // in a day
)

// Review looks at the active keys of an organisation.
func (r *Registry) Review(ctx context.Context, organizationID string) ([]Finding, error) {
	list, err := r.config.Store.Keys(ctx, organizationID, Page{Status: Active, Order: ByName, Ascending: true})
	if err != nil {
		return nil, err
	}
	members, err := r.config.Store.Members(ctx, organizationID)
	if err != nil {
		return nil, err
	}
	scopes, err := r.config.Store.ScopeUses(ctx, organizationID)
	if err != nil {
		return nil, err
	}
	at := now()
	usage, err := r.Usage(ctx, organizationID, "", at.Add(-24*time.Hour), 24*time.Hour)
	if err != nil {
		return nil, err
	}
	refused := map[string]int64{}
	for _, row := range usage {
		if row.Outcome != Issued {
			refused[row.KeyID] += row.Count
		}
	}
	var found []Finding
	for _, k := range list {
		add := func(kind FindingKind, since time.Time, action Action) *Finding {
			found = append(found, Finding{Kind: kind, Key: k, Since: since, Action: action})
			return &found[len(found)-1]
		}
		switch {
		case k.ExpiresAt.IsZero():
			add(FoundNoEnd, k.CreatedAt, "key.edit")
		case k.EndsSoon(at):
			add(FoundExpiring, k.ExpiresAt, "key.edit")
		}
		if refused[k.ID] >= manyRefusal {
			add(FoundRefusals, at.Add(-24*time.Hour), "usage.read")
		}
		if k.OwnerID != "" && !isMember(members, k.OwnerID) {
			add(FoundOwnerLeft, left(members, k.OwnerID), "key.edit")
		}
		last := k.LastUsedAt()
		switch {
		case last.IsZero() && k.CreatedAt.Before(at.Add(-soon)):
			add(FoundNeverUsed, k.CreatedAt, "key.revoke")
		case k.Unused(at):
			add(FoundIdle, last, "key.revoke")
		}
		for _, c := range k.Credentials {
			if c.Live(at) && !c.LeakedAt.IsZero() {
				add(FoundLeaked, c.LeakedAt, "key.rotate").CredentialID = c.ID
			}
			if c.Live(at) && c.CreatedAt.Before(at.Add(-oldSecret)) {
				add(FoundOldSecret, c.CreatedAt, "key.rotate").CredentialID = c.ID
			}
		}
		for _, scope := range k.Scopes {
			used := scopes[ScopeUse{k.ID, scope}]
			if !last.IsZero() && k.CreatedAt.Before(at.Add(-idle)) && used.Before(at.Add(-idle)) {
				add(FoundUnusedScope, cmp.Or(used, k.CreatedAt), "key.edit").Scope = scope
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Compare(slices.Index(findingOrder, a.Kind), slices.Index(findingOrder, b.Kind))
	})
	return found, nil
}

func left(members []Member, id string) time.Time {
	for _, m := range members {
		if m.ID == id {
			return m.RemovedAt
		}
	}
	return time.Time{}
}
