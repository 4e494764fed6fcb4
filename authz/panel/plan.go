package panel

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/imara/apikeys/keys"
)

// planPage is what the page of the plan shows.
type planPage struct {
	Plans          []keys.Plan
	Plan           string
	Active, Max    int
	Custom         *keys.CustomLimit
	Asked          *keys.LimitRequest
	AskedBy        string
	MayAsk         bool
	Wanted, Reason string // as given
	Problem        string // id in the catalogue
}

func (p *panel) showPlan(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.plan(w, r, v, planPage{}, http.StatusOK)
}

func (p *panel) plan(w http.ResponseWriter, r *http.Request, v *visitor, page planPage, status int) error {
	if err := v.by.May("organization.read"); err != nil {
		return err
	}
	var err error
	if page.Active, page.Max, err = p.config.Registry.Limits(r.Context(), v.org.ID); err != nil {
		return err
	}
	page.Plans, page.Plan, page.Custom, page.Asked = p.config.Registry.Plans(), v.org.Plan, v.org.CustomLimit, v.org.LimitRequest
	page.MayAsk = v.by.May("limit.request") == nil
	if page.Wanted == "" && page.Problem == "" {
		page.Wanted = strconv.Itoa(page.Max + 5)
	}
	if page.Asked != nil {
		members, err := p.config.Registry.Members(r.Context(), v.org.ID)
		if err != nil {
			return err
		}
		page.AskedBy = named(members, page.Asked.By).Name
	}
	p.show(w, v, "plan", status, page)
	return nil
}

// askLimit asks the operator for another limit.
func (p *panel) askLimit(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page := planPage{Wanted: strings.TrimSpace(r.PostForm.Get("wanted")), Reason: strings.TrimSpace(r.PostForm.Get("reason"))}
	n, err := strconv.Atoi(page.Wanted)
	if err != nil {
		n = 0
	}
	_, err = p.config.Registry.RequestLimit(r.Context(), v.by, v.org.ID, n, page.Reason)
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		page.Problem = "plan." + input.Field
		return p.plan(w, r, v, page, http.StatusUnprocessableEntity)
	case err != nil:
		return err
	}
	return p.savedAt(w, r, "/o/"+v.org.ID+"/plan")
}
