package panel

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/imara/apikeys/keys"
)

// askCreate shows the form of a new key, with what the address of the page fills in.
func (p *panel) askCreate(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.org.MayCreate(v.by); err != nil {
		return err
	}
	if p.config.Registry.APIAccess(v.org) != nil {
		http.Redirect(w, r, p.base+"/o/"+v.org.ID+"/plan", http.StatusSeeOther)
		return nil
	}
	query := r.URL.Query()
	f := readKeyForm(query)
	filled := len(query) > 0 && !(len(query) == 1 && query.Has("preset"))
	if f.Expires == "" {
		f.Expires = "90d"
		if limit := v.org.Policy.MaxLifetime; limit > 0 && limit < 90*day {
			f.Expires = "longest"
		}
	}
	if f.Owner == "" {
		f.Owner = v.by.MemberID
	}
	if id := query.Get("preset"); id != "" {
		if err := p.begins(r.Context(), &f, id); err != nil {
			return err
		}
	}
	return p.showCreate(w, r, v, f, filled, rand.Text(), http.StatusOK)
}

// begins makes the scopes of a form those of a preset; of one that is not there, none.
func (p *panel) begins(ctx context.Context, f *keyForm, preset string) error {
	presets, err := p.config.Registry.Presets(ctx)
	if err != nil {
		return err
	}
	f.Scopes, f.Began = nil, ""
	if i := slices.IndexFunc(presets, func(p keys.Preset) bool { return p.ID == preset }); i >= 0 {
		f.Scopes, f.Began = slices.Clone(presets[i].Scopes), preset
	}
	return nil
}

func (p *panel) showCreate(w http.ResponseWriter, r *http.Request, v *visitor, f keyForm, filled bool, request string, status int) error {
	page, err := p.keyFormPage(r, v, f, nil)
	if err != nil {
		return err
	}
	page.Filled, page.Request = filled, request
	p.show(w, v, "key_form", status, page)
	return nil
}

// create makes the key and answers with its secret, which no other page shows. The same
// form sent again finds what it did the first time.
func (p *panel) create(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.org.MayCreate(v.by); err != nil {
		return err
	}
	f := readKeyForm(r.PostForm)
	request := r.PostForm.Get("request")
	if err := checkRequest(request); err != nil {
		return err
	}
	if preset := r.PostForm.Get("preset"); preset != "" {
		if err := p.begins(r.Context(), &f, preset); err != nil {
			return err
		}
		return p.showCreate(w, r, v, f, false, request, http.StatusOK)
	}
	if r.PostForm.Get("do") == "review" {
		return p.showCreate(w, r, v, f, false, request, http.StatusOK)
	}
	access := f.access(time.Now(), time.Time{}, v.org.Policy.MaxLifetime)
	if len(f.Problems) > 0 {
		return p.showCreate(w, r, v, f, false, request, http.StatusUnprocessableEntity)
	}
	by := v.by
	by.IdempotencyKey = request
	created, err := p.config.Registry.Create(r.Context(), by, v.org.ID, keys.NewKey{Name: f.Name, Description: f.Description, OwnerID: f.Owner, Access: access})
	if done, e := p.showAgain(w, r, v, by, err); done || e != nil {
		return e
	}
	switch {
	case err != nil && f.wrong(err):
		return p.showCreate(w, r, v, f, false, request, http.StatusUnprocessableEntity)
	case err != nil:
		return err
	case created.Key.Pending:
		http.Redirect(w, r, p.keyPath(v, created.Key), http.StatusSeeOther)
		return nil
	}
	p.showSecret(w, v, created)
	return nil
}

// showAgain answers a form that failed because it was carried out before, and tells
// whether that was so: what it made is there, but not the secret.
func (p *panel) showAgain(w http.ResponseWriter, r *http.Request, v *visitor, by keys.Actor, failed error) (bool, error) {
	if failed == nil {
		return false, nil
	}
	e, _, err := p.config.Registry.Repeated(r.Context(), by)
	switch {
	case errors.Is(err, keys.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case e.OrganizationID != v.org.ID || e.MemberID != v.by.MemberID:
		return false, keys.ErrNotFound
	}
	k, err := p.config.Registry.Key(r.Context(), v.org.ID, e.Target)
	if err != nil {
		return false, err
	}
	p.show(w, v, "secret_gone", http.StatusConflict, k)
	return true, nil
}

// wrong adds a problem for an error that the person can mend, and tells whether it is one.
func (f *keyForm) wrong(err error) bool {
	var input *keys.InputError
	var limit *keys.LimitError
	switch {
	case errors.As(err, &input):
		f.Problems = append(f.Problems, problem{Field: input.Field, Text: "form." + input.Field})
	case errors.As(err, &limit):
		f.Problems = append(f.Problems, problem{Text: "form.limit"})
	case errors.Is(err, keys.ErrNoAPIAccess):
		f.Problems = append(f.Problems, problem{Text: "form.no_access"})
	case errors.Is(err, keys.ErrNameTaken):
		f.Problems = append(f.Problems, problem{"name", "form.name_taken", f.Name})
	case errors.Is(err, keys.ErrScope):
		f.Problems = append(f.Problems, problem{Field: "scopes", Text: "form.scope_granted"})
	case errors.Is(err, keys.ErrLifetime):
		f.Problems = append(f.Problems, problem{Field: "expires_at", Text: "form.lifetime"})
	default:
		return false
	}
	return true
}
