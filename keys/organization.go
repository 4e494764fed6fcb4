package keys

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/imara/apikeys/tokens"
)

// An Organization is a customer: the owner of keys, on a plan.
type Organization struct {
	ID   string
	Name string
	// Plan is the name of one of the configured plans.
	Plan string
	// CustomLimit replaces the plan's limit for this organisation; nil does not.
	CustomLimit *int
	// Operator marks the organisation that runs this server. Its keys may hold
	// restricted scopes.
	Operator  bool
	CreatedAt time.Time
}

// Role of a member.
type Role string

// The roles of an organisation's members.
const (
	Owner     Role = "owner"
	Admin     Role = "admin"
	Developer Role = "developer"
	Auditor   Role = "auditor"
	Billing   Role = "billing"
)

// A Member is a person in an organisation.
type Member struct {
	ID             string
	OrganizationID string
	Name           string
	Email          string
	Role           Role
	CreatedAt      time.Time
}

// A Plan limits what an organisation may have.
type Plan struct {
	Name string
	// APIAccess: keys may be created and used at all.
	APIAccess bool
	// MaxKeys is the limit of active keys.
	MaxKeys int
}

// DefaultPlans are the plans of the product. All limits are configuration.
func DefaultPlans() []Plan {
	return []Plan{
		{Name: "Free"},
		{Name: "Starter", APIAccess: true, MaxKeys: 2},
		{Name: "Professional", APIAccess: true, MaxKeys: 5},
		{Name: "Enterprise", APIAccess: true, MaxKeys: 20},
	}
}

// CreateOrganization stores a new organisation. An empty ID is filled in.
// Errors: [ErrExists], an [InputError].
func (r *Registry) CreateOrganization(ctx context.Context, o Organization) (Organization, error) {
	if o.ID == "" {
		o.ID = "org_" + rand.Text()
	}
	if err := checkText("name", o.Name, 80); err != nil {
		return Organization{}, err
	}
	if err := r.checkPlan(o.Plan, o.CustomLimit); err != nil {
		return Organization{}, err
	}
	o.CreatedAt = now()
	return o, r.config.Store.CreateOrganization(ctx, o)
}

// Organization returns one, or [ErrNotFound].
func (r *Registry) Organization(ctx context.Context, id string) (Organization, error) {
	return r.config.Store.Organization(ctx, id)
}

// SetPlan moves an organisation to a plan, with a limit of its own or nil. No
// key is revoked by a smaller plan: creation stops until the organisation is
// below its limit. A plan without API access refuses new tokens and cuts the old
// ones; the receipt says how far that has reached, and is zero otherwise.
func (r *Registry) SetPlan(ctx context.Context, by Actor, id, plan string, customLimit *int) (Organization, Receipt, error) {
	if err := r.checkPlan(plan, customLimit); err != nil {
		return Organization{}, Receipt{}, err
	}
	o, at, err := r.config.Store.ChangeOrganization(ctx, id, func(o *Organization) (Entry, error) {
		entry := by.entry(tokens.Touch, tokens.Organization(o.ID), "plan "+plan)
		if r.plans[o.Plan].APIAccess && !r.plans[plan].APIAccess {
			entry.Kind = tokens.Cut
		}
		o.Plan, o.CustomLimit = plan, customLimit
		return entry, nil
	})
	if err != nil {
		return Organization{}, Receipt{}, err
	}
	receipt, err := r.settle(ctx, at, "")
	return o, receipt, err
}

// Limits says how many active keys an organisation has and may have.
func (r *Registry) Limits(ctx context.Context, id string) (active, limit int, err error) {
	o, active, err := r.config.Store.ActiveKeys(ctx, id, now())
	return active, r.limit(o), err
}

// limit is the number of active keys that o may have.
func (r *Registry) limit(o Organization) int {
	plan := r.plans[o.Plan]
	switch {
	case !plan.APIAccess:
		return 0
	case o.CustomLimit != nil:
		return *o.CustomLimit
	}
	return plan.MaxKeys
}

// admit decides whether o may have one more active key.
func (r *Registry) admit(o Organization, active int) error {
	if !r.plans[o.Plan].APIAccess {
		return fmt.Errorf("%w: %s", ErrNoAPIAccess, o.Plan)
	}
	if limit := r.limit(o); active >= limit {
		return &LimitError{Plan: o.Plan, Active: active, Limit: limit}
	}
	return nil
}

func (r *Registry) checkPlan(plan string, customLimit *int) error {
	if _, ok := r.plans[plan]; !ok {
		return invalid("plan", "there is no plan %q", plan)
	}
	if customLimit != nil && *customLimit < 0 {
		return invalid("custom_limit", "it cannot be negative")
	}
	return nil
}

// AddMember stores a new member of an organisation. An empty ID is filled in.
func (r *Registry) AddMember(ctx context.Context, m Member) (Member, error) {
	if m.ID == "" {
		m.ID = "mem_" + rand.Text()
	}
	if err := checkText("name", m.Name, 80); err != nil {
		return Member{}, err
	}
	switch m.Role {
	case Owner, Admin, Developer, Auditor, Billing:
	default:
		return Member{}, invalid("role", "there is no role %q", m.Role)
	}
	m.CreatedAt = now()
	return m, r.config.Store.AddMember(ctx, m)
}

// Members returns those of an organisation, the oldest first.
func (r *Registry) Members(ctx context.Context, organizationID string) ([]Member, error) {
	return r.config.Store.Members(ctx, organizationID)
}

// checkText accepts 1 to limit characters of any script, without control
// characters and without space around them.
func checkText(field, text string, limit int) error {
	switch n := utf8.RuneCountInString(text); {
	case n == 0:
		return invalid(field, "it is required")
	case n > limit:
		return invalid(field, "%d characters are too many: at most %d", n, limit)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == utf8.RuneError }):
		return invalid(field, "it has control characters or is not UTF-8")
	case strings.TrimSpace(text) != text:
		return invalid(field, "remove the space around it")
	}
	return nil
}
