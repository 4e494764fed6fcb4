package panel

import (
	"net/http"
	"net/url"
	"time"
)

// freshness is how long after the password what matters needs it no more.
const freshness = 5 * time.Minute

// fresh is [panel.change] for what matters: making secrets, giving power. It asks for
// the password again when it was given a while ago, and keeps the form meanwhile. Ending
// something is not among it: who sees a leak must not look for a password first.
func (p *panel) fresh(next handle) handle {
	return p.change(func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		if ok, err := p.confirmed(w, r, v); !ok {
			return err
		}
		return next(w, r, v)
	})
}

// confirmed tells whether the password was given lately, or is now. Otherwise it has
// asked for it.
func (p *panel) confirmed(w http.ResponseWriter, r *http.Request, v *visitor) (bool, error) {
	if time.Since(v.ProvedAt) < freshness {
		return true, nil
	}
	form := confirmForm{Fields: r.PostForm, Provider: p.providerOf(v.Email)}
	password := r.PostForm.Get(confirmField)
	delete(r.PostForm, confirmField)
	if password == "" || form.Provider != nil {
		p.show(w, v, "confirm", http.StatusForbidden, form)
		return false, nil
	}
	session, err := p.config.Registry.SignInAgain(r.Context(), by(w, r), v.session, v.Email, password)
	if problem, status := passwordTrouble(w, err); status != 0 {
		if status == http.StatusUnauthorized {
			problem.Text, status = "signin.wrong_password", http.StatusForbidden
		}
		form.Problem = problem
		p.show(w, v, "confirm", status, form)
		return false, nil
	}
	if err == nil {
		err = p.replace(w, r, v, session)
	}
	return err == nil, err
}

// confirmForm asks for the password, with the fields of the form that waits for it.
type confirmForm struct {
	Fields   url.Values
	Problem  passwordProblem
	Provider *provider // that can confirm it; nil: the password does
}

const confirmField = "confirm_password"
