package panel

import (
	"errors"
	"net/http"
	"strings"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
)

// A foundingForm is what the first owner of a server fills in.
type foundingForm struct {
	Organization, Name, Email string
	Problem                   problem // Text is empty: none
}

// found makes the visitor the server's first owner, and shows the operator's first key.
func (p *panel) found(w http.ResponseWriter, r *http.Request, v *visitor) error {
	value := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	form := foundingForm{Organization: value("organization"), Name: value("name"), Email: value("email")}
	f := keys.Founding{Organization: form.Organization, Name: form.Name, Email: form.Email, Password: r.PostForm.Get("password"),
		Scopes: authz.ManagementScopeNames()}
	err := errDiffer
	var session string
	var first keys.Created
	if f.Password == r.PostForm.Get("again") {
		session, first, err = p.config.Registry.Found(r.Context(), by(w, r), r.PathValue("token"), f)
	}
	status := http.StatusUnprocessableEntity
	var input *keys.InputError
	switch {
	case err == nil:
		if err := p.replace(w, r, v, session); err != nil {
			return err
		}
		p.showSecret(w, v, first)
		return nil
	case errors.Is(err, errDiffer):
		form.Problem = problem{"again", "link.differ", ""}
	case errors.Is(err, keys.ErrBusy):
		w.Header().Set("Retry-After", "1")
		form.Problem, status = problem{"password", "signin.busy", ""}, http.StatusServiceUnavailable
	case errors.As(err, &input) && input.Field == "password":
		form.Problem = problem{"password", "link.password", ""}
	case errors.As(err, &input) && input.Field == "email":
		form.Problem = problem{"email", "found.email_bad", ""}
	case errors.As(err, &input):
		form.Problem = problem{input.Field, "found.name_bad", ""}
	default:
		return p.again(w, r, v, "link", passwordForm{}, err)
	}
	web.Observe(w, "outcome", form.Problem.Text)
	p.show(w, v, "found", status, form)
	return nil
}
