package panel

import (
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// organizationsPage is what the page of all organisations shows.
type organizationsPage struct {
	List       []organizationRow
	More       string // id after which the next page begins
	Plans      []keys.Plan
	MayCreate  bool
	Name, Plan string // as given
	Request    string
	Problem    string // id in the catalogue
}

type organizationRow struct {
	keys.Organization
	Active, Max int
}

const organizationsPerPage = 50

func (p *panel) showOrganizations(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.organizations(w, r, v, organizationsPage{Request: rand.Text()}, http.StatusOK)
}

func (p *panel) organizations(w http.ResponseWriter, r *http.Request, v *visitor, page organizationsPage, status int) error {
	if err := v.by.May("organization.list"); err != nil {
		return err
	}
	list, err := p.config.Registry.Organizations(r.Context(), r.URL.Query().Get("after"), organizationsPerPage+1)
	if err != nil {
		return err
	}
	if len(list) > organizationsPerPage {
		list = list[:organizationsPerPage]
		page.More = list[organizationsPerPage-1].ID
	}
	for _, o := range list {
		row := organizationRow{Organization: o}
		if o.Damaged {
			page.List = append(page.List, row)
			continue
		}
		if row.Active, row.Max, err = p.config.Registry.Limits(r.Context(), o.ID); err != nil {
			return err
		}
		page.List = append(page.List, row)
	}
	page.Plans, page.MayCreate = p.config.Registry.Plans(), v.by.May("organization.create") == nil
	p.show(w, v, "organizations", status, page)
	return nil
}

func (p *panel) createOrganization(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page := organizationsPage{Name: strings.TrimSpace(r.PostForm.Get("name")), Plan: r.PostForm.Get("plan"), Request: r.PostForm.Get("request")}
	if err := checkRequest(page.Request); err != nil {
		return err
	}
	by := v.by
	by.IdempotencyKey = page.Request
	o, err := p.config.Registry.CreateOrganization(r.Context(), by, keys.Organization{Name: page.Name, Plan: page.Plan})
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		page.Problem = "orgs.bad"
		return p.organizations(w, r, v, page, http.StatusUnprocessableEntity)
	case err != nil:
		return err
	}
	http.Redirect(w, r, p.base+operatorRoot+"/orgs/"+o.ID, http.StatusSeeOther)
	return nil
}

// organizationPage is what the operator's page of one organisation shows.
type organizationPage struct {
	organizationRow
	Version string
	Plans   []keys.Plan
	Members []keys.Member
	Roles   []keys.Role
	AskedBy string // who asked for another limit
	// What the visitor's role allows.
	MayRename, MaySetPlan, MaySetLimit, MayAnswer, MayAdd, MayLink bool
	Problem                                                        string // id in the catalogue
}

func (p *panel) showOrganization(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.organization(w, r, v, organizationPage{}, http.StatusOK)
}

func (p *panel) organization(w http.ResponseWriter, r *http.Request, v *visitor, page organizationPage, status int) error {
	if err := v.by.May("organization.list"); err != nil {
		return err
	}
	ctx := r.Context()
	o, err := p.config.Registry.Organization(ctx, r.PathValue("org"))
	if err != nil {
		return err
	}
	page.Organization, page.Version, page.Plans, page.Roles = o, o.Version(), p.config.Registry.Plans(), keys.RolesOf(o)
	if page.Active, page.Max, err = p.config.Registry.Limits(ctx, o.ID); err != nil {
		return err
	}
	members, err := p.config.Registry.Members(ctx, o.ID)
	if err != nil {
		return err
	}
	if o.LimitRequest != nil {
		page.AskedBy = named(members, o.LimitRequest.By).Name
	}
	page.Members = slices.DeleteFunc(members, func(m keys.Member) bool { return !m.RemovedAt.IsZero() })
	may := func(action keys.Action) bool { return v.by.May(action) == nil }
	page.MayRename, page.MaySetPlan, page.MaySetLimit, page.MayAnswer, page.MayAdd, page.MayLink =
		may("organization.rename"), may("plan.set"), may("limit.set"), may("limit.answer"), may("member.add"), may("account.link")
	p.show(w, v, "organization", status, page)
	return nil
}

