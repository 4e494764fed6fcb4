package panel

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// policyPage is what the page of the policy shows: the form, and what it would affect.
type policyPage struct {
	Days, Networks       string
	Approval, KeepLeaked bool
	Creators             []roleChoice
	MaySet               bool
	Version              string
	Problem              problem // Text is empty: none
	Checked              bool
	Affected             []affected
	Theirs               []difference // somebody else changed it meanwhile
}

type roleChoice struct {
	Role    keys.Role
	Checked bool
}

// affected is what a part of a policy would not admit if keys were created now.
type affected struct {
	Text string // id in the catalogue
	Keys []keys.Key
}

func policyForm(policy keys.Policy) policyPage {
	page := policyPage{Networks: joined(policy.Networks), Approval: policy.Approval, KeepLeaked: policy.KeepLeaked}
	if policy.MaxLifetime > 0 {
		page.Days = strconv.FormatFloat(policy.MaxLifetime.Hours()/24, 'g', -1, 64)
	}
	for _, role := range keys.CreatorRoles() {
		page.Creators = append(page.Creators, roleChoice{role, len(policy.Creators) == 0 || slices.Contains(policy.Creators, role)})
	}
	return page
}

func (p *panel) showPolicy(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.policy(w, v, policyForm(v.org.Policy), http.StatusOK)
}

func (p *panel) policy(w http.ResponseWriter, v *visitor, page policyPage, status int) error {
	if err := v.by.May("organization.read"); err != nil {
		return err
	}
	page.MaySet = v.by.May("policy.set") == nil
	if page.Version == "" {
		page.Version = v.org.Version()
	}
	p.show(w, v, "policy", status, page)
	return nil
}

// setPolicy checks what a policy would affect, or saves it.
func (p *panel) setPolicy(w http.ResponseWriter, r *http.Request, v *visitor) error {
	policy, page := readPolicy(r)
	page.Version = r.PostForm.Get("version")
	if page.Version == "" {
		return errForm
	}
	if page.Problem.Text != "" {
		return p.policy(w, v, page, http.StatusUnprocessableEntity)
	}
	by := v.by
	by.IfMatch = page.Version
	by.DryRun = r.PostForm.Get("do") == "check"
	_, err := p.config.Registry.EditPolicy(r.Context(), by, v.org.ID, func(p *keys.Policy) { *p = policy })
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		page.Problem = problem{input.Field, "policy.bad", ""}
		return p.policy(w, v, page, http.StatusUnprocessableEntity)
	case errors.Is(err, keys.ErrChanged):
		if v.org, err = p.config.Registry.Organization(r.Context(), v.org.ID); err != nil {
			return err
		}
		if page.Theirs, err = p.catalogue(v).policyDifferences(policyForm(v.org.Policy), page); err != nil {
			return err
		}
		page.Problem, page.Version = problem{"", "policy.changed", ""}, ""
		return p.policy(w, v, page, http.StatusConflict)
	case err != nil:
		return err
	case by.DryRun:
		page.Checked = true
		if page.Affected, err = p.against(r, v, policy); err != nil {
			return err
		}
		return p.policy(w, v, page, http.StatusOK)
	}
	return p.savedAt(w, r, "/o/"+v.org.ID+"/policy")
}

