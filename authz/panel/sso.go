package panel

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// A Provider of single sign-on is an OpenID Connect provider (OpenID Connect Core 1.0,
// authorization code flow with PKCE). People with an address in its domains sign in there
// and nowhere else. Its redirect URI is {issuer}/panel/sign-in/{id}/callback.
type Provider struct {
	ID           string   `json:"id"`   // in URLs: small letters, digits and -
	Name         string   `json:"name"` // as people know it
	Issuer       string   `json:"issuer"`
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"-"`
	Scopes       []string `json:"scopes"`  // beside openid, email and profile
	Domains      []string `json:"domains"` // of the addresses for which it speaks
	Rules        []Rule   `json:"rules"`
	// TrustsEmail: the provider verifies every address, and does not say so of each.
	TrustsEmail bool `json:"trusts_email"`
	// NoAuthTime: the provider does not say when somebody proved who it is (auth_time), so
	// every sign-in counts as such a proof.
	NoAuthTime bool `json:"no_auth_time"`
}

// A Rule gives a role in an organisation to whoever has a value in a claim of the ID
// token, a string or a list of them; to everybody, without a claim. Of an organisation's
// rules the first that fits counts; who fits none is no member of it.
type Rule struct {
	Claim        string    `json:"claim"`
	Value        string    `json:"value"`
	Organization string    `json:"organization"`
	Role         keys.Role `json:"role"`
}

var (
	providerID     = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
	providerDomain = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
)

func (q *Provider) check() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("provider %q: %s", q.ID, fmt.Sprintf(format, a...))
	}
	u, err := url.Parse(q.Issuer)
	switch {
	case !providerID.MatchString(q.ID):
		return bad("its id must be small letters, digits and -")
	case q.Name == "" || q.ClientID == "" || q.ClientSecret == "":
		return bad("it needs a name, a client id and a client secret")
	case err != nil || tokens.CheckIdentifier(strings.TrimSuffix(q.Issuer, "/")) != nil || u.Scheme != "https" && !loopback(u.Hostname()):
		return bad("its issuer %q must be an https URL", q.Issuer)
	case len(q.Domains) == 0 || len(q.Rules) == 0:
		return bad("it needs domains and rules")
	}
	for _, d := range q.Domains {
		if !providerDomain.MatchString(d) {
			return bad("%q is no domain in small letters", d)
		}
	}
	for _, r := range q.Rules {
		if r.Organization == "" || r.Role == "" || (r.Claim == "") != (r.Value == "") {
			return bad("a rule needs an organization, a role, and both or neither of claim and value: %+v", r)
		}
		// Which roles there are depends on whether the organisation is the operator's.
		if !r.Role.Of(keys.Organization{}) && !r.Role.Of(keys.Organization{Operator: true}) {
			return bad("there is no role %q", r.Role)
		}
	}
	return nil
}

// loopback tells whether a host is this machine: nothing listens in between.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// roles are what the rules give to claims, empty where they give nothing.
func (q *Provider) roles(claims map[string]any) map[string]keys.Role {
	roles := make(map[string]keys.Role)
	for _, r := range q.Rules {
		if roles[r.Organization] == "" {
			roles[r.Organization] = ""
			if r.Claim == "" || has(claims[r.Claim], r.Value) {
				roles[r.Organization] = r.Role
			}
		}
	}
	return roles
}

func has(claim any, value string) bool {
	switch claim := claim.(type) {
	case string:
		return claim == value
	case []any:
		return slices.Contains(claim, any(value))
	}
	return false
}

// provider is one with what it says of itself, which is read when it is first needed: the
// panel runs without it.
type provider struct {
	Provider
	client   oauth2.Config
	http     *http.Client
	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier // nil: not read yet
	failed   time.Time             // when it last could not be
	problem  error
}

// newProviders checks providers, no two of which speak for the same people.
func (p *panel) newProviders() error {
	taken := map[string]bool{}
	for _, given := range p.Providers {
		if err := given.check(); err != nil {
			return err
		}
		for _, name := range append([]string{given.ID}, given.Domains...) {
			if taken[name] {
				return fmt.Errorf("two providers have %q", name)
			}
			taken[name] = true
		}
		p.providers = append(p.providers, &provider{Provider: given, http: &http.Client{Timeout: 10 * time.Second}, client: oauth2.Config{
			ClientID: given.ClientID, ClientSecret: given.ClientSecret,
			RedirectURL: p.Issuer + "/panel/sign-in/" + given.ID + "/callback",
			Scopes:      append([]string{oidc.ScopeOpenID, "email", "profile"}, given.Scopes...)}})
	}
	return nil
}

// providerOf is the one that speaks for an address, or nil.
func (p *panel) providerOf(email string) *provider {
	_, domain, _ := strings.Cut(strings.ToLower(strings.TrimSpace(email)), "@")
	for _, q := range p.providers {
		if slices.Contains(q.Domains, domain) {
			return q
		}
	}
	return nil
}

// retryAfter is how long a provider that did not answer is left alone.
const retryAfter = 5 * time.Second

// ready reads what the provider says of itself (OpenID Connect Discovery 1.0).
func (q *provider) ready(ctx context.Context) (context.Context, error) {
	ctx = oidc.ClientContext(ctx, q.http)
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.verifier != nil:
		return ctx, nil
	case time.Since(q.failed) < retryAfter:
		return ctx, q.problem
	}
	// The next who comes needs it too, when this one goes away.
	found, err := oidc.NewProvider(context.WithoutCancel(ctx), q.Issuer)
	if err != nil {
		q.failed, q.problem = time.Now(), &ssoError{"sso.away", http.StatusServiceUnavailable, err}
		return ctx, q.problem
	}
	q.client.Endpoint = found.Endpoint()
	q.verifier = found.Verifier(&oidc.Config{ClientID: q.ClientID})
	return ctx, nil
}

// An ssoError ends a sign-in with a provider.
type ssoError struct {
	Text   string // id in the catalogue
	status int
	err    error
}

func (e *ssoError) Error() string { return e.Text + ": " + e.err.Error() }
func (e *ssoError) Unwrap() error { return e.err }

// ssoCookie binds a sign-in to the browser that began it, until it comes back.
const ssoCookie = "__Host-imara-sso"

// ssoBegun is what the cookie says.
type ssoBegun struct{ provider, state, nonce, verifier, again string }

func (s ssoBegun) String() string {
	return strings.Join([]string{s.provider, s.state, s.nonce, s.verifier, s.again}, ".")
}

func parseBegun(text string) (s ssoBegun, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 5 {
		return s, false
	}
	return ssoBegun{parts[0], parts[1], parts[2], parts[3], parts[4]}, true
}

func setBegun(w http.ResponseWriter, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: ssoCookie, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(age.Seconds())})
}

// ssoPage is what the pages show that end a sign-in with a provider.
type ssoPage struct {
	Provider *provider
	Problem  string // id in the catalogue; empty: done
}

// provider finds the one of the path.
func (p *panel) provider(next func(http.ResponseWriter, *http.Request, *visitor, *provider) error) handle {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		i := slices.IndexFunc(p.providers, func(q *provider) bool { return q.ID == r.PathValue("provider") })
		if i < 0 {
			return keys.ErrNotFound
		}
		err := next(w, r, v, p.providers[i])
		var failed *ssoError
		if errors.As(err, &failed) {
			p.Logger.Warn("sign-in with a provider", "provider", p.providers[i].ID, "outcome", failed.Text, "error", failed.err)
			authz.Observe(w, "outcome", failed.Text)
			p.show(w, v, "sso", failed.status, ssoPage{p.providers[i], failed.Text})
			return nil
		}
		return err
	}
}

// askProvider sends the browser to a provider. With ?again, the person must prove there
// who it is, even when it has done so lately.
func (p *panel) askProvider(w http.ResponseWriter, r *http.Request, v *visitor, q *provider) error {
	if _, err := q.ready(r.Context()); err != nil {
		return err
	}
	begun := ssoBegun{q.ID, oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), ""}
	options := []oauth2.AuthCodeOption{oidc.Nonce(begun.nonce), oauth2.S256ChallengeOption(begun.verifier)}
	if r.URL.Query().Has("again") {
		begun.again = "again"
		options = append(options, oauth2.SetAuthURLParam("max_age", "0"), oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("login_hint", v.Email))
	}
	setBegun(w, begun.String(), 10*time.Minute)
	http.Redirect(w, r, q.client.AuthCodeURL(begun.state, options...), http.StatusSeeOther)
	return nil
}

// answerProvider ends what [panel.askProvider] began.
func (p *panel) answerProvider(w http.ResponseWriter, r *http.Request, v *visitor, q *provider) error {
	var begun ssoBegun
	ok := false
	if cookie, err := r.Cookie(ssoCookie); err == nil {
		begun, ok = parseBegun(cookie.Value)
	}
	query := r.URL.Query()
	if !ok || begun.provider != q.ID || subtle.ConstantTimeCompare([]byte(begun.state), []byte(query.Get("state"))) != 1 {
		return &ssoError{"sso.expired", http.StatusBadRequest, errors.New("not begun in this browser")}
	}
	setBegun(w, "", -time.Second)
	identity, err := q.identity(r.Context(), query, begun)
	if err != nil {
		return err
	}
	again := begun.again != ""
	switch {
	case again && v.SignedIn() && !strings.EqualFold(v.Email, identity.Email):
		return &ssoError{"sso.another", http.StatusForbidden, errors.New("another person")}
	case again && time.Since(identity.ProvedAt) >= freshness:
		return &ssoError{"sso.stale", http.StatusForbidden, errors.New("auth_time is missing or long ago")}
	}
	actor := by(w, r)
	actor.ClientID = "provider " + q.ID
	if !again && v.SignedIn() && !strings.EqualFold(v.Email, identity.Email) {
		return &ssoError{"sso.signed_in", http.StatusConflict, errors.New("another person is signed in")}
	}
	session, kept, err := p.Registry.Enter(r.Context(), actor, identity)
	for _, m := range kept {
		p.Logger.Warn("a provider would take the last owner away; the role stays", "provider", q.ID, "organization", m.OrganizationID, "member", m.ID)
	}
	var input *keys.InputError
	switch {
	case errors.Is(err, keys.ErrForbidden):
		return &ssoError{"sso.nothing", http.StatusForbidden, err}
	case errors.As(err, &input), errors.Is(err, keys.ErrNotFound):
		return &ssoError{"sso.rules", http.StatusForbidden, err}
	case err != nil:
		return err
	}
	if err := p.replace(w, r, v, session); err != nil {
		return err
	}
	if again {
		p.show(w, v, "sso", http.StatusOK, ssoPage{Provider: q})
		return nil
	}
	http.Redirect(w, r, p.base+"/", http.StatusSeeOther)
	return nil
}

// identity exchanges the code of an answer, and reads who the ID token says it is.
func (q *provider) identity(ctx context.Context, answer url.Values, begun ssoBegun) (id keys.Identity, err error) {
	refuse := func(text, format string, a ...any) (keys.Identity, error) {
		return keys.Identity{}, &ssoError{text, http.StatusForbidden, fmt.Errorf(format, a...)}
	}
	ctx, err = q.ready(ctx)
	if err != nil {
		return keys.Identity{}, err
	}
	// RFC 9207, for providers that know it.
	if iss := answer.Get("iss"); iss != "" && iss != q.Issuer {
		return refuse("sso.invalid", "the answer is of another issuer")
	}
	if code := answer.Get("error"); code != "" {
		return refuse("sso.refused", "the provider says %.60q", code)
	}
	exchanged, err := q.client.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(begun.verifier))
	var told *oauth2.RetrieveError
	switch {
	case errors.As(err, &told) && told.ErrorCode != "": // its text has the whole answer
		return refuse("sso.invalid", "the token endpoint says %.60q", told.ErrorCode)
	case told != nil:
		return refuse("sso.invalid", "the token endpoint says %d", told.Response.StatusCode)
	case err != nil:
		return keys.Identity{}, &ssoError{"sso.away", http.StatusServiceUnavailable, err}
	}
	raw, _ := exchanged.Extra("id_token").(string)
	token, err := q.verifier.Verify(ctx, raw)
	if err != nil {
		return refuse("sso.invalid", "ID token: %w", err)
	}
	if token.Nonce == "" || subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(begun.nonce)) != 1 {
		return refuse("sso.invalid", "ID token: another nonce")
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return refuse("sso.invalid", "ID token: %w", err)
	}
	id.Email, _ = claims["email"].(string)
	id.Email = strings.ToLower(strings.TrimSpace(id.Email))
	_, domain, _ := strings.Cut(id.Email, "@")
	switch {
	case !slices.Contains(q.Domains, domain):
		return refuse("sso.address", "it does not speak for the domain %.100q", domain)
	case claims["email_verified"] != true && !(q.TrustsEmail && claims["email_verified"] == nil):
		return refuse("sso.address", "the address is not verified")
	}
	id.Name, _ = claims["name"].(string)
	id.Roles = q.roles(claims)
	proved, dated := claims["auth_time"].(float64)
	switch t, now := time.Unix(int64(proved), 0), time.Now(); {
	case dated && t.Before(now):
		id.ProvedAt = t
	case dated && t.Before(now.Add(time.Minute)), !dated && q.NoAuthTime: // clocks differ
		id.ProvedAt = now
	}
	return id, nil
}
