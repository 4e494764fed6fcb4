package panel

import (
	"errors"
	"net/http"
	"time"

	"github.com/imara/apikeys/keys"
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
	MayRotate bool // now: the next one is ready
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
				ready := k.State == signing.Next && !k.ReadyAt.After(time.Now())
				a.MayRotate = a.MayRotate || page.MayRotate && ready
			}
		}
		page.Algorithms = append(page.Algorithms, a)
	}
	p.show(w, v, "signing_keys", http.StatusOK, page)
	return nil
}

// rotateSigningKey lets the next key of an algorithm sign.
func (p *panel) rotateSigningKey(w http.ResponseWriter, r *http.Request, v *visitor) error {
	err := p.Registry.RotateSigningKey(r.Context(), v.by, r.PostForm.Get("algorithm"))
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		return errForm
	case err != nil:
		return err
	}
	return p.savedAt(w, r, operatorRoot+"/signing-keys")
}
