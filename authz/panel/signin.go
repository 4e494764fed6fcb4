package panel

import (
	"cmp"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/imara/apikeys/keys"
)

// maxForm bounds the body of a form.
const maxForm = 64 << 10

// errForm: the body is no form.
var errForm = errors.New("the body is no form")

// parseForm reads the form of a request into PostForm.
func parseForm(w http.ResponseWriter, r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return errForm
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return fmt.Errorf("%w: %w", errForm, err)
	}
	return nil
}

// A membership is an organisation of the visitor's.
type membership struct {
	keys.Member
	Name    string // of the organisation
	MayRead bool
}

// home leads to the keys of the visitor's organisation, or lets the visitor choose. Whose
// only organisation is the operator's begins with the operator's pages.
func (p *panel) home(w http.ResponseWriter, r *http.Request, v *visitor) error {
	list, err := p.named(r, v.Memberships)
	if err != nil {
		return err
	}
	invitations, err := p.named(r, v.Invitations)
	if err != nil {
		return err
	}
	if len(invitations) > 0 {
		p.show(w, v, "home", http.StatusOK, homePage{list, invitations})
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(list), func(m membership) bool { return isStaff(m.Member) })
	switch {
	case len(others) == 1:
		page := "/plan" // which every role sees
		if others[0].MayRead {
			page = "/keys"
		}
		http.Redirect(w, r, p.base+"/o/"+others[0].OrganizationID+page, http.StatusSeeOther)
		return nil
	case len(others) == 0 && len(list) > 0:
		http.Redirect(w, r, p.base+operatorRoot+"/orgs", http.StatusSeeOther)
		return nil
	}
	p.show(w, v, "home", http.StatusOK, homePage{Memberships: list})
	return nil
}

// homePage is what the page of the visitor's organisations shows.
type homePage struct {
	Memberships, Invitations []membership
}

// named are memberships with the names of their organisations.
func (p *panel) named(r *http.Request, members []keys.Member) (list []membership, err error) {
	for _, m := range members {
		o, err := p.config.Registry.Organization(r.Context(), m.OrganizationID)
		if err != nil {
			return nil, err
		}
		may := keys.Actor{MemberID: m.ID, Role: m.Role}.May("key.read") == nil
		list = append(list, membership{m, o.Name, may})
	}
	return list, nil
}

// answerInvitation accepts an invitation of the visitor's, or declines it. One that is
// there no more has been answered, or taken back: the page that follows shows which.
func (p *panel) answerInvitation(w http.ResponseWriter, r *http.Request, v *visitor) error {
	answer := p.config.Registry.Decline
	switch r.PostForm.Get("do") {
	case "accept":
		answer = p.config.Registry.Accept
	case "decline":
	default:
		return errForm
	}
	_, err := answer(r.Context(), by(w, r), v.Email, r.PathValue("member"))
	if err != nil && !errors.Is(err, keys.ErrNotFound) {
		return err
	}
	http.Redirect(w, r, p.base+"/", http.StatusSeeOther)
	return nil
}

func (p *panel) showSignIn(w http.ResponseWriter, r *http.Request, v *visitor) error {
	next := p.local(http.MethodGet, r.URL.Query().Get("next"))
	if v.SignedIn() {
		http.Redirect(w, r, cmp.Or(next, p.base+"/"), http.StatusSeeOther)
		return nil
	}
	p.show(w, v, "signin", http.StatusOK, passwordForm{Providers: p.providers, Next: next})
	return nil
}

func (p *panel) signIn(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := parseForm(w, r); err != nil {
		return err
	}
	form := passwordForm{Email: r.PostForm.Get("email"), Providers: p.providers,
		Next: p.local(http.MethodGet, r.PostForm.Get("next"))}
	if _, ok := p.parseTyped(r.PostForm.Get("form")); ok {
		form.Form = r.PostForm.Get("form")
	}
	if q := p.providerOf(form.Email); q != nil {
		form.Providers = []*provider{q}
		return p.again(w, r, v, "signin", form, keys.ErrElsewhere)
	}
	session, err := p.config.Registry.SignIn(r.Context(), by(w, r), form.Email, r.PostForm.Get("password"), deviceOf(r))
	if err != nil {
		return p.again(w, r, v, "signin", form, err)
	}
	p.remember(w, form.Email)
	return p.begin(w, r, v, session, form.Next, form.Form)
}

const (
	deviceCookie = "__Host-imara-device"
	deviceLife   = 180 * 24 * time.Hour
)

// remember lets the browser show at the next sign-in that somebody signed in with it.
func (p *panel) remember(w http.ResponseWriter, email string) {
	http.SetCookie(w, &http.Cookie{Name: deviceCookie, Value: p.config.Registry.Device(email), Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: int(deviceLife / time.Second)})
}

func deviceOf(r *http.Request) string {
	cookie, err := r.Cookie(deviceCookie)
	if err != nil {
		return ""
	}
	return cookie.Value
}

func (p *panel) signOut(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if v.SignedIn() {
		if err := p.config.Registry.SignOut(r.Context(), by(w, r), v.Visitor, v.session); err != nil {
			return err
		}
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1})
	http.Redirect(w, r, p.base+"/sign-in", http.StatusSeeOther)
	return nil
}

func (p *panel) showLink(w http.ResponseWriter, r *http.Request, v *visitor) error {
	l, err := p.config.Registry.Link(r.Context(), r.PathValue("token"))
	if err != nil {
		return p.linkFailed(w, r, v, l, err)
	}
	if l.Email == "" {
		p.show(w, v, "found", http.StatusOK, foundingForm{})
		return nil
	}
	p.show(w, v, "link", http.StatusOK, passwordForm{Email: l.Email})
	return nil
}

func (p *panel) useLink(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := parseForm(w, r); err != nil {
		return err
	}
	l, err := p.config.Registry.Link(r.Context(), r.PathValue("token"))
	if err == nil && l.Email == "" {
		return p.found(w, r, v)
	}
	if err != nil {
		return p.linkFailed(w, r, v, l, err)
	}
	password := r.PostForm.Get("password")
	if password != r.PostForm.Get("again") {
		err = errDiffer
	}
	var session string
	if err == nil {
		session, err = p.config.Registry.UseLink(r.Context(), by(w, r), r.PathValue("token"), password)
	}
	if err != nil {
		return p.linkFailed(w, r, v, l, err)
	}
	p.remember(w, l.Email)
	return p.begin(w, r, v, session, "", "")
}

// linkFailed says what is wrong with a link, or with the password that was chosen.
func (p *panel) linkFailed(w http.ResponseWriter, r *http.Request, v *visitor, l keys.Link, err error) error {
	form := passwordForm{Email: l.Email}
	page := "link"
	if q := p.providerOf(l.Email); errors.Is(err, keys.ErrElsewhere) && q != nil {
		page, form.Providers = "signin", []*provider{q}
	}
	return p.again(w, r, v, page, form, err)
}
