package panel

import (
	"net/http"
	"slices"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// signingPage is what the page of the signing keys shows.
type signingPage struct {
	Algorithms []algorithmKeys
	MayRotate  bool
}

// algorithmKeys are the published keys of one algorithm, the newest first.
type algorithmKeys struct {
	Algorithm string
	Keys      []signing.KeyInfo
	Next      bool // the next one is there already
}

func (p *panel) showSigningKeys(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("signing.read"); err != nil {
		return err
	}
	page := signingPage{MayRotate: v.by.May("signing.rotate") == nil}
	all := p.Ring.Keys()
	for _, algorithm := range []string{tokens.ES256, tokens.RS256, tokens.EdDSA} {
		a := algorithmKeys{Algorithm: algorithm}
		for _, k := range all {
			if k.Algorithm == algorithm {
				a.Keys = append(a.Keys, k)
				a.Next = a.Next || k.State == signing.Next
			}
		}
		page.Algorithms = append(page.Algorithms, a)
	}
	p.show(w, v, "signing_keys", http.StatusOK, page)
	return nil
}

// rotateSigningKey makes the next key of an algorithm. First the record, then the key: a
// key that nobody is known to have asked for would be worse than a record of one that
// was not made.
func (p *panel) rotateSigningKey(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("signing.rotate"); err != nil {
		return err
	}
	algorithm := r.PostForm.Get("algorithm")
	if !slices.Contains([]string{tokens.ES256, tokens.RS256, tokens.EdDSA}, algorithm) {
		return errForm
	}
	if !slices.ContainsFunc(p.Ring.Keys(), func(k signing.KeyInfo) bool { return k.Algorithm == algorithm && k.State == signing.Next }) {
		if err := p.Registry.Note(r.Context(), v.by, "signing.rotate", "", algorithm); err != nil {
			return err
		}
		if _, err := p.Ring.Rotate(r.Context(), algorithm); err != nil {
			return err
		}
	}
	http.Redirect(w, r, p.base+operatorRoot+"/signing-keys", http.StatusSeeOther)
	return nil
}
