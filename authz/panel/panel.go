package panel

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// Config of the panel. All fields are required.
type Config struct {
	Issuer   string
	Registry *keys.Registry
	Logger   *slog.Logger
}

type panel struct {
	Config
	base  string // path of the panel, without a slash at the end
	pages map[string]*template.Template
}

//go:embed assets
var assets embed.FS

// New returns the handler of everything below {issuer path}/panel/.
func New(config Config) (http.Handler, error) {
	base := authz.IssuerPath(config.Issuer) + "/panel"
	pages, err := parsePages(base)
	if err != nil {
		return nil, err
	}
	p := &panel{config, base, pages}
	files, err := fs.Sub(assets, "assets")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+p.base+"/assets/", http.StripPrefix(p.base+"/assets/", cached(http.FileServerFS(files))))
	for _, route := range []struct {
		method, path string
		handle       handle
	}{
		{"GET", "/{$}", p.home},
		{"GET", "/sign-in", p.showSignIn},
		{"POST", "/sign-in", p.signIn},
		{"POST", "/sign-out", p.signOut},
		{"GET", "/link/{token}", p.showLink},
		{"POST", "/link/{token}", p.useLink},
		{"GET", "/o/{org}/keys", p.member(p.listKeys)},
		{"GET", "/o/{org}/keys/{key}", p.member(p.showKey)},
		{"GET", "/o/{org}/keys/{key}/revoke", p.member(p.askRevoke)},
		{"POST", "/o/{org}/keys/{key}/revoke", p.member(p.revoke)},
		{"", "/", func(http.ResponseWriter, *http.Request, *visitor) error { return keys.ErrNotFound }},
	} {
		mux.Handle(strings.TrimSpace(route.method+" "+p.base+route.path), p.handler(route.handle))
	}
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.fail(w, r, &visitor{}, errForeign) }))
	return secure(protection.Handler(mux)), nil
}

// errForeign: the request comes from a page that is not the panel's.
var errForeign = errors.New("from another site")

// policy allows the panel's own files, and no scripts that are made of text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// secure sets what every answer says to the browser.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Permissions-Policy": "camera=(), geolocation=(), microphone=()", "Cache-Control": "no-store"} {
			w.Header().Set(name, value)
		}
		next.ServeHTTP(w, r)
	})
}

// cached lets browsers keep the panel's files for a while.
func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" || strings.HasSuffix(r.URL.Path, "/") { // no list of the files
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=300")
		next.ServeHTTP(w, r)
	})
}

// A visitor is who looks at a page.
type visitor struct {
	keys.Visitor // without an address: nobody signed in
	session      string
	// member, org and by are of the organisation of the page, if it has one.
	member keys.Member
	org    keys.Organization
	by     keys.Actor
}

// A handle answers a request, or returns an error before it has written anything.
type handle func(http.ResponseWriter, *http.Request, *visitor) error

const cookieName = "__Host-imara"

// handler finds out who asks, and shows the error that a handle returns.
func (p *panel) handler(handle handle) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := p.visitor(r)
		if err == nil {
			err = handle(w, r, v)
		}
		if err != nil {
			p.fail(w, r, v, err)
		}
	})
}

func (p *panel) visitor(r *http.Request) (*visitor, error) {
	v := &visitor{}
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return v, nil
	}
	v.session = cookie.Value
	v.Visitor, err = p.Registry.Visitor(r.Context(), v.session)
	if errors.Is(err, keys.ErrNotFound) {
		err = nil
	}
	return v, err
}

// member admits members of the organisation of the path; for others it is not there.
func (p *panel) member(next handle) handle {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		if !v.SignedIn() {
			http.Redirect(w, r, p.base+"/sign-in", http.StatusSeeOther)
			return nil
		}
		i := slices.IndexFunc(v.Memberships, func(m keys.Member) bool { return m.OrganizationID == r.PathValue("org") })
		if i < 0 {
			return keys.ErrNotFound
		}
		v.member = v.Memberships[i]
		v.by = by(w, r)
		v.by.MemberID, v.by.Role = v.member.ID, v.member.Role
		var err error
		if v.org, err = p.Registry.Organization(r.Context(), v.member.OrganizationID); err != nil {
			return err
		}
		return next(w, r, v)
	}
}

// by is who acts where no member does yet.
func by(w http.ResponseWriter, r *http.Request) keys.Actor {
	return keys.Actor{ClientID: "panel", RequestID: w.Header().Get("X-Request-Id"), Address: authz.Address(r)}
}

// begin gives the browser its session in place of the one that it had, and sends it
// on. Without one, the person signs in.
func (p *panel) begin(w http.ResponseWriter, r *http.Request, v *visitor, session string) error {
	if v.SignedIn() {
		if err := p.Registry.SignOut(r.Context(), v.session); err != nil {
			return err
		}
	}
	if session != "" {
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: session, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	}
	http.Redirect(w, r, p.base+"/", http.StatusSeeOther)
	return nil
}

// faces are the errors as a page shows them. What stands nowhere is a 500.
var faces = []struct {
	err    error
	status int
	text   string // id in the catalogue
}{
	{keys.ErrNotFound, http.StatusNotFound, "error.not_found"},
	{keys.ErrForbidden, http.StatusForbidden, "error.forbidden"},
	{errForeign, http.StatusForbidden, "error.foreign"},
	{errForm, http.StatusBadRequest, "error.form"},
	{keys.ErrUnavailable, http.StatusServiceUnavailable, "error.unavailable"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "error.unavailable"},
	{context.Canceled, 499, "error.unavailable"},
}

// fail shows an error page.
func (p *panel) fail(w http.ResponseWriter, r *http.Request, v *visitor, err error) {
	status, text := http.StatusInternalServerError, "error.server"
	for _, face := range faces {
		if errors.Is(err, face.err) {
			status, text = face.status, face.text
			break
		}
	}
	reference := w.Header().Get("X-Request-Id")
	if status >= http.StatusInternalServerError {
		p.Logger.Error("request failed", "route", r.Pattern, "request_id", reference, "error", err)
	}
	authz.Observe(w, "outcome", text)
	p.show(w, v, "error", status, struct{ Text, Reference string }{text, reference})
}
