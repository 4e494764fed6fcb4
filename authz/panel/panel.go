package panel

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// Config of the panel. All fields but Throttle and Providers are required.
type Config struct {
	Issuer   string
	Registry *keys.Registry
	Relay    *authz.Relay
	Ring     *signing.Ring
	// Check verifies an access token. Beside an error, there are claims if only the
	// signature is right.
	Check func(token string) (*tokens.Claims, error)
	// Health says what the server needs, and whether it is there.
	Health func(context.Context) []authz.Check
	Name   string // of this server, for its operator
	Logger *slog.Logger
	// Throttle slows down who opens links that are none; nil slows down nobody.
	Throttle *web.Throttle
	// Providers of single sign-on, for people of their domains; the others have passwords.
	Providers []Provider
}

type panel struct {
	config Config
	base   string           // path of the panel, without a slash at the end
	faces  map[string]*face // by language
	pages  *web.Mux         // by method and path

	providers []*provider
	reports   reports
}

//go:embed assets
var assets embed.FS

// New returns the handler of everything below {issuer path}/panel/.
func New(config Config) (http.Handler, error) {
	if config.Issuer == "" || config.Registry == nil || config.Relay == nil || config.Ring == nil || config.Check == nil || config.Health == nil {
		return nil, errors.New("panel: an issuer, a registry, a relay, a ring, a check of tokens and the health are required")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := parse(config)
	if err != nil {
		return nil, err
	}
	return p.routes()
}

func parse(config Config) (*panel, error) {
	p := &panel{config: config, base: authz.IssuerPath(config.Issuer) + "/panel", faces: map[string]*face{}}
	if err := p.newProviders(); err != nil {
		return nil, err
	}
	for _, language := range languages {
		c, err := readCatalogue(language.String())
		if err != nil {
			return nil, err
		}
		if err := p.speak(c); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *panel) routes() (http.Handler, error) {
	files, err := fs.Sub(assets, "assets")
	if err != nil {
		return nil, err
	}
	mux := web.NewMux(p.unserved)
	p.pages = mux
	mux.Handle("GET "+p.base+"/assets/{file...}", p.asset(files))
	for _, route := range []struct {
		method, path string
		handle       handle
	}{
		{"GET", "", p.signedIn(p.home)},
		{"GET", "/{$}", p.signedIn(p.home)},
		{"POST", "/invitations/{member}", p.signedIn(p.change(p.answerInvitation))},
		{"GET", "/sign-in", p.showSignIn},
		{"POST", "/sign-in", p.signIn},
		{"POST", "/sign-out", p.signOut},
		{"GET", "/sign-in/{provider}", p.provider(p.askProvider)},
		{"GET", "/sign-in/{provider}/callback", p.provider(p.answerProvider)},
		{"GET", "/account", p.signedIn(p.showAccount)},
		{"POST", "/account/password", p.signedIn(p.change(p.changePassword))},
		{"POST", "/account/sessions", p.signedIn(p.change(p.endSessions))},
		{"POST", "/account/stay", p.stay},
		{"GET", "/link/{token}", p.showLink},
		{"POST", "/link/{token}", p.useLink},
		{"GET", "/o/{org}/keys", p.member(p.listKeys)},
		{"GET", "/o/{org}/keys/{key}", p.member(p.showKey)},
		{"POST", "/preferences", p.prefer},
		{"GET", "/o/{org}/keys/new", p.member(p.askCreate)},
		{"POST", "/o/{org}/keys/new", p.member(p.fresh(p.create))},
		{"GET", "/o/{org}/keys/review", p.member(p.review)},
		{"GET", "/o/{org}/keys/usage", p.member(p.showUsage)},
		{"GET", "/o/{org}/members", p.member(p.showMembers)},
		{"POST", "/o/{org}/members", p.member(p.fresh(p.addMember))},
		{"POST", "/o/{org}/members/{member}", p.member(p.fresh(p.editMember))},
		{"GET", "/o/{org}/members/{member}/remove", p.member(p.askRemove)},
		{"POST", "/o/{org}/members/{member}/remove", p.member(p.change(p.removeMember))},
		{"GET", "/o/{org}/audit", p.member(p.showAudit)},
		{"POST", "/o/{org}/audit", p.member(p.change(p.verifyAudit))},
		{"POST", "/o/{org}/audit/export", p.member(p.fresh(p.exportAudit))},
		{"GET", "/o/{org}/policy", p.member(p.showPolicy)},
		{"POST", "/o/{org}/policy", p.member(p.fresh(p.setPolicy))},
		{"GET", "/o/{org}/token", p.member(p.showToken)},
		{"POST", "/o/{org}/token", p.member(p.change(p.checkToken))},
		{"GET", "/o/{org}/plan", p.member(p.showPlan)},
		{"POST", "/o/{org}/plan", p.member(p.change(p.askLimit))},
		{"GET", "/o/{org}/keys/{key}/edit", p.member(p.askEdit)},
		{"POST", "/o/{org}/keys/{key}/edit", p.member(p.fresh(p.edit))},
		{"GET", "/o/{org}/keys/{key}/rotate", p.member(p.askRotate)},
		{"POST", "/o/{org}/keys/{key}/rotate", p.member(p.fresh(p.rotate))},
		{"GET", "/o/{org}/keys/{key}/secrets/{secret}/first-use", p.member(p.showFirstUse)},
		{"POST", "/o/{org}/keys/{key}/secrets/{secret}", p.member(p.change(p.changeSecret))},
		{"POST", "/o/{org}/keys/{key}/approve", p.member(p.fresh(p.approve))},
		{"GET", "/o/{org}/keys/{key}/suspend", p.member(p.askSuspend)},
		{"POST", "/o/{org}/keys/{key}/suspend", p.member(p.change(p.suspend))},
		{"POST", "/o/{org}/keys/{key}/resume", p.member(p.fresh(p.resume))},
		{"GET", "/o/{org}/keys/{key}/reach", p.member(p.showReach)},
		{"GET", "/o/{org}/keys/{key}/revoke", p.member(p.askRevoke)},
		{"POST", "/o/{org}/keys/{key}/revoke", p.member(p.change(p.revoke))},
		{"GET", "/admin/orgs", p.staff(p.showOrganizations)},
		{"POST", "/admin/orgs", p.staff(p.fresh(p.createOrganization))},
		{"GET", "/admin/orgs/{org}", p.staff(p.showOrganization)},
		{"POST", "/admin/orgs/{org}", p.staff(p.fresh(p.editOrganization))},
		{"POST", "/admin/orgs/{org}/members", p.staff(p.fresh(p.addCustomer))},
		{"POST", "/admin/orgs/{org}/members/{member}/link", p.staff(p.fresh(p.makeLink))},
		{"GET", "/admin/resources", p.staff(p.showResources)},
		{"GET", "/admin/resources/new", p.staff(p.askResource)},
		{"POST", "/admin/resources/new", p.staff(p.fresh(p.putResource))},
		{"GET", "/admin/resources/{resource}", p.staff(p.askResource)},
		{"POST", "/admin/resources/{resource}", p.staff(p.fresh(p.putResource))},
		{"POST", "/admin/resources/{resource}/remove", p.staff(p.fresh(p.removeResource))},
		{"GET", "/admin/presets", p.staff(p.showPresets)},
		{"POST", "/admin/presets", p.staff(p.fresh(p.putPreset))},
		{"GET", "/admin/signing-keys", p.staff(p.showSigningKeys)},
		{"POST", "/admin/signing-keys", p.staff(p.fresh(p.rotateSigningKey))},
		{"GET", "/admin/signing-keys/{kid}", p.staff(p.showSigningKey)},
		{"POST", "/admin/signing-keys/{kid}", p.staff(p.fresh(p.withdrawSigningKey))},
		{"GET", "/admin/verifiers", p.staff(p.showVerifiers)},
		{"POST", "/admin/verifiers", p.staff(p.change(p.endVerifier))},
		{"GET", "/admin/health", p.staff(p.showHealth)},
		{"POST", "/csp-report", p.takeReport},
	} {
		mux.Handle(route.method+" "+p.base+route.path, p.handler(route.handle))
	}
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.fail(w, r, &visitor{taste: p.taste(r)}, errForeign) }))
	return p.secure(protection.Handler(mux)), nil
}

