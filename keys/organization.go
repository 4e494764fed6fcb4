package keys

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
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
	CustomLimit *CustomLimit
	// LimitRequest is the newest wish for another limit, nil when there was none.
	LimitRequest *LimitRequest
	Policy       Policy
	// Operator marks the organisation that runs this server. Its keys may hold
	// restricted scopes.
	Operator  bool
	CreatedAt time.Time
	// Damaged: its row cannot be read, and the rest is what can be told of it. Only lists
	// have such; what is about this organization alone fails.
	Damaged bool
}

// A CustomLimit of active keys, and who set it, why and when.
type CustomLimit struct {
	MaxKeys int
	By      string
	Reason  string
	At      time.Time
}

// A LimitRequest asks for another limit of active keys.
type LimitRequest struct {
	MaxKeys int
	Reason  string
	By      string
	At      time.Time
	// Answer is empty while it is open, then granted or declined.
	Answer     string
	AnsweredBy string
	AnsweredAt time.Time
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

// Plans are the configured ones, in their order.
func (r *Registry) Plans() []Plan { return r.config.Plans }

// fields are what changes are told by.
func (o *Organization) fields() map[string]string {
	f := map[string]string{"name": o.Name, "plan": o.Plan}
	if o.CustomLimit != nil {
		f["custom_limit"] = strconv.Itoa(o.CustomLimit.MaxKeys)
	}
	if l := o.LimitRequest; l != nil {
		f["limit_request"] = strings.TrimSpace(fmt.Sprintf("%d %s", l.MaxKeys, l.Answer))
	}
	o.Policy.describe(f)
	return f
}

// Version changes whenever the organisation does.
func (o *Organization) Version() string { return version(o.fields()) }

// CreateOrganization stores a new organisation. An empty ID is filled in.
// Errors: [ErrExists], an [InputError].
func (r *Registry) CreateOrganization(ctx context.Context, by Actor, o Organization) (Organization, error) {
	if err := by.May("organization.create"); err != nil {
		return Organization{}, err
	}
	if o.ID == "" && !by.DryRun {
		o.ID = "org_" + rand.Text()
	}
	if err := checkText("name", o.Name, 80); err != nil {
		return Organization{}, err
	}
	if _, ok := r.plans[o.Plan]; !ok {
		return Organization{}, invalid("plan", "there is no plan %q", o.Plan)
	}
	o.CreatedAt = now()
	entry := by.did("organization.create", o.ID, o.ID, tokens.Touch, tokens.Organization(o.ID))
	entry.Changes = diff(nil, o.fields())
	if by.DryRun {
		return o, nil
	}
	commit, err := r.config.Store.CreateOrganization(ctx, o, entry)
	if err != nil {
		return Organization{}, err
	}
	_, err = r.settle(ctx, by, commit)
	return o, err
}

// Organization returns one, or [ErrNotFound].
func (r *Registry) Organization(ctx context.Context, id string) (Organization, error) {
	return r.config.Store.Organization(ctx, id)
}

// Organizations returns at most limit of them in the order of their ids, after one.
func (r *Registry) Organizations(ctx context.Context, after string, limit int) ([]Organization, error) {
	return r.config.Store.Organizations(ctx, after, limit)
}

// changeOrganization runs one change and settles its entry.
func (r *Registry) changeOrganization(ctx context.Context, by Actor, action Action, id string, f func(*Organization, *Entry) error) (Organization, Receipt, error) {
	if err := by.May(action); err != nil {
		return Organization{}, Receipt{}, err
	}
	var would Organization
	var so *alreadyError
	o, at, err := r.config.Store.ChangeOrganization(ctx, id, func(o *Organization) (Entry, error) {
		if err := by.agree(o.Version()); err != nil {
			return Entry{}, err
		}
		before := o.fields()
		entry := by.did(action, o.ID, o.ID, tokens.Touch, tokens.Organization(o.ID))
		if err := f(o, &entry); err != nil {
			return Entry{}, err
		}
		entry.Changes = diff(before, o.fields())
		would = *o
		return entry, by.trial()
	})
	switch {
	case errors.Is(err, errTrial):
		return would, Receipt{}, nil
	case errors.As(err, &so):
		return r.samePlan(ctx, by, id)
	case err != nil:
		return Organization{}, Receipt{}, err
	}
	receipt, err := r.settle(ctx, by, at)
	return o, receipt, err
}

// samePlan is the answer to a move to the plan that the organisation is on: if that has
// no API access, with the receipt of the cut that took it.
func (r *Registry) samePlan(ctx context.Context, by Actor, id string) (Organization, Receipt, error) {
	o, err := r.config.Store.Organization(ctx, id)
	if err != nil || by.DryRun || r.plans[o.Plan].APIAccess {
		return o, Receipt{}, err
	}
	receipt, err := r.lastReceipt(ctx, by, tokens.Organization(id))
	return o, receipt, err
}

// Rename gives an organisation another name.
func (r *Registry) Rename(ctx context.Context, by Actor, id, name string) (Organization, error) {
	if err := checkText("name", name, 80); err != nil {
		return Organization{}, err
	}
	o, _, err := r.changeOrganization(ctx, by, "organization.rename", id, func(o *Organization, _ *Entry) error {
		o.Name = name
		return nil
	})
	return o, err
}

// SetPlan moves an organisation to a plan, and says why; a custom limit stays. No key
// is revoked by a smaller plan: creation stops until the organisation is below its
// limit. A plan without API access refuses new tokens and cuts the old ones; the
// receipt says how far that has reached, and is zero otherwise.
func (r *Registry) SetPlan(ctx context.Context, by Actor, id, plan, reason string) (Organization, Receipt, error) {
	if _, ok := r.plans[plan]; !ok {
		return Organization{}, Receipt{}, invalid("plan", "there is no plan %q", plan)
	}
	if err := checkReason(reason); err != nil {
		return Organization{}, Receipt{}, err
	}
	return r.changeOrganization(ctx, by, "plan.set", id, func(o *Organization, e *Entry) error {
		if o.Plan == plan {
			return already(tokens.Organization(id))
		}
		if r.plans[o.Plan].APIAccess && !r.plans[plan].APIAccess {
			e.Kind = tokens.Cut
		}
		e.Reason, o.Plan = reason, plan
		return nil
	})
}

// SetLimit gives an organisation a limit of active keys in place of its plan's, and
// says why; nil takes it away.
func (r *Registry) SetLimit(ctx context.Context, by Actor, id string, maxKeys *int, reason string) (Organization, error) {
	if err := checkText("reason", reason, 500); err != nil {
		return Organization{}, err
	}
	if maxKeys != nil && *maxKeys < 0 {
		return Organization{}, invalid("max_keys", "it cannot be negative")
	}
	o, _, err := r.changeOrganization(ctx, by, "limit.set", id, func(o *Organization, e *Entry) error {
		e.Reason, o.CustomLimit = reason, nil
		if maxKeys != nil {
			o.CustomLimit = &CustomLimit{MaxKeys: *maxKeys, By: by.Name(), Reason: reason, At: now()}
		}
		return nil
	})
	return o, err
}

// RequestLimit asks the operator for another limit of active keys. A request that
// is open is replaced.
func (r *Registry) RequestLimit(ctx context.Context, by Actor, id string, maxKeys int, reason string) (Organization, error) {
	if err := by.May("limit.request"); err != nil {
		return Organization{}, err
	}
	if maxKeys < 1 {
		return Organization{}, invalid("max_keys", "it must be at least 1")
	}
	if err := checkText("reason", reason, 500); err != nil {
		return Organization{}, err
	}
	o, _, err := r.changeOrganization(ctx, by, "limit.request", id, func(o *Organization, e *Entry) error {
		e.Reason = reason
		o.LimitRequest = &LimitRequest{MaxKeys: maxKeys, Reason: reason, By: by.Name(), At: now()}
		return nil
	})
	return o, err
}

// AnswerLimit grants the open request for so many keys and sets the custom limit,
// or declines it with 0. [ErrNotFound] when none is open, an [InputError] when it is
// for another number.
func (r *Registry) AnswerLimit(ctx context.Context, by Actor, id string, grant int, reason string) (Organization, error) {
	if err := checkReason(reason); err != nil {
		return Organization{}, err
	}
	o, _, err := r.changeOrganization(ctx, by, "limit.answer", id, func(o *Organization, e *Entry) error {
		if o.LimitRequest == nil || o.LimitRequest.Answer != "" {
			return ErrNotFound
		}
		if grant != 0 && grant != o.LimitRequest.MaxKeys {
			return invalid("grant", "the request is for %d", o.LimitRequest.MaxKeys)
		}
		answered := *o.LimitRequest
		answered.Answer, answered.AnsweredBy, answered.AnsweredAt = "declined", by.Name(), now()
		if grant > 0 {
			answered.Answer = "granted"
			o.CustomLimit = &CustomLimit{MaxKeys: answered.MaxKeys, By: by.Name(), Reason: reason, At: now()}
		}
		e.Reason, o.LimitRequest = reason, &answered
		return nil
	})
	return o, err
}

// Limits says how many active keys an organisation has and may have.
func (r *Registry) Limits(ctx context.Context, id string) (active, limit int, err error) {
	o, active, err := r.config.Store.ActiveKeys(ctx, id, now())
	return active, r.Limit(o), err
}

// Limit is the number of active keys that o may have.
func (r *Registry) Limit(o Organization) int {
	plan := r.plans[o.Plan]
	switch {
	case !plan.APIAccess:
		return 0
	case o.CustomLimit != nil:
		return o.CustomLimit.MaxKeys
	}
	return plan.MaxKeys
}

// APIAccess returns nil when the plan of o includes it, else [ErrNoAPIAccess].
func (r *Registry) APIAccess(o Organization) error {
	if !r.plans[o.Plan].APIAccess {
		return fmt.Errorf("%w: %s", ErrNoAPIAccess, o.Plan)
	}
	return nil
}

// admit decides whether o may have one more active key.
func (r *Registry) admit(o Organization, active int) error {
	if err := r.APIAccess(o); err != nil {
		return err
	}
	if limit := r.Limit(o); active >= limit {
		return &LimitError{Plan: o.Plan, Active: active, Limit: limit}
	}
	return nil
}

// checkText accepts 1 to limit characters of any script, without control
// characters and without space around them.
func checkText(field, text string, limit int) error {
	switch n := utf8.RuneCountInString(text); {
	case n == 0:
		return invalid(field, "it is required")
	case n > limit:
		return invalid(field, "%d characters are too many: at most %d", n, limit)
	case !Printable(text):
		return invalid(field, "it has characters that are not to be seen, or is not UTF-8")
	case strings.TrimSpace(text) != text:
		return invalid(field, "remove the space around it")
	case strings.Contains(text, secretPrefix):
		// It would stand in lists and in the audit log for ever.
		return invalid(field, "it holds a client secret, or a part of one")
	}
	return nil
}

// Printable tells whether text is UTF-8 without characters that do something to what
// shows it: controls, formats such as those that turn the direction of text around,
// line separators. Those that join letters are part of some scripts.
func Printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(c rune) bool {
		const joiner, nonJoiner = 0x200d, 0x200c
		return c == utf8.RuneError || c != joiner && c != nonJoiner && unicode.In(c, unicode.C, unicode.Zl, unicode.Zp)
	})
}

// checkReason accepts no text, or 1 to 500 characters of it.
func checkReason(reason string) error {
	if reason == "" {
		return nil
	}
	return checkText("reason", reason, 500)
}
