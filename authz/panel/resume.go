package panel

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// Where somebody was going, and what was typed into a form, survive a sign-in: the one as
// the parameter next, the other as a field of the sign-in page, and as a cookie for the way
// over a provider. After it the form is shown, to be sent again by the person; it is never
// sent by itself. Both lead to pages of the panel and nowhere else.
//
// Rejected: to keep forms on the server. Whoever is not signed in could fill it.

const (
	maxNext       = 1 << 10  // bytes of a path with its query
	maxTyped      = 32 << 10 // of a form that is kept, packed
	maxTypedAside = 2 << 10  // of one in a cookie
	typedCookie   = "__Host-imara-form"
)

// secretFields are never kept.
var secretFields = []string{"password", "again", "old", "token", "secret", confirmField}

// local returns a path of the panel, with its query, as it may be gone to with a method; or
// nothing. It has to be one of the pages behind the sign-in, to the letter: no other host,
// no other spelling of a path.
func (p *panel) local(method, to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > maxNext || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || u.Fragment != "" ||
		strings.ContainsAny(to, "\\#") || u.Path != path.Clean(u.Path) && u.Path != p.base+"/" {
		return ""
	}
	if _, below := strings.CutPrefix(u.EscapedPath(), p.base); !below || strings.Contains(u.EscapedPath(), "%") {
		return ""
	}
	behind := []string{p.base + "/o/", p.base + operatorRoot + "/", p.base + "/account"}
	if u.Path != p.base+"/" && !slices.ContainsFunc(behind, func(root string) bool { return strings.HasPrefix(u.Path, root) }) {
		return ""
	}
	if !strings.HasPrefix(p.pages.Route(method, u.Path), method+" ") {
		return ""
	}
	return u.RequestURI()
}

// A typed form is what a person sent when the session had ended.
type typed struct {
	Path   string // to which it was sent, with the query
	Fields url.Values
}

// String packs it into base64url.
func (f typed) String() string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression) // an error is a wrong level
	io.WriteString(w, f.Path+"\n"+f.Fields.Encode())
	w.Close()
	return base64.RawURLEncoding.EncodeToString(b.Bytes())
}

// parseTyped reads a form that was packed; false for what is none, or leads elsewhere.
func (p *panel) parseTyped(text string) (f typed, ok bool) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > maxTyped || text == "" {
		return f, false
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data)), maxForm+maxNext+1))
	if err != nil || len(plain) > maxForm+maxNext {
		return f, false
	}
	to, fields, _ := strings.Cut(string(plain), "\n")
	if f.Path = p.local(http.MethodPost, to); f.Path == "" {
		return f, false
	}
	f.Fields, err = url.ParseQuery(fields)
	f.withoutSecrets()
	return f, err == nil
}

// withoutSecrets drops what is a secret by its field or by its form.
func (f typed) withoutSecrets() {
	for name, values := range f.Fields {
		secret := func(text string) bool { return strings.Contains(text, "imara_cs_") || strings.Contains(text, "eyJ") }
		if slices.Contains(secretFields, name) || slices.ContainsFunc(values, secret) {
			delete(f.Fields, name)
		}
	}
}

// askSignIn sends who is not signed in to the sign-in page, which leads back. A form that
// came is kept on it.
func (p *panel) askSignIn(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if r.Method != http.MethodPost {
		to := p.base + "/sign-in"
		if next := p.local(http.MethodGet, r.URL.RequestURI()); next != "" && next != p.base+"/" {
			to += "?" + url.Values{"next": {next}}.Encode()
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	}
	if err := parseForm(w, r); err != nil {
		return err
	}
	form := passwordForm{Next: p.back(r.URL.Path), Providers: p.providers, Ended: true}
	f := typed{p.local(http.MethodPost, r.URL.RequestURI()), r.PostForm}
	f.withoutSecrets()
	if form.Form = f.String(); f.Path == "" || len(form.Form) > maxTyped {
		form.Form, form.Lost = "", true
	}
	form.LostAside = !form.Lost && len(form.Form) > maxTypedAside
	if len(p.providers) > 0 && !form.Lost && !form.LostAside {
		setTyped(w, form.Form, 10*time.Minute)
	}
	p.show(w, v, "signin", http.StatusUnauthorized, form)
	return nil
}

func setTyped(w http.ResponseWriter, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: typedCookie, Value: value, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: int(age.Seconds())})
}

// typedAside is the form that waits in the browser, packed.
func typedAside(r *http.Request) string {
	cookie, err := r.Cookie(typedCookie)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// resumePage shows a form that was not sent.
type resumePage struct {
	typed
	Back   string
	Review bool // the form can be shown again before it does anything
}

// arrive leads who has just signed in on: to the form that waits, to next, or home.
func (p *panel) arrive(w http.ResponseWriter, r *http.Request, v *visitor, session, next, form string) error {
	if typedAside(r) != "" {
		setTyped(w, "", -time.Second)
	}
	if next = p.local(http.MethodGet, next); next == "" {
		next = p.base + "/"
	}
	f, kept := p.parseTyped(form)
	if !kept || session == "" {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return nil
	}
	person, err := p.config.Registry.Visitor(r.Context(), session)
	if err != nil {
		return err
	}
	if !p.mayOpen(person, f.Path) {
		http.Redirect(w, r, p.base+"/", http.StatusSeeOther)
		return nil
	}
	to, _, _ := strings.Cut(f.Path, "?")
	page := resumePage{f, p.back(to), strings.HasSuffix(to, "/keys/new") || strings.HasSuffix(to, "/edit")}
	if page.Review {
		delete(f.Fields, "do")
	}
	now := &visitor{Visitor: person, session: session, path: to, taste: v.taste}
	p.show(w, now, "resume", http.StatusOK, page)
	return nil
}

// mayOpen tells whether a path is one that a person sees at all: another one than before
// may have signed in.
func (p *panel) mayOpen(person keys.Visitor, to string) bool {
	rest, inside := strings.CutPrefix(to, p.base+"/o/")
	if !inside {
		return !strings.HasPrefix(to, p.base+operatorRoot) || slices.ContainsFunc(person.Memberships, isStaff)
	}
	organization, _, _ := strings.Cut(rest, "/")
	return slices.ContainsFunc(person.Memberships, func(m keys.Member) bool { return m.OrganizationID == organization })
}
