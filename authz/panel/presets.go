package panel

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/imara/apikeys/keys"
)

// presetsPage is what the page of the presets shows.
type presetsPage struct {
	Presets []keys.Preset
	MaySet  bool
	// As given for a new one.
	Name, Description, Scopes string
	Problem                   problem // Text is empty: none
}

func (p *panel) showPresets(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.presets(w, r, v, presetsPage{}, http.StatusOK)
}

func (p *panel) presets(w http.ResponseWriter, r *http.Request, v *visitor, page presetsPage, status int) (err error) {
	if err := v.by.May("catalogue.read"); err != nil {
		return err
	}
	if page.Presets, err = p.config.Registry.Presets(r.Context()); err != nil {
		return err
	}
	page.MaySet = v.by.May("preset.set") == nil
	p.show(w, v, "presets", status, page)
	return nil
}

// putPreset adds a preset, replaces the one that the form names, or removes that.
func (p *panel) putPreset(w http.ResponseWriter, r *http.Request, v *visitor) error {
	form := r.PostForm
	id := form.Get("id")
	by := v.by
	if id != "" {
		presets, err := p.config.Registry.Presets(r.Context())
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(presets, func(p keys.Preset) bool { return p.ID == id }) {
			return keys.ErrNotFound
		}
		if by.IfMatch = form.Get("version"); by.IfMatch == "" {
			return errForm
		}
	}
	var err error
	if form.Get("do") == "remove" && id != "" {
		err = p.config.Registry.RemovePreset(r.Context(), by, id)
	} else {
		_, err = p.config.Registry.PutPreset(r.Context(), by, keys.Preset{ID: id, Name: strings.TrimSpace(form.Get("name")),
			Description: strings.TrimSpace(form.Get("description")), Scopes: words(form.Get("scopes"))})
	}
	var input *keys.InputError
	switch {
	case errors.As(err, &input), errors.Is(err, keys.ErrExists), errors.Is(err, keys.ErrNameTaken):
		page := presetsPage{Problem: problem{"name", "preset.taken", ""}}
		if input != nil {
			page.Problem = problem{input.Field, "preset.bad", input.Reason}
		}
		if id == "" {
			page.Name, page.Description, page.Scopes = form.Get("name"), form.Get("description"), form.Get("scopes")
		}
		return p.presets(w, r, v, page, http.StatusUnprocessableEntity)
	case err != nil:
		return err
	}
	return p.savedAt(w, r, operatorRoot+"/presets")
}
