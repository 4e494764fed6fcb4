package panel

import (
	"errors"
	"net/http"
	"strings"

	"github.com/imara/apikeys/keys"
)

// memberPage is what the pages of members show.
type memberPage struct {
	Members           []keys.Member
	Roles             []keys.Role
	MayAdd, MayEdit   bool
	MayRemove         bool
	Name, Email, Role string // as given for a new one
	Problem           string // id in the catalogue
	Removing          keys.Member
	Owned             []keys.Key // of the one to be removed
	Heirs             []keys.Member
}

func (p *panel) showMembers(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.members(w, r, v, memberPage{Role: string(keys.Developer)}, http.StatusOK)
}

func (p *panel) members(w http.ResponseWriter, r *http.Request, v *visitor, page memberPage, status int) error {
	if err := v.by.May("member.read"); err != nil {
		return err
	}
	members, err := p.config.Registry.Members(r.Context(), v.org.ID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.RemovedAt.IsZero() {
			page.Members = append(page.Members, m)
		}
	}
	page.Roles = keys.RolesOf(v.org)
	page.MayAdd, page.MayEdit, page.MayRemove = v.by.May("member.add") == nil, v.by.May("member.edit") == nil, v.by.May("member.remove") == nil
	p.show(w, v, "members", status, page)
	return nil
}

func (p *panel) addMember(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page := memberPage{Name: strings.TrimSpace(r.PostForm.Get("name")), Email: strings.TrimSpace(r.PostForm.Get("email")), Role: r.PostForm.Get("role")}
	_, err := p.config.Registry.AddMember(r.Context(), v.by, keys.Member{OrganizationID: v.org.ID, Name: page.Name, Email: page.Email, Role: keys.Role(page.Role)})
	return p.membersChanged(w, r, v, page, err)
}

func (p *panel) editMember(w http.ResponseWriter, r *http.Request, v *visitor) error {
	by := v.by
	if by.IfMatch = r.PostForm.Get("version"); by.IfMatch == "" {
		return errForm
	}
	_, err := p.config.Registry.EditMember(r.Context(), by, v.org.ID, r.PathValue("member"), func(m *keys.Member) { m.Role = keys.Role(r.PostForm.Get("role")) })
	return p.membersChanged(w, r, v, memberPage{Role: string(keys.Developer)}, err)
}

// membersChanged shows the members after a change, with what was wrong with it.
func (p *panel) membersChanged(w http.ResponseWriter, r *http.Request, v *visitor, page memberPage, err error) error {
	switch page.Problem = memberProblem(err); {
	case page.Problem != "":
		return p.members(w, r, v, page, http.StatusUnprocessableEntity)
	case err != nil:
		return err
	}
	return p.savedAt(w, r, "/o/"+v.org.ID+"/members")
}

// memberProblem is what a person can mend of a change of a member, as an id in the
// catalogue; empty for other errors, and for none.
func memberProblem(err error) string {
	var input *keys.InputError
	switch {
	case errors.Is(err, keys.ErrExists):
		return "members.exists"
	case errors.Is(err, keys.ErrLastOwner):
		return "members.last_owner"
	case errors.As(err, &input):
		return "members.bad"
	}
	return ""
}

// askRemove shows which keys a member leaves behind, and to whom they can go.
func (p *panel) askRemove(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.showRemove(w, r, v, "", http.StatusOK)
}

func (p *panel) showRemove(w http.ResponseWriter, r *http.Request, v *visitor, problem string, status int) error {
	if err := v.by.May("member.remove"); err != nil {
		return err
	}
	ctx := r.Context()
	page := memberPage{Problem: problem}
	var err error
	if page.Removing, err = p.config.Registry.Member(ctx, v.org.ID, r.PathValue("member")); err != nil {
		return err
	}
	owned, err := p.config.Registry.Keys(ctx, v.org.ID, keys.Page{OwnerID: page.Removing.ID, Order: keys.ByName, Ascending: true})
	if err != nil {
		return err
	}
	for _, k := range owned {
		if k.RevokedAt.IsZero() {
			page.Owned = append(page.Owned, k)
		}
	}
	members, err := p.config.Registry.Members(ctx, v.org.ID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Active() && m.ID != page.Removing.ID {
			page.Heirs = append(page.Heirs, m)
		}
	}
	p.show(w, v, "member_remove", status, page)
	return nil
}

func (p *panel) removeMember(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if r.PostForm.Get("heir") != "" { // it gives power
		if ok, err := p.confirmed(w, r, v); !ok {
			return err
		}
	}
	_, err := p.config.Registry.RemoveMember(r.Context(), v.by, v.org.ID, r.PathValue("member"), r.PostForm.Get("heir"))
	var input *keys.InputError
	switch {
	case errors.Is(err, keys.ErrOwnsKeys), errors.As(err, &input):
		return p.showRemove(w, r, v, "members.heir", http.StatusUnprocessableEntity)
	case errors.Is(err, keys.ErrLastOwner):
		return p.showRemove(w, r, v, "members.last_owner", http.StatusUnprocessableEntity)
	case err != nil:
		return err
	}
	return p.savedAt(w, r, "/o/"+v.org.ID+"/members")
}
