package management

import (
	"context"
	"time"

	"github.com/imara/apikeys/keys"
)

// Usage is how often tokens were asked for.
type Usage struct {
	Since time.Time        `json:"since"`
	Total map[string]int64 `json:"total" doc:"By outcome: issued, or why it was refused."`
	Rows  []UsageRow       `json:"rows" doc:"By hour, key and outcome, the oldest first."`
}

// A UsageRow is one sum.
type UsageRow struct {
	From    time.Time `json:"from" doc:"Beginning of the hour or day, in UTC."`
	Key     string    `json:"key"`
	Outcome string    `json:"outcome"`
	Count   int64     `json:"count"`
}

// An Attempt is a kind of refused request.
type Attempt struct {
	Outcome string    `json:"outcome"`
	Address string    `json:"address,omitempty"`
	Count   int64     `json:"count"`
	LastAt  time.Time `json:"last_at"`
}

// A ScopeReport says whether a scope is used.
type ScopeReport struct {
	Scope      string     `json:"scope"`
	LastUsedAt *time.Time `json:"last_used_at" nullable:"true"`
}

// A Finding is something about a key to look at.
type Finding struct {
	Kind     string    `json:"kind" enum:"leaked,expires_soon,many_refusals,owner_left,idle,never_used,old_secret,unused_scope,no_expiry"`
	Key      string    `json:"key"`
	ClientID string    `json:"client_id"`
	Name     string    `json:"name"`
	Scope    string    `json:"scope,omitempty"`
	Secret   string    `json:"secret,omitempty"`
	Since    time.Time `json:"since" doc:"From when it has been so, or when the key expires."`
	Action   string    `json:"action" doc:"What settles it."`
}

type Window struct {
	Span string `query:"window" default:"30d" doc:"How far back, up to 400d."`
}

func (s *server) usageRoutes() {
	register(s, route{id: "show-key-usage", method: "GET", path: "/orgs/{org}/keys/{key}/usage", scope: "keys:read", action: "usage.read", summary: "Show how a key is used"}, s.keyUsage, nil)
	register(s, route{id: "show-usage", method: "GET", path: "/orgs/{org}/usage", scope: "keys:read", action: "usage.read", summary: "Show how the organisation's keys are used"}, s.usage, nil)
	register(s, route{id: "list-attempts", method: "GET", path: "/orgs/{org}/keys/{key}/attempts", scope: "keys:read", action: "usage.read", summary: "List refused attempts of the last 30 days"}, s.attempts, nil)
	register(s, route{id: "report-access", method: "GET", path: "/orgs/{org}/keys/{key}/access-report", scope: "keys:read", action: "usage.read", summary: "Show which scopes are used"}, s.accessReport, nil)
	register(s, route{id: "review-keys", method: "GET", path: "/orgs/{org}/keys/review", scope: "keys:read", action: "usage.read", summary: "List what to look at, the most urgent first"}, s.review, nil)
}

func (s *server) keyUsage(ctx context.Context, c call, in *struct {
	KeyPath
	Caller
	Window
}) (*answer[Usage], error) {
	key, err := s.config.Registry.Key(ctx, c.organization, in.Key)
	if err != nil {
		return nil, err
	}
	return s.usageSince(ctx, c.organization, key.ID, in.Span)
}

func (s *server) usage(ctx context.Context, c call, in *struct {
	OrgPath
	Caller
	Window
}) (*answer[Usage], error) {
	if _, err := s.config.Registry.Organization(ctx, c.organization); err != nil {
		return nil, err
	}
	return s.usageSince(ctx, c.organization, "", in.Span)
}

func (s *server) usageSince(ctx context.Context, organization, key, window string) (*answer[Usage], error) {
	span, err := keys.ParseSpan(window)
	if err != nil || span > keys.UsageRetention {
		return nil, &keys.InputError{Field: "window", Reason: "use a span such as 30d, up to 400d"}
	}
	body := Usage{Since: time.Now().Add(-span).UTC().Truncate(time.Hour), Total: map[string]int64{}, Rows: []UsageRow{}}
	bucket := time.Hour
	if span > 7*24*time.Hour {
		bucket = 24 * time.Hour
	}
	rows, err := s.config.Registry.Usage(ctx, organization, key, body.Since, bucket)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		body.Rows = append(body.Rows, UsageRow{row.Hour, row.KeyID, string(row.Outcome), row.Count})
		body.Total[string(row.Outcome)] += row.Count
	}
	return &answer[Usage]{Body: body}, nil
}

func (s *server) attempts(ctx context.Context, c call, in *struct {
	KeyPath
	Caller
}) (*answer[List[Attempt]], error) {
	key, err := s.config.Registry.Key(ctx, c.organization, in.Key)
	if err != nil {
		return nil, err
	}
	rows, err := s.config.Registry.Attempts(ctx, c.organization, key.ID)
	if err != nil {
		return nil, err
	}
	list := &answer[List[Attempt]]{Body: List[Attempt]{Data: []Attempt{}}}
	for _, row := range rows {
		list.Body.Data = append(list.Body.Data, Attempt{string(row.Outcome), row.Address, row.Count, row.Last})
	}
	return list, nil
}

func (s *server) accessReport(ctx context.Context, c call, in *struct {
	KeyPath
	Caller
}) (*answer[List[ScopeReport]], error) {
	scopes, err := s.config.Registry.ScopesUsed(ctx, c.organization, in.Key)
	if err != nil {
		return nil, err
	}
	list := &answer[List[ScopeReport]]{Body: List[ScopeReport]{Data: []ScopeReport{}}}
	for _, scope := range scopes {
		list.Body.Data = append(list.Body.Data, ScopeReport{scope.Scope, optional(scope.LastUsedAt)})
	}
	return list, nil
}

func (s *server) review(ctx context.Context, c call, _ *struct {
	OrgPath
	Caller
}) (*answer[List[Finding]], error) {
	if _, err := s.config.Registry.Organization(ctx, c.organization); err != nil {
		return nil, err
	}
	findings, err := s.config.Registry.Review(ctx, c.organization)
	if err != nil {
		return nil, err
	}
	list := &answer[List[Finding]]{Body: List[Finding]{Data: []Finding{}}}
	for _, f := range findings {
		shown := Finding{Kind: string(f.Kind), Key: f.Key.ID, ClientID: f.Key.ClientID, Name: f.Key.Name, Scope: f.Scope, Since: f.Since, Action: string(f.Action)}
		if f.CredentialID != "" {
			shown.Secret = "sec_" + f.CredentialID
		}
		list.Body.Data = append(list.Body.Data, shown)
	}
	return list, nil
}
