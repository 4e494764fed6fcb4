package panel

import (
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/imara/apikeys/keys"
)

// credentials is what the page shows that has a secret: the answer to the form which
// made it, and nothing else.
type credentials struct {
	Key      keys.Key
	Secret   string
	TokenURL string
	Old      *keys.Credential // that works beside it
	Formats  []format
}

// A format is how a program takes credentials. Its text has the secret where Mask stands.
type format struct{ Name, File, Text string }

// Mask stands for the secret wherever it is not shown yet.
const mask = "••••••••••••••••"

func (p *panel) showSecret(w http.ResponseWriter, v *visitor, created keys.Created) {
	c := credentials{Key: created.Key, Secret: created.Secret.Reveal(), TokenURL: p.config.Issuer + "/oauth2/token"}
	c.Formats = formats(c.Key.ClientID, c.TokenURL)
	for _, old := range c.Key.Credentials[1:] {
		if old.Live(time.Now()) {
			c.Old = &old
		}
	}
	p.show(w, v, "secret", http.StatusOK, c)
}

// formats of a client's credentials. Those that are commands ask for the secret and pass
// it on without a line break at its end, so that it stays out of the history of the shell
// and is stored as it is.
func formats(id, url string) []format {
	const read = "read -rs S; printf %s \"$S\" | "
	return []format{
		{".env", "imara.env", "CLIENT_ID=" + id + "\nCLIENT_SECRET=" + mask + "\nTOKEN_URL=" + url + "\n"},
		{"JSON", "imara.json", "{\n  \"client_id\": \"" + id + "\",\n  \"client_secret\": \"" + mask + "\",\n  \"token_url\": \"" + url + "\"\n}\n"},
		{"curl", "", curl(id, url)},
		{"Docker", "", read + "docker secret create imara_client_secret -\n"},
		{"Kubernetes", "", read + "kubectl create secret generic imara --from-literal=CLIENT_ID=" + id + " --from-literal=TOKEN_URL=" + url + " --from-file=CLIENT_SECRET=/dev/stdin\n"},
		{"GitHub Actions", "", "gh variable set CLIENT_ID --body " + id + "\ngh variable set TOKEN_URL --body " + url + "\n" + read + "gh secret set CLIENT_SECRET\n"},
		{"Vault", "", read + "vault kv put secret/imara client_id=" + id + " token_url=" + url + " client_secret=-\n"},
		{"Terraform", "", "variable \"imara_client_id\" {\n  default = \"" + id + "\"\n}\n\nvariable \"imara_client_secret\" {\n  type      = string\n  sensitive = true\n}\n"},
	}
}

func curl(id, url string) string {
	return "read -rs CLIENT_SECRET\ncurl -s " + url + " -u \"" + id + ":$CLIENT_SECRET\" -d grant_type=client_credentials\n"
}

// A firstUse says whether a secret has been used, for the page that waits for it.
type firstUse struct {
	State string `json:"state"` // waiting, issued or refused
	Text  string `json:"text"`
}

// showFirstUse answers what became of the secret in the path since it was made.
func (p *panel) showFirstUse(w http.ResponseWriter, r *http.Request, v *visitor) error {
	k, c, err := p.credential(r, v)
	if err != nil {
		return err
	}
	use := firstUse{State: "waiting"}
	texts := p.catalogue(v)
	use.Text, err = texts.text("first.waiting")
	if !c.FirstUsedAt.IsZero() {
		use.State = "issued"
		use.Text, err = texts.text("first.issued", "time", c.FirstUsedAt.UTC().Format("15:04:05 UTC"), "address", c.LastUsedFrom)
	} else {
		attempts, e := p.config.Registry.Attempts(r.Context(), v.org.ID, k.ID)
		if e != nil {
			return e
		}
		for _, a := range attempts {
			// What ended was another secret, that something still uses.
			if a.Last.After(c.CreatedAt) && a.Outcome != keys.RefusedEnded {
				use.State = "refused"
				use.Text, err = texts.text("outcome." + string(a.Outcome))
				break
			}
		}
	}
	if err != nil {
		return err
	}
	return writeJSON(w, use)
}

// askRotate shows what a second secret means.
func (p *panel) askRotate(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.showRotate(w, r, v, rotation{Ends: "after_use", Request: rand.Text()}, http.StatusOK)
}

// rotation is the form of a rotation.
type rotation struct {
	keyPage
	Ends, Date string
	Request    string
	Problem    string
}

