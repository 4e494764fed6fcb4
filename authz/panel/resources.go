package panel

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// resourcesPage is what the page of the catalogue shows.
type resourcesPage struct {
	Catalogue keys.Catalogue
	MaySet    bool
}

func (p *panel) showResources(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("catalogue.read"); err != nil {
		return err
	}
	catalogue, err := p.config.Registry.Catalogue(r.Context())
	if err != nil {
		return err
	}
	p.show(w, v, "resources", http.StatusOK, resourcesPage{catalogue, v.by.May("resource.set") == nil})
	return nil
}

// resourcePage is the form of a resource, with what was given already.
type resourcePage struct {
	keys.Resource
	Seconds    string     // that its tokens live
	Version    string     // of the resource that it was shown for; empty: a new one
	Rows       []scopeRow // its scopes, and room for more
	Algorithms []string
	Problem    problem // Text is empty: none
}

type scopeRow struct {
	keys.Scope
	N int // from 1
}

// roomForScopes is how many empty rows a form of scopes has.
const roomForScopes = 3

// resource reads the one in the path, and its version; without one in the path, a new one.
func (p *panel) resource(r *http.Request, v *visitor) (res keys.Resource, version string, err error) {
	if err := v.by.May("resource.set"); err != nil {
		return res, "", err
	}
	id := r.PathValue("resource")
	if id == "" {
		return keys.Resource{Algorithm: tokens.ES256, TokenTTL: keys.DefaultTokenTTL}, "", nil
	}
	catalogue, err := p.config.Registry.Catalogue(r.Context())
	if err != nil {
		return res, "", err
	}
	i := slices.IndexFunc(catalogue, func(res keys.Resource) bool { return res.ID == id })
	if i < 0 {
		return res, "", keys.ErrNotFound
	}
	return catalogue[i], catalogue[i].Version(), nil
}

func (p *panel) askResource(w http.ResponseWriter, r *http.Request, v *visitor) error {
	res, version, err := p.resource(r, v)
	if err != nil {
		return err
	}
	p.showResource(w, v, resourcePage{Resource: res, Version: version, Seconds: strconv.Itoa(int(res.TokenTTL / time.Second))}, http.StatusOK)
	return nil
}

func (p *panel) showResource(w http.ResponseWriter, v *visitor, page resourcePage, status int) {
	for _, s := range append(slices.Clone(page.Scopes), make([]keys.Scope, roomForScopes)...) {
		page.Rows = append(page.Rows, scopeRow{s, len(page.Rows) + 1})
	}
	page.Algorithms = tokens.Algorithms()
	p.show(w, v, "resource", status, page)
}

// putResource stores a resource with its scopes, unless somebody else changed it since
// the form was shown.
func (p *panel) putResource(w http.ResponseWriter, r *http.Request, v *visitor) error {
	old, version, err := p.resource(r, v)
	if err != nil {
		return err
	}
	form := r.PostForm
	page := resourcePage{Resource: old, Version: form.Get("version"), Seconds: strings.TrimSpace(form.Get("token_ttl"))}
	page.Name, page.Algorithm = strings.TrimSpace(form.Get("name")), form.Get("algorithm")
	if old.ID == "" {
		page.Audience = strings.TrimSpace(form.Get("audience"))
	} else if page.Version == "" {
		return errForm
	}
	if page.Scopes, err = readScopes(form); err != nil {
		return err
	}
	seconds, err := strconv.Atoi(page.Seconds)
	if err != nil || seconds <= 0 || seconds > int(keys.MaxTokenTTL/time.Second) {
		page.Problem = problem{"token_ttl", "resource.bad.token_ttl", ""}
		p.showResource(w, v, page, http.StatusUnprocessableEntity)
		return nil
	}
	page.TokenTTL = time.Duration(seconds) * time.Second
	by := v.by
	if by.IfMatch = page.Version; old.ID == "" {
		catalogue, err := p.config.Registry.Catalogue(r.Context())
		if err != nil {
			return err
		}
		if _, taken := catalogue.Resource(page.Audience); taken {
			page.Problem = problem{"audience", "resource.taken", ""}
			p.showResource(w, v, page, http.StatusUnprocessableEntity)
			return nil
		}
	} else if version != page.Version {
		return keys.ErrChanged
	}
	_, err = p.config.Registry.PutResource(r.Context(), by, page.Resource)
	var input *keys.InputError
	var used *keys.InUseError
	switch {
	case errors.As(err, &used):
		page.Problem = problem{"scopes", "error.in_use.title", used.Error()}
		p.showResource(w, v, page, http.StatusConflict)
		return nil
	case errors.As(err, &input):
		field, _, _ := strings.Cut(input.Field, "/")
		page.Problem = problem{field, "resource.bad." + field, input.Reason}
		p.showResource(w, v, page, http.StatusUnprocessableEntity)
		return nil
	case err != nil:
		return err
	}
	return p.savedAt(w, r, operatorRoot+"/resources")
}

// readScopes reads the rows of a form; one without a name is no scope.
func readScopes(form map[string][]string) (list []keys.Scope, err error) {
	names := form["scope_name"]
	for _, column := range []string{"scope_description", "scope_group", "scope_level", "scope_granted_by", "scope_restricted"} {
		if len(form[column]) != len(names) {
			return nil, errForm
		}
	}
	for i, name := range names {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		value := func(column string) string { return strings.TrimSpace(form["scope_"+column][i]) }
		list = append(list, keys.Scope{Name: name, Description: value("description"), Group: value("group"), Level: value("level"),
			GrantedBy: keys.Role(value("granted_by")), Restricted: value("restricted") != ""})
	}
	return list, nil
}

func (p *panel) removeResource(w http.ResponseWriter, r *http.Request, v *visitor) error {
	by := v.by
	if by.IfMatch = r.PostForm.Get("version"); by.IfMatch == "" || r.PostForm.Get("sure") == "" {
		return errForm
	}
	if err := p.config.Registry.RemoveResource(r.Context(), by, r.PathValue("resource")); err != nil {
		return err
	}
	return p.savedAt(w, r, operatorRoot+"/resources")
}
