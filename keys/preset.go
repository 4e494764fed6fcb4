package keys

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/imara/apikeys/tokens"
)

// A Preset is a named choice of scopes to begin a new key with. Nothing refers to
// it afterwards.
type Preset struct {
	ID          string
	Name        string
	Description string
	Scopes      []string
}

func (p *Preset) fields() map[string]string {
	return map[string]string{"name": p.Name, "description": p.Description, "scopes": strings.Join(p.Scopes, " ")}
}

// Version changes whenever the preset does.
func (p *Preset) Version() string { return version(p.fields()) }

// Presets returns all of them, by name.
func (r *Registry) Presets(ctx context.Context) ([]Preset, error) { return r.config.Store.Presets(ctx) }

// addPreset adds the scopes of a preset, by its id or name.
func (r *Registry) addPreset(ctx context.Context, preset string, a *Access) error {
	if preset == "" {
		return nil
	}
	presets, err := r.config.Store.Presets(ctx)
	if err != nil {
		return err
	}
	for _, p := range presets {
		if p.ID == preset || NameKey(p.Name) == NameKey(preset) {
			a.Scopes = append(slices.Clone(a.Scopes), p.Scopes...)
			return nil
		}
	}
	return invalid("preset", "there is no preset %q", preset)
}

// PutPreset stores a preset, replacing the one with its id. An empty id is filled in.
func (r *Registry) PutPreset(ctx context.Context, by Actor, p Preset) (Preset, error) {
	if err := checkText("name", p.Name, 80); err != nil {
		return Preset{}, err
	}
	if p.Description != "" {
		if err := checkText("description", p.Description, 500); err != nil {
			return Preset{}, err
		}
	}
	if len(p.Scopes) > MaxScopes {
		return Preset{}, invalid("scopes", "at most %d", MaxScopes)
	}
	p.Scopes = distinct(p.Scopes)
	catalogue, err := r.Catalogue(ctx)
	if err != nil {
		return Preset{}, err
	}
	for _, name := range p.Scopes {
		if _, _, ok := catalogue.Scope(name); !ok {
			return Preset{}, invalid("scopes", "there is no scope %q", name)
		}
	}
	err = r.changePresets(ctx, by, "preset.set", &p, func(e Entry) (Commit, error) { return r.config.Store.PutPreset(ctx, p, e) })
	return p, err
}

// RemovePreset forgets one, or returns [ErrNotFound].
func (r *Registry) RemovePreset(ctx context.Context, by Actor, id string) error {
	return r.changePresets(ctx, by, "preset.remove", &Preset{ID: id}, func(e Entry) (Commit, error) { return r.config.Store.RemovePreset(ctx, id, e) })
}

func (r *Registry) changePresets(ctx context.Context, by Actor, action Action, p *Preset, store func(Entry) (Commit, error)) error {
	if err := by.May(action); err != nil {
		return err
	}
	presets, err := r.config.Store.Presets(ctx)
	if err != nil {
		return err
	}
	for _, other := range presets {
		if action == "preset.set" && other.ID != p.ID && NameKey(other.Name) == NameKey(p.Name) {
			return fmt.Errorf("preset %q: %w", p.Name, ErrExists)
		}
	}
	var old map[string]string
	if p.ID == "" {
		if !by.DryRun {
			p.ID = "pre_" + rand.Text()
		}
	} else if place := slices.IndexFunc(presets, func(other Preset) bool { return other.ID == p.ID }); place < 0 {
		return ErrNotFound
	} else if err := by.agree(presets[place].Version()); err != nil {
		return err
	} else {
		old = presets[place].fields()
	}
	if by.DryRun {
		return nil
	}
	entry := by.did(action, "", p.ID, tokens.Touch, tokens.Resource(p.ID))
	entry.Changes = diff(old, p.fields())
	at, err := store(entry)
	if err == nil {
		_, err = r.settle(ctx, by, at)
	}
	return err
}