// errForeign: the request comes from a page that is not the panel's.
var errForeign = errors.New("from another site")

// policy allows the panel's own files, and no scripts that are made of text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// secure sets what every answer says to the browser.
func (p *panel) secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{"Content-Security-Policy": policy + "; report-uri " + p.base + "/csp-report", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Permissions-Policy": "camera=(), geolocation=(), microphone=()", "Cache-Control": "no-store"} {
			w.Header().Set(name, value)
		}
		next.ServeHTTP(w, r)
	})
}

// asset serves one of the panel's files, and lets browsers keep it for a while.
func (p *panel) asset(files fs.FS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("file")
		if info, err := fs.Stat(files, name); err != nil || info.IsDir() {
			p.unserved(w, r, web.Unserved{})
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=300")
		http.ServeFileFS(w, r, files, name)
	})
}

// errMethod: the page is there, for other methods.
var errMethod = errors.New("another method")

// unserved shows the page for what is not there.
func (p *panel) unserved(w http.ResponseWriter, r *http.Request, u web.Unserved) {
	p.handler(func(http.ResponseWriter, *http.Request, *visitor) error {
		if u.Allow != "" {
			return errMethod
		}
		return keys.ErrNotFound
	}).ServeHTTP(w, r)
}

// A visitor is who looks at a page.
type visitor struct {
	keys.Visitor // without an address: nobody signed in
	session      string
	path         string // of the request
	taste        taste
	// member, org and by are of the organisation of the page, if it has one; on the
	// operator's pages that is the operator's.
	member keys.Member
	org    keys.Organization
	by     keys.Actor
	root   string // of the pages that the navigation leads to
	note   string // what the page says of the change that led to it
	// cut is the position of what that change cut, and reached how far it has come.
	cut     uint64
	reached *keys.Receipt
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
	v := &visitor{path: r.URL.Path, taste: p.taste(r), note: one(r.URL.RawQuery, notes)}
	v.cut, _ = strconv.ParseUint(r.URL.Query().Get("cut"), 10, 63)
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return v, nil
	}
	v.session = cookie.Value
	v.Visitor, err = p.config.Registry.Visitor(r.Context(), v.session)
	if errors.Is(err, keys.ErrNotFound) {
		err = nil
	}
	return v, err
}

