package panel

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// A difference between what somebody else made of a key and what the form asks for.
type difference struct{ Text, Theirs, Mine string }

// askEdit shows the form of a key as it is, without the scopes that the address names.
func (p *panel) askEdit(w http.ResponseWriter, r *http.Request, v *visitor) error {
	k, err := p.editable(r, v)
	if err != nil {
		return err
	}
	f, was := formOf(&k), formOf(&k)
	f.Was = &was
	f.Scopes = without(f.Scopes, r.URL.Query()["without"])
	return p.showEdit(w, r, v, f, k, nil, http.StatusOK)
}

// editable reads the key in the path, for who may change it.
func (p *panel) editable(r *http.Request, v *visitor) (keys.Key, error) {
	k, err := p.key(r, v)
	switch {
	case err != nil:
		return k, err
	case !k.RevokedAt.IsZero():
		return k, keys.ErrRevoked
	}
	return k, v.by.MayKey("key.edit", &k)
}

func (p *panel) showEdit(w http.ResponseWriter, r *http.Request, v *visitor, f keyForm, k keys.Key, theirs []difference, status int) error {
	page, err := p.keyFormPage(r, v, f, &k)
	if err != nil {
		return err
	}
	page.Theirs = theirs
	if len(theirs) > 0 {
		events, err := p.config.Registry.Events(r.Context(), v.org.ID, keys.EventPage{Target: k.ID, Newest: true, Limit: 1})
		if err != nil {
			return err
		}
		for _, m := range page.Owners {
			if len(events) > 0 && m.ID == events[0].MemberID {
				page.ChangedBy = m.Name
			}
		}
	}
	p.show(w, v, "key_form", status, page)
	return nil
}

// edit changes the key, unless somebody else has since the form was shown: then it
// shows both, and changes nothing.
func (p *panel) edit(w http.ResponseWriter, r *http.Request, v *visitor) error {
	k, err := p.editable(r, v)
	if err != nil {
		return err
	}
	f := readKeyForm(r.PostForm)
	f.Was = asShown(r.PostForm)
	if f.Version == "" {
		return errForm
	}
	if sameSet(f.Resources, f.Was.Resources) { // the APIs follow what is chosen
		if err := p.addAPIs(r.Context(), &f); err != nil {
			return err
		}
	}
	access := f.access(time.Now(), k.ExpiresAt, v.org.Policy.MaxLifetime)
	if r.PostForm.Get("do") == "review" {
		f.Problems = nil
		return p.showEdit(w, r, v, f, k, nil, http.StatusOK)
	}
	if len(f.Problems) > 0 {
		return p.showEdit(w, r, v, f, k, nil, http.StatusUnprocessableEntity)
	}
	by := v.by
	by.IfMatch = f.Version
	changed, receipt, err := p.config.Registry.Edit(r.Context(), by, v.org.ID, k.ID, func(e *keys.KeyEdit) {
		e.Name, e.Description, e.OwnerID = f.Name, f.Description, f.Owner
		if sameSet(access.Scopes, e.Scopes) {
			access.Scopes = e.Scopes
		}
		if sameSet(access.Resources, e.Resources) {
			access.Resources = e.Resources
		} else if len(access.Resources) > 0 && slices.Contains(access.Resources, e.Resources[0]) { // the default stays
			access.Resources = slices.Insert(slices.DeleteFunc(access.Resources, func(a string) bool { return a == e.Resources[0] }), 0, e.Resources[0])
		}
		e.Access = access
	})
	switch {
	case errors.Is(err, keys.ErrChanged):
		if k, err = p.editable(r, v); err != nil {
			return err
		}
		members, err := p.config.Registry.Members(r.Context(), v.org.ID)
		if err != nil {
			return err
		}
		f.onTop(&k)
		theirs := differences(&k, &f, f.access(time.Now(), k.ExpiresAt, v.org.Policy.MaxLifetime), members)
		if len(theirs) == 0 { // both made the same of it
			return p.savedAt(w, r, "/o/"+v.org.ID+"/keys/"+k.ID)
		}
		return p.showEdit(w, r, v, f, k, theirs, http.StatusConflict)
	case changed.ID != "":
	case err != nil && f.wrong(err):
		return p.showEdit(w, r, v, f, k, nil, http.StatusUnprocessableEntity)
	case err != nil:
		return err
	}
	return p.cutAt(w, r, v, "/o/"+v.org.ID+"/keys/"+k.ID, receipt, err)
}

// addAPIs adds the APIs of scopes to a form.
func (p *panel) addAPIs(ctx context.Context, f *keyForm) error {
	catalogue, err := p.config.Registry.Catalogue(ctx)
	if err != nil {
		return err
	}
	for _, name := range f.Scopes {
		if _, resource, ok := catalogue.Scope(name); ok && !slices.Contains(f.Resources, resource.Audience) {
			f.Resources = append(f.Resources, resource.Audience)
		}
	}
	return nil
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// differences are the fields in which a form is not as the key.
func differences(k *keys.Key, f *keyForm, a keys.Access, members []keys.Member) (list []difference) {
	theirs := formOf(k)
	add := func(text, theirs, mine string) {
		if theirs != mine {
			list = append(list, difference{text, theirs, mine})
		}
	}
	sorted := func(list []string) string { return strings.Join(slices.Sorted(slices.Values(list)), " ") }
	end := func(t time.Time) string {
		if t.IsZero() {
			return "–"
		}
		return date(t)
	}
	add("form.name_label", theirs.Name, f.Name)
	add("form.description_label", theirs.Description, f.Description)
	add("keys.owner", named(members, theirs.Owner).Name, named(members, f.Owner).Name)
	add("keys.access", sorted(theirs.Scopes), sorted(f.Scopes))
	if len(f.Resources) > 0 {
		add("form.resources_label", sorted(theirs.Resources), sorted(f.Resources))
	}
	add("keys.expires", end(k.ExpiresAt), end(a.ExpiresAt))
	add("key.networks", theirs.Networks, joined(a.Networks))
	add("form.ttl_label", theirs.TokenTTL, f.TokenTTL)
	return list
}