func (p *panel) showRotate(w http.ResponseWriter, r *http.Request, v *visitor, f rotation, status int) error {
	var err error
	if f.keyPage, err = p.page(r, v); err != nil {
		return err
	}
	if !f.MayRotate {
		return keys.ErrForbidden
	}
	if f.Old != nil {
		f.Problem = "rotate.full"
	}
	p.show(w, v, "rotate", status, f)
	return nil
}

// rotate makes the second secret, and answers with it.
func (p *panel) rotate(w http.ResponseWriter, r *http.Request, v *visitor) error {
	f := rotation{Ends: r.PostForm.Get("ends"), Date: r.PostForm.Get("date"), Request: r.PostForm.Get("request")}
	if err := checkRequest(f.Request); err != nil {
		return err
	}
	overlap := keys.DefaultOverlap
	switch f.Ends {
	case "after_use", "now":
		if f.Ends == "now" {
			overlap = keys.Overlap{}
		}
		if f.Date != "" {
			f.Problem = "form.date_unclear"
		}
	case "date":
		date, err := time.Parse(time.DateOnly, f.Date)
		if err != nil {
			f.Problem = "rotate.date"
		}
		now := time.Now()
		overlap = keys.Overlap{Max: endOf(date, now, keys.MaxOverlap).Sub(now)}
	default:
		return errForm
	}
	if f.Problem != "" {
		return p.showRotate(w, r, v, f, http.StatusUnprocessableEntity)
	}
	k, err := p.key(r, v)
	if err != nil {
		return err
	}
	by := v.by
	by.IdempotencyKey = f.Request
	created, err := p.config.Registry.Rotate(r.Context(), by, v.org.ID, k.ID, overlap)
	if done, e := p.showAgain(w, r, v, by, err); done || e != nil {
		return e
	}
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		f.Problem = "rotate.date"
		return p.showRotate(w, r, v, f, http.StatusUnprocessableEntity)
	case errors.Is(err, keys.ErrRotating):
		return p.showRotate(w, r, v, f, http.StatusUnprocessableEntity)
	case err != nil:
		return err
	}
	p.showSecret(w, v, created)
	return nil
}

// changeSecret ends a secret, gives it another day, or cancels the rotation that made
// it. A page on which the key is not as it is now changes nothing.
func (p *panel) changeSecret(w http.ResponseWriter, r *http.Request, v *visitor) error {
	k, c, err := p.credential(r, v)
	if err != nil {
		return err
	}
	now := time.Now()
	by := v.by
	by.IfMatch = r.PostForm.Get("version")
	do := r.PostForm.Get("do")
	switch {
	case by.IfMatch == "" || !slices.Contains([]string{"end", "keep", "cancel"}, do):
		return errForm
	case by.IfMatch != k.Version():
		return keys.ErrChanged
	case do != "end":
		if ok, err := p.confirmed(w, r, v); !ok {
			return err
		}
	}
	used := !c.LastUsedAt.IsZero() && now.Sub(c.LastUsedAt) < time.Hour
	last := k.Live(now) == 1 && c.Live(now)
	if do != "keep" && (used || last) && r.PostForm.Get("sure") == "" {
		page, err := p.page(r, v)
		if err != nil {
			return err
		}
		page.Ending = &ending{secretRow{c, k.SecretState(c, now)}, do, last}
		p.show(w, v, "secret_end", http.StatusOK, page)
		return nil
	}
	switch do {
	case "end":
		_, _, err = p.config.Registry.EndSecret(r.Context(), by, v.org.ID, k.ID, c.ID, false)
	case "keep":
		until := now.Add(min(max(time.Until(c.EndsAt), 0)+day, keys.MaxOverlap-time.Minute))
		_, _, err = p.config.Registry.KeepSecret(r.Context(), by, v.org.ID, k.ID, c.ID, until)
	case "cancel":
		_, _, err = p.config.Registry.CancelRotation(r.Context(), by, v.org.ID, k.ID, c.ID)
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, p.keyPath(v, k), http.StatusSeeOther)
	return nil
}

// An ending is what a page asks before a secret ends: what for, and whether it is the
// last one that works.
type ending struct {
	secretRow
	Do   string
	Last bool
}

// credential reads the key in the path, and the secret.
func (p *panel) credential(r *http.Request, v *visitor) (keys.Key, keys.Credential, error) {
	k, err := p.key(r, v)
	if err != nil {
		return k, keys.Credential{}, err
	}
	i := slices.IndexFunc(k.Credentials, func(c keys.Credential) bool { return c.ID == r.PathValue("secret") })
	if i < 0 {
		return k, keys.Credential{}, keys.ErrNotFound
	}
	return k, k.Credentials[i], nil
}