// signedIn admits whoever is.
func (p *panel) signedIn(next handle) handle {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		if !v.SignedIn() {
			return p.askSignIn(w, r, v)
		}
		return next(w, r, v)
	}
}

// member admits members of the organisation of the path; for others it is not there.
func (p *panel) member(next handle) handle {
	return p.signedIn(func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		i := slices.IndexFunc(v.Memberships, func(m keys.Member) bool { return m.OrganizationID == r.PathValue("org") })
		if i < 0 {
			return keys.ErrNotFound
		}
		v.root = "/o/" + v.Memberships[i].OrganizationID
		if err := p.acts(w, r, v, v.Memberships[i]); err != nil {
			return err
		}
		return next(w, r, v)
	})
}

// acts makes the visitor act as a member.
func (p *panel) acts(w http.ResponseWriter, r *http.Request, v *visitor, m keys.Member) (err error) {
	v.member, v.by = m, by(w, r)
	v.by.MemberID, v.by.Role, v.by.Operator = m.ID, m.Role, m.Role == keys.Staff
	if v.org, err = p.config.Registry.Organization(r.Context(), m.OrganizationID); err != nil || v.cut == 0 {
		return err
	}
	by := v.by
	by.Wait = -1
	receipt, err := p.config.Registry.Receipt(r.Context(), by, m.OrganizationID, v.cut)
	if m.Role == keys.Staff {
		receipt, err = p.config.Registry.AnyReceipt(r.Context(), by, v.cut)
	}
	if errors.Is(err, keys.ErrNotFound) {
		return nil
	}
	v.reached = &receipt
	return err
}

// change reads the form of a request.
func (p *panel) change(next handle) handle {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		if err := parseForm(w, r); err != nil {
			return err
		}
		return next(w, r, v)
	}
}

// by is who acts where no member does yet.
func by(w http.ResponseWriter, r *http.Request) keys.Actor {
	return keys.Actor{ClientID: "panel", RequestID: w.Header().Get("X-Request-Id"), Address: web.Address(r), Agent: web.Agent(r), Wait: authz.ReceiptWait}
}

