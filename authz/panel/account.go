package panel

import (
	"net/http"

	"github.com/imara/apikeys/keys"
)

// accountPage is what the page of the visitor's account shows.
type accountPage struct {
	Email    string
	Sessions []sessionRow
	Provider *provider // that speaks for the address; nil: there is a password
	Problem  passwordProblem
}

type sessionRow struct {
	keys.WebSession
	Here bool // it is this browser's
}

func (p *panel) showAccount(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.account(w, r, v, passwordProblem{}, http.StatusOK)
}

func (p *panel) account(w http.ResponseWriter, r *http.Request, v *visitor, problem passwordProblem, status int) error {
	page := accountPage{Email: v.Email, Provider: p.providerOf(v.Email), Problem: problem}
	sessions, err := p.config.Registry.Sessions(r.Context(), v.Visitor)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		page.Sessions = append(page.Sessions, sessionRow{s, s.Of(v.session)})
	}
	p.show(w, v, "account", status, page)
	return nil
}

// endSessions ends one of the visitor's other sessions, or all of them.
func (p *panel) endSessions(w http.ResponseWriter, r *http.Request, v *visitor) error {
	id := r.PostForm.Get("session")
	err := p.config.Registry.EndSessions(r.Context(), by(w, r), v.Visitor, func(s keys.WebSession) bool {
		return !s.Of(v.session) && (id == "" || id == s.ID())
	})
	if err != nil {
		return err
	}
	return p.savedAt(w, r, "/account")
}

func (p *panel) changePassword(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if p.providerOf(v.Email) != nil {
		return keys.ErrForbidden
	}
	old, password := r.PostForm.Get("old"), r.PostForm.Get("password")
	var session string
	err := errDiffer
	if password == r.PostForm.Get("again") {
		session, err = p.config.Registry.ChangePassword(r.Context(), by(w, r), v.session, v.Email, old, password)
	}
	if problem, status := passwordTrouble(w, err); status != 0 {
		if problem.Text == "signin.wrong" {
			problem.Text = "signin.wrong_password"
		}
		return p.account(w, r, v, problem, status)
	}
	if err != nil {
		return err
	}
	v.Visitor = keys.Visitor{} // its session has ended
	if err := p.replace(w, r, v, session); err != nil {
		return err
	}
	return p.savedAt(w, r, "/account")
}

// stay keeps the session of a page that is still looked at.
func (p *panel) stay(w http.ResponseWriter, _ *http.Request, v *visitor) error {
	if !v.SignedIn() {
		return keys.ErrNotFound
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