// editOrganization does what one of the forms of the page asks for, to the organisation
// as that page shows it.
func (p *panel) editOrganization(w http.ResponseWriter, r *http.Request, v *visitor) error {
	ctx, form, id := r.Context(), r.PostForm, r.PathValue("org")
	by, reason := v.by, strings.TrimSpace(r.PostForm.Get("reason"))
	if by.IfMatch = form.Get("version"); by.IfMatch == "" {
		return errForm
	}
	var err error
	var changed keys.Organization
	var receipt keys.Receipt
	switch form.Get("do") {
	case "rename":
		_, err = p.config.Registry.Rename(ctx, by, id, strings.TrimSpace(form.Get("name")))
	case "plan":
		changed, receipt, err = p.config.Registry.SetPlan(ctx, by, id, form.Get("plan"), reason)
	case "limit":
		var limit *int
		if text := strings.TrimSpace(form.Get("max_keys")); text != "" {
			n, e := strconv.Atoi(text)
			if e != nil {
				n = -1 // which is refused
			}
			limit = &n
		}
		_, err = p.config.Registry.SetLimit(ctx, by, id, limit, reason)
	case "grant", "decline":
		n := 0
		if form.Get("do") == "grant" {
			n, _ = strconv.Atoi(form.Get("max_keys"))
			if n == 0 {
				return errForm
			}
		}
		_, err = p.config.Registry.AnswerLimit(ctx, by, id, n, reason)
	default:
		return errForm
	}
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		return p.organization(w, r, v, organizationPage{Problem: "org.bad." + input.Field}, http.StatusUnprocessableEntity)
	case err != nil && changed.ID != "":
		return p.cutAt(w, r, v, operatorRoot+"/orgs/"+id, receipt, err)
	case err != nil:
		return err
	case receipt.Position != 0:
		return p.cutAt(w, r, v, operatorRoot+"/orgs/"+id, receipt, nil)
	}
	return p.savedAt(w, r, operatorRoot+"/orgs/"+id)
}

// addCustomer adds a member to an organisation: its first owner.
func (p *panel) addCustomer(w http.ResponseWriter, r *http.Request, v *visitor) error {
	form := r.PostForm
	_, err := p.config.Registry.AddMember(r.Context(), v.by, keys.Member{OrganizationID: r.PathValue("org"), Name: strings.TrimSpace(form.Get("name")),
		Email: strings.TrimSpace(form.Get("email")), Role: keys.Role(form.Get("role"))})
	switch problem := memberProblem(err); {
	case problem != "":
		return p.organization(w, r, v, organizationPage{Problem: problem}, http.StatusUnprocessableEntity)
	case err != nil:
		return err
	}
	return p.savedAt(w, r, operatorRoot+"/orgs/"+r.PathValue("org"))
}

// linkPage shows a link for somebody, once.
type linkPage struct {
	keys.Link
	URL, Back string
}

// resetPage asks whether a link may open all that an account has.
type resetPage struct {
	keys.Member
	Password bool // there is one
	Opens    []keys.Organization
	Back     string
}

// makeLink makes a link with which a member chooses a password, and answers with it.
func (p *panel) makeLink(w http.ResponseWriter, r *http.Request, v *visitor) error {
	m, err := p.config.Registry.Member(r.Context(), r.PathValue("org"), r.PathValue("member"))
	if err != nil {
		return err
	}
	var token string
	var l keys.Link
	if opens := r.PostForm["opens"]; len(opens) > 0 {
		token, l, err = p.config.Registry.NewResetLink(r.Context(), v.by, m.Email, opens)
	} else {
		token, l, err = p.config.Registry.NewLink(r.Context(), v.by, m.Email, m.OrganizationID)
	}
	back := p.base + operatorRoot + "/orgs/" + m.OrganizationID
	var account *keys.AccountError
	switch {
	case errors.As(err, &account):
		return p.askReset(w, r, v, resetPage{Member: m, Password: account.Password, Back: back}, account.Opens)
	case errors.Is(err, keys.ErrElsewhere):
		return p.organization(w, r, v, organizationPage{Problem: "org.provider"}, http.StatusUnprocessableEntity)
	case err != nil:
		return err
	}
	p.show(w, v, "link_made", http.StatusOK, linkPage{l, authz.PanelLink(p.config.Issuer, token), back})
	return nil
}

// askReset names every organisation that a link for a member would open, and asks again.
func (p *panel) askReset(w http.ResponseWriter, r *http.Request, v *visitor, page resetPage, opens []string) error {
	for _, id := range opens {
		o, err := p.config.Registry.Organization(r.Context(), id)
		if err != nil {
			return err
		}
		page.Opens = append(page.Opens, o)
	}
	p.show(w, v, "link_reset", http.StatusConflict, page)
	return nil
}
