package panel

import (
	"net/http"
	"net/url"

	"github.com/imara/apikeys/keys"
)

// A findingRow is a finding, with where and how it is settled.
type findingRow struct {
	keys.Finding
	Hint string // of the secret that it is about
	Path string // below the key
	May  bool
}

// settles is where each kind of finding is settled, below the key.
var settles = map[keys.Action]string{"key.edit": "/edit", "key.revoke": "/revoke", "key.rotate": "/rotate", "usage.read": ""}

// fields are those of the form that settle a finding.
var fields = map[string]string{"expires_soon": "#field-expires_at", "no_expiry": "#field-expires_at", "owner_left": "#field-owner"}

// review shows what of the keys to look at, the most urgent first.
func (p *panel) review(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("usage.read"); err != nil {
		return err
	}
	found, err := p.config.Registry.Review(r.Context(), v.org.ID)
	if err != nil {
		return err
	}
	var list []findingRow
	for _, f := range found {
		row := findingRow{Finding: f, Path: settles[f.Action], May: v.by.MayKey(f.Action, &f.Key) == nil}
		if row.Path == "/edit" {
			row.Path += fields[string(f.Kind)]
		}
		if f.Scope != "" {
			row.Path += "?" + url.Values{"without": {f.Scope}}.Encode()
		}
		for _, c := range f.Key.Credentials {
			if c.ID == f.CredentialID {
				row.Hint = c.Hint
			}
		}
		list = append(list, row)
	}
	p.show(w, v, "review", http.StatusOK, list)
	return nil
}
