package panel

import (
	"errors"
	"net/http"

	"github.com/imara/apikeys/keys"
)

// maxForm bounds the body of a form.
const maxForm = 64 << 10

// passwordForm is what the pages show that ask for a password.
type passwordForm struct {
	Email   string
	Problem string // id in the catalogue; empty: none
}

// home leads to the first organisation of the visitor.
func (p *panel) home(w http.ResponseWriter, r *http.Request, v *visitor) error {
	switch {
	case !v.SignedIn():
		http.Redirect(w, r, p.base+"/sign-in", http.StatusSeeOther)
	case len(v.Memberships) == 0:
		p.show(w, v, "nowhere", http.StatusOK, nil)
	default:
		http.Redirect(w, r, p.base+"/o/"+v.Memberships[0].OrganizationID+"/keys", http.StatusSeeOther)
	}
	return nil
}

func (p *panel) showSignIn(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if v.SignedIn() {
		http.Redirect(w, r, p.base+"/", http.StatusSeeOther)
		return nil
	}
	p.show(w, v, "signin", http.StatusOK, passwordForm{})
	return nil
}

func (p *panel) signIn(w http.ResponseWriter, r *http.Request, v *visitor) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	form := passwordForm{Email: r.PostFormValue("email")}
	session, err := p.Registry.SignIn(r.Context(), form.Email, r.PostFormValue("password"))
	if err != nil {
		return p.again(w, v, "signin", form, err)
	}
	p.begin(w, r, session)
	return nil
}

func (p *panel) signOut(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if v.SignedIn() {
		if err := p.Registry.SignOut(r.Context(), v.session); err != nil {
			return err
		}
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1})
	http.Redirect(w, r, p.base+"/sign-in", http.StatusSeeOther)
	return nil
}

func (p *panel) showLink(w http.ResponseWriter, r *http.Request, v *visitor) error {
	l, err := p.Registry.Link(r.Context(), r.PathValue("token"))
	if err != nil {
		return p.again(w, v, "link", passwordForm{}, err)
	}
	p.show(w, v, "link", http.StatusOK, passwordForm{Email: l.Email})
	return nil
}

func (p *panel) useLink(w http.ResponseWriter, r *http.Request, v *visitor) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	l, err := p.Registry.Link(r.Context(), r.PathValue("token"))
	form := passwordForm{Email: l.Email}
	password := r.PostFormValue("password")
	if err == nil && password != r.PostFormValue("again") {
		err = errDiffer
	}
	var session string
	if err == nil {
		session, err = p.Registry.UseLink(r.Context(), r.PathValue("token"), password)
	}
	if err != nil {
		return p.again(w, v, "link", form, err)
	}
	p.begin(w, r, session)
	return nil
}

// errDiffer: the password was not typed twice.
var errDiffer = errors.New("the two passwords are not the same")

// again shows a form again with what was wrong; other errors it returns.
func (p *panel) again(w http.ResponseWriter, v *visitor, page string, form passwordForm, err error) error {
	var input *keys.InputError
	status := http.StatusUnprocessableEntity
	switch {
	case errors.Is(err, keys.ErrNotFound):
		page, status = "link_used", http.StatusNotFound
	case errors.Is(err, keys.ErrCredentials):
		form.Problem, status = "signin.wrong", http.StatusUnauthorized
	case errors.Is(err, keys.ErrBusy):
		w.Header().Set("Retry-After", "1")
		form.Problem, status = "signin.busy", http.StatusServiceUnavailable
	case errors.Is(err, errDiffer):
		form.Problem = "link.differ"
	case errors.As(err, &input):
		form.Problem = "link.password"
	default:
		return err
	}
	p.show(w, v, page, status, form)
	return nil
}
