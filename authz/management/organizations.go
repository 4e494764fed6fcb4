package management

import (
	"context"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// An Organization as the API shows it.
type Organization struct {
	ID           string        `json:"id"`
	Name         string        `json:"name"`
	Plan         string        `json:"plan"`
	CustomLimit  *CustomLimit  `json:"custom_limit,omitempty"`
	LimitRequest *LimitRequest `json:"limit_request,omitempty"`
	Operator     bool          `json:"operator,omitempty"`
	CreatedAt    time.Time     `json:"created_at"`
	Damaged      bool          `json:"damaged,omitempty" doc:"Its row in the database cannot be read: only what can be told of it is here, and every other request about it fails."`
}

// A CustomLimit of active keys, who set it, and why.
type CustomLimit struct {
	MaxKeys int       `json:"max_keys"`
	By      string    `json:"by"`
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
}

// A LimitRequest asks for another limit.
type LimitRequest struct {
	MaxKeys    int        `json:"max_keys"`
	Reason     string     `json:"reason"`
	By         string     `json:"by"`
	At         time.Time  `json:"at"`
	State      string     `json:"state" enum:"open,granted,declined"`
	AnsweredBy string     `json:"answered_by,omitempty"`
	AnsweredAt *time.Time `json:"answered_at,omitempty"`
}

// CreateOrganization is the request for a new customer.
type CreateOrganization struct {
	Name string `json:"name" maxLength:"80"`
	Plan string `json:"plan"`
}

// EditOrganization is the request to rename one.
type EditOrganization struct {
	Name string `json:"name" maxLength:"80"`
}

// SetPlan is the request to move an organisation to a plan. A custom limit stays.
type SetPlan struct {
	Plan   string `json:"plan"`
	Reason string `json:"reason,omitempty"`
}

// SetLimit is the request for a limit of active keys in place of the plan's.
type SetLimit struct {
	MaxKeys Null[int] `json:"max_keys" doc:"null takes the custom limit away."`
	Reason  string    `json:"reason"`
}

// RequestLimit asks for another limit.
type RequestLimit struct {
	MaxKeys int    `json:"max_keys"`
	Reason  string `json:"reason"`
}

// AnswerLimit grants what was asked for, or declines.
type AnswerLimit struct {
	Grant  int    `json:"grant" doc:"The number of keys that was asked for; 0 declines."`
	Reason string `json:"reason,omitempty"`
}

// PlanAnswer is the answer to another plan.
type PlanAnswer struct {
	Organization Organization `json:"organization"`
	// Receipt is there when the plan took API access away.
	Receipt *authz.Receipt `json:"receipt,omitempty"`
	Limits  Limits         `json:"limits"`
}

// A Policy is what an organisation demands of its keys.
type Policy struct {
	MaxLifetimeSeconds int      `json:"max_lifetime_seconds" doc:"0 lets keys live for ever."`
	Networks           []string `json:"networks" doc:"From which tokens may be asked for; all when there are none."`
	Approval           bool     `json:"approval" doc:"Keys with a scope that writes wait for an Owner or Admin other than who asked."`
	Creators           []string `json:"creators" doc:"Roles that may create keys; all that may at all when there are none."`
	KeepLeaked         bool     `json:"keep_leaked" doc:"A secret that is reported as leaked goes on working; it is only told."`
}

// EditPolicy is the request to change it. What is not there stays.
type EditPolicy struct {
	MaxLifetimeSeconds *int      `json:"max_lifetime_seconds,omitempty"`
	Networks           *[]string `json:"networks,omitempty" maxItems:"50"`
	Approval           *bool     `json:"approval,omitempty"`
	Creators           *[]string `json:"creators,omitempty" maxItems:"10"`
	KeepLeaked         *bool     `json:"keep_leaked,omitempty"`
}

// PolicyAnswer is a policy, and the active keys that it would not admit now.
type PolicyAnswer struct {
	Policy   Policy `json:"policy"`
	Affected []Key  `json:"affected"`
}

func (s *server) organizationRoutes() {
	register(s, route{id: "list-organizations", method: "GET", path: "/orgs", scope: "operator", action: "organization.list", summary: "List organisations"}, s.listOrganizations, nil)
	register(s, route{id: "create-organization", method: "POST", path: "/orgs", scope: "operator", action: "organization.create", summary: "Create an organisation", status: 201}, s.createOrganization, s.organizationMade)
	register(s, route{id: "show-organization", method: "GET", path: "/orgs/{org}", scope: "org:read", action: "organization.read", summary: "Show an organisation"}, s.showOrganization, nil)
	register(s, route{id: "rename-organization", method: "PATCH", path: "/orgs/{org}", scope: "org:write", action: "organization.rename", summary: "Rename an organisation"}, s.editOrganization, nil)
	register(s, route{id: "show-limits", method: "GET", path: "/orgs/{org}/limits", scope: "org:read", action: "organization.read", summary: "Show how many keys are active, and may be"}, s.showLimits, nil)
	register(s, route{id: "set-plan", cuts: true, method: "POST", path: "/orgs/{org}/plan", scope: "operator", action: "plan.set", summary: "Move an organisation to a plan"}, s.setPlan, s.planSet)
	register(s, route{id: "set-limit", method: "POST", path: "/orgs/{org}/limit", scope: "operator", action: "limit.set", summary: "Set a limit of active keys, and say why"}, s.setLimit, s.organizationMade)
	register(s, route{id: "request-limit", method: "POST", path: "/orgs/{org}/limit-requests", scope: "org:write", action: "limit.request", summary: "Ask for another limit", status: 201}, s.requestLimit, s.organizationMade)
	register(s, route{id: "answer-limit-request", method: "POST", path: "/orgs/{org}/limit-requests/answer", scope: "operator", action: "limit.answer", summary: "Answer the open request"}, s.answerLimit, s.organizationMade)
	register(s, route{id: "show-policy", method: "GET", path: "/orgs/{org}/policy", scope: "org:read", action: "organization.read", summary: "Show the key policy"}, s.showPolicy, nil)
	register(s, route{id: "edit-policy", method: "PATCH", path: "/orgs/{org}/policy", scope: "org:write", action: "policy.set", summary: "Change the key policy"}, s.editPolicy, nil)
}

func (s *server) listOrganizations(ctx context.Context, c call, in *struct {
	Caller
	Paging
}) (*answer[List[Organization]], error) {
	list, after := []string{"orgs"}, ""
	if err := s.readCursor(list, in.Cursor, &after); err != nil {
		return nil, err
	}
	found, err := s.config.Registry.Organizations(ctx, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return listed(s, c, found, in.Limit, list, showOrganization, func(o keys.Organization) any { return o.ID }), nil
}

func (s *server) createOrganization(ctx context.Context, c call, in *struct {
	Terms
	Body CreateOrganization
}) (*answer[Organization], error) {
	return organizationAnswer(s.config.Registry.CreateOrganization(ctx, c.by, keys.Organization{Name: in.Body.Name, Plan: in.Body.Plan}))
}

func (s *server) organizationMade(ctx context.Context, _ call, e keys.Event) (*answer[Organization], error) {
	return organizationAnswer(s.config.Registry.Organization(ctx, e.Target))
}

func (s *server) showOrganization(ctx context.Context, c call, _ *struct {
	OrgPath
	Caller
}) (*answer[Organization], error) {
	return organizationAnswer(s.config.Registry.Organization(ctx, c.organization))
}

func (s *server) editOrganization(ctx context.Context, c call, in *struct {
	OrgPath
	Change
	Body EditOrganization
}) (*answer[Organization], error) {
	return organizationAnswer(s.config.Registry.Rename(ctx, c.by, c.organization, in.Body.Name))
}

func (s *server) showLimits(ctx context.Context, c call, _ *struct {
	OrgPath
	Caller
}) (*answer[Limits], error) {
	active, limit, err := s.config.Registry.Limits(ctx, c.organization)
	return &answer[Limits]{Body: Limits{active, limit}}, err
}

func (s *server) setPlan(ctx context.Context, c call, in *struct {
	OrgPath
	Terms
	Body SetPlan
}) (*answer[PlanAnswer], error) {
	o, receipt, err := s.config.Registry.SetPlan(ctx, c.by, c.organization, in.Body.Plan, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	return s.planAnswer(ctx, c, o, receipt), nil
}

func (s *server) planAnswer(ctx context.Context, c call, o keys.Organization, receipt keys.Receipt) *answer[PlanAnswer] {
	a := &answer[PlanAnswer]{ETag: etag(o.Version()), Body: PlanAnswer{Organization: showOrganization(o), Limits: s.limits(ctx, c)}}
	a.Body.Limits.Max = s.config.Registry.Limit(o) // of a dry run, too
	if receipt.Position != 0 {
		a.Body.Receipt = authz.ShowReceipt(receipt)
		a.Status, a.Location = s.waiting(receipt)
	}
	return a
}

func (s *server) planSet(ctx context.Context, c call, e keys.Event) (*answer[PlanAnswer], error) {
	o, err := s.config.Registry.Organization(ctx, e.Target)
	if err != nil {
		return nil, err
	}
	receipt, err := s.config.Registry.Reached(ctx, c.by, e)
	if err != nil {
		return nil, err
	}
	return s.planAnswer(ctx, c, o, receipt), nil
}

func (s *server) setLimit(ctx context.Context, c call, in *struct {
	OrgPath
	Terms
	Body SetLimit
}) (*answer[Organization], error) {
	if !in.Body.MaxKeys.Set {
		return nil, &keys.InputError{Field: "max_keys", Reason: "it is a number, or null"}
	}
	maxKeys := &in.Body.MaxKeys.Value
	if in.Body.MaxKeys.IsNull {
		maxKeys = nil
	}
	return organizationAnswer(s.config.Registry.SetLimit(ctx, c.by, c.organization, maxKeys, in.Body.Reason))
}

func (s *server) requestLimit(ctx context.Context, c call, in *struct {
	OrgPath
	Terms
	Body RequestLimit
}) (*answer[Organization], error) {
	return organizationAnswer(s.config.Registry.RequestLimit(ctx, c.by, c.organization, in.Body.MaxKeys, in.Body.Reason))
}

func (s *server) answerLimit(ctx context.Context, c call, in *struct {
	OrgPath
	Terms
	Body AnswerLimit
}) (*answer[Organization], error) {
	return organizationAnswer(s.config.Registry.AnswerLimit(ctx, c.by, c.organization, in.Body.Grant, in.Body.Reason))
}

func (s *server) showPolicy(ctx context.Context, c call, _ *struct {
	OrgPath
	Caller
}) (*answer[PolicyAnswer], error) {
	o, err := s.config.Registry.Organization(ctx, c.organization)
	if err != nil {
		return nil, err
	}
	return s.policyAnswer(ctx, o)
}

func (s *server) editPolicy(ctx context.Context, c call, in *struct {
	OrgPath
	Change
	Body EditPolicy
}) (*answer[PolicyAnswer], error) {
	networks, err := keys.ParseNetworks(given(in.Body.Networks))
	if err != nil {
		return nil, err
	}
	o, err := s.config.Registry.EditPolicy(ctx, c.by, c.organization, func(p *keys.Policy) {
		if in.Body.MaxLifetimeSeconds != nil {
			p.MaxLifetime = seconds(*in.Body.MaxLifetimeSeconds)
		}
		if in.Body.Networks != nil {
			p.Networks = networks
		}
		set(&p.Approval, in.Body.Approval)
		set(&p.KeepLeaked, in.Body.KeepLeaked)
		if in.Body.Creators != nil {
			p.Creators = nil
			for _, role := range *in.Body.Creators {
				p.Creators = append(p.Creators, keys.Role(role))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return s.policyAnswer(ctx, o)
}

func (s *server) policyAnswer(ctx context.Context, o keys.Organization) (*answer[PolicyAnswer], error) {
	affected, err := s.config.Registry.Against(ctx, o.ID, o.Policy)
	if err != nil {
		return nil, err
	}
	p := o.Policy
	body := PolicyAnswer{Policy: Policy{MaxLifetimeSeconds: int(p.MaxLifetime / time.Second), Networks: append([]string{}, showNetworks(p.Networks)...), Approval: p.Approval, KeepLeaked: p.KeepLeaked, Creators: []string{}}, Affected: []Key{}}
	for _, role := range p.Creators {
		body.Policy.Creators = append(body.Policy.Creators, string(role))
	}
	for _, k := range affected {
		body.Affected = append(body.Affected, show(k))
	}
	return &answer[PolicyAnswer]{ETag: etag(o.Version()), Body: body}, nil
}

func organizationAnswer(o keys.Organization, err error) (*answer[Organization], error) {
	if err != nil {
		return nil, err
	}
	return &answer[Organization]{ETag: etag(o.Version()), Body: showOrganization(o)}, nil
}

func showOrganization(o keys.Organization) Organization {
	shown := Organization{ID: o.ID, Name: o.Name, Plan: o.Plan, Operator: o.Operator, CreatedAt: o.CreatedAt, Damaged: o.Damaged}
	if l := o.CustomLimit; l != nil {
		shown.CustomLimit = &CustomLimit{l.MaxKeys, l.By, l.Reason, l.At}
	}
	if r := o.LimitRequest; r != nil {
		shown.LimitRequest = &LimitRequest{r.MaxKeys, r.Reason, r.By, r.At, "open", r.AnsweredBy, optional(r.AnsweredAt)}
		if r.Answer != "" {
			shown.LimitRequest.State = r.Answer
		}
	}
	return shown
}