// readPolicy reads the form of a policy.
func readPolicy(r *http.Request) (policy keys.Policy, page policyPage) {
	form := r.PostForm
	policy = keys.Policy{Approval: form.Get("approval") != "", KeepLeaked: form.Get("keep_leaked") != ""}
	for _, role := range keys.CreatorRoles() {
		if slices.Contains(form["creator"], string(role)) {
			policy.Creators = append(policy.Creators, role)
		}
	}
	everyone := len(policy.Creators) == len(keys.CreatorRoles())
	nobody := len(policy.Creators) == 0
	if everyone {
		policy.Creators = nil
	}
	days := strings.TrimSpace(form.Get("days"))
	n, err := strconv.ParseFloat(days, 64)
	var wrong problem
	if days != "" && (err != nil || !(n > 0 && n <= 36500)) {
		wrong = problem{"days", "policy.days_bad", days}
	} else if days != "" {
		policy.MaxLifetime = time.Duration(n * float64(day)).Round(time.Second)
		if policy.MaxLifetime < time.Hour {
			wrong = problem{"days", "policy.bad", ""}
		}
	}
	networks, err := keys.ParseNetworks(words(form.Get("networks")))
	if err != nil {
		wrong = problem{"networks", "policy.networks_bad", ""}
	}
	if nobody {
		wrong = problem{"creator", "policy.nobody", ""}
	}
	policy.Networks = networks
	page = policyForm(policy)
	page.Days, page.Networks, page.Problem = days, form.Get("networks"), wrong
	return policy, page
}

// policyDifferences are the fields in which a form is not as the policy.
func (c catalogue) policyDifferences(theirs, mine policyPage) (list []difference, err error) {
	add := func(text, theirs, mine string) {
		if theirs != mine {
			list = append(list, difference{text, theirs, mine})
		}
	}
	word := func(id string) string {
		text, e := c.text(id)
		err = errors.Join(err, e)
		return text
	}
	is := func(set bool) string {
		if set {
			return word("taste.on")
		}
		return word("taste.off")
	}
	creators := func(p policyPage) string {
		var names []string
		for _, choice := range p.Creators {
			if choice.Checked {
				names = append(names, word("role."+string(choice.Role)))
			}
		}
		return strings.Join(names, ", ")
	}
	add("policy.days_label", theirs.Days, mine.Days)
	add("policy.networks_label", theirs.Networks, strings.Join(words(mine.Networks), ", "))
	add("policy.approval", is(theirs.Approval), is(mine.Approval))
	add("policy.keep_leaked", is(theirs.KeepLeaked), is(mine.KeepLeaked))
	add("policy.creators", creators(theirs), creators(mine))
	return list, err
}

// against says which active keys each part of a policy would stop, or not admit if they
// were created now.
func (p *panel) against(r *http.Request, v *visitor, policy keys.Policy) (list []affected, err error) {
	ctx := r.Context()
	active, err := p.config.Registry.Keys(ctx, v.org.ID, keys.Page{Status: keys.Active})
	if err != nil {
		return nil, err
	}
	catalogue, err := p.config.Registry.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	members, err := p.config.Registry.Members(ctx, v.org.ID)
	if err != nil {
		return nil, err
	}
	tooLong, err := p.config.Registry.Against(ctx, v.org.ID, keys.Policy{MaxLifetime: policy.MaxLifetime})
	if err != nil {
		return nil, err
	}
	outside, err := p.config.Registry.Against(ctx, v.org.ID, keys.Policy{Networks: policy.Networks})
	if err != nil {
		return nil, err
	}
	list = []affected{{"policy.days_label", tooLong}, {"policy.networks_label", outside}, {Text: "policy.networks_used"}, {Text: "policy.approval"}, {Text: "policy.creators"}}
	org := v.org
	org.Policy = policy
	for _, k := range active {
		if slices.ContainsFunc(k.Credentials, func(c keys.Credential) bool {
			from, err := netip.ParseAddr(c.LastUsedFrom)
			return err == nil && !k.Reaches(&org, from)
		}) {
			list[2].Keys = append(list[2].Keys, k)
		}
		if policy.Approval && slices.ContainsFunc(k.Scopes, func(name string) bool { scope, _, _ := catalogue.Scope(name); return scope.Writes() }) {
			list[3].Keys = append(list[3].Keys, k)
		}
		if owner := named(members, k.OwnerID); owner.ID != "" && org.MayCreate(keys.Actor{MemberID: owner.ID, Role: owner.Role}) != nil {
			list[4].Keys = append(list[4].Keys, k)
		}
	}
	return list, nil
}