// begin gives the browser its session and leads it on, as [panel.arrive] does. Without one,
// the person signs in.
func (p *panel) begin(w http.ResponseWriter, r *http.Request, v *visitor, session, next, form string) error {
	if err := p.replace(w, r, v, session); err != nil {
		return err
	}
	return p.arrive(w, r, v, session, next, form)
}

// notes are what a page can say of the change that led to it.
var notes = []string{"saved", "unconfirmed"}

// savedAt leads to the page, below the panel's, that shows what was just saved.
func (p *panel) savedAt(w http.ResponseWriter, r *http.Request, path string) error {
	http.Redirect(w, r, p.base+path+"?saved", http.StatusSeeOther)
	return nil
}

// cutAt is [panel.savedAt] for a change that may have cut tokens: it was carried out, even
// where nobody knows how far the cut has reached.
func (p *panel) cutAt(w http.ResponseWriter, r *http.Request, v *visitor, path string, receipt keys.Receipt, err error) error {
	note := "saved"
	switch {
	case err != nil:
		p.config.Logger.Error("cut not confirmed", "route", r.Pattern, "request_id", v.by.RequestID, "error", err)
		note = "unconfirmed"
	case receipt.Position != 0:
		note = "cut=" + strconv.FormatUint(receipt.Position, 10)
	}
	http.Redirect(w, r, p.base+path+"?"+note, http.StatusSeeOther)
	return nil
}

// replace gives the browser a session in place of the one that it had.
func (p *panel) replace(w http.ResponseWriter, r *http.Request, v *visitor, session string) error {
	if v.SignedIn() {
		if err := p.config.Registry.EndSession(r.Context(), v.session); err != nil {
			return err
		}
	}
	if session != "" {
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: session, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	}
	return nil
}

// problems are the errors as a page shows them. What stands nowhere is a 500.
var problems = []struct {
	err    error
	status int
	text   string // id in the catalogue
}{
	{keys.ErrNotFound, http.StatusNotFound, "error.not_found"},
	{errMethod, http.StatusMethodNotAllowed, "error.not_found"},
	{keys.ErrForbidden, http.StatusForbidden, "error.forbidden"},
	{keys.ErrScope, http.StatusForbidden, "error.scope"},
	{keys.ErrChanged, http.StatusConflict, "error.changed"},
	{keys.ErrRevoked, http.StatusConflict, "error.state"},
	{keys.ErrExpired, http.StatusConflict, "error.state"},
	{keys.ErrPending, http.StatusConflict, "error.state"},
	{keys.ErrNotPending, http.StatusConflict, "error.state"},
	{keys.ErrSecretEnded, http.StatusConflict, "error.state"},
	{keys.ErrRotating, http.StatusConflict, "error.state"},
	{signing.ErrRotating, http.StatusConflict, "error.signing_young"},
	{keys.ErrInUse, http.StatusConflict, "error.in_use"},
	{keys.ErrRepeated, http.StatusConflict, "error.repeated"},
	{web.ErrRateLimited, http.StatusTooManyRequests, "error.rate"},
	{errForeign, http.StatusForbidden, "error.foreign"},
	{os.ErrDeadlineExceeded, http.StatusRequestTimeout, "error.form"},
	{errForm, http.StatusBadRequest, "error.form"},
	{keys.ErrUnavailable, http.StatusServiceUnavailable, "error.unavailable"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "error.unavailable"},
	{context.Canceled, http.StatusServiceUnavailable, "error.unavailable"},
}

// fail shows an error page.
func (p *panel) fail(w http.ResponseWriter, r *http.Request, v *visitor, err error) {
	status, text := http.StatusInternalServerError, "error.server"
	for _, problem := range problems {
		if errors.Is(err, problem.err) {
			status, text = problem.status, problem.text
			break
		}
	}
	reference := w.Header().Get("X-Request-Id")
	if status >= http.StatusInternalServerError {
		p.config.Logger.Log(r.Context(), web.LevelOf(err), "request failed", "route", r.Pattern, "request_id", reference, "error", err)
	}
	if limit := (*web.RateLimitError)(nil); errors.As(err, &limit) {
		limit.Headers(w.Header())
	}
	web.Observe(w, "outcome", text)
	p.show(w, v, "error", status, struct {
		Text, Reference string
		Again           bool
	}{text, reference, status == http.StatusServiceUnavailable && r.Method == http.MethodGet})
}
