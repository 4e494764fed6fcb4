package panel

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// A Provider of single sign-on is an OpenID Connect provider (OpenID Connect Core 1.0,
// authorization code flow with PKCE). People with an address in its domains sign in there
// and nowhere else. Its redirect URI is {issuer}/panel/sign-in/{id}/callback.
type Provider struct {
	ID           string        `json:"id"`   // in URLs: small letters, digits and -
	Name         string        `json:"name"` // as people know it
	Issuer       string        `json:"issuer"`
	ClientID     string        `json:"client_id"`
	ClientSecret tokens.Secret `json:"-"`
	Scopes       []string      `json:"scopes"`  // beside openid, email and profile
	Domains      []string      `json:"domains"` // of the addresses for which it speaks
	Rules        []Rule        `json:"rules"`
	// TrustsEmail: the provider verifies every address, and does not say so of each.
	TrustsEmail bool `json:"trusts_email"`
	// NoAuthTime: the provider does not say when somebody proved who it is (auth_time), so
	// every sign-in counts as such a proof.
	NoAuthTime bool `json:"no_auth_time"`
}

// A Rule gives a role in an organisation to whoever has a value in a claim, a text or a
// list of them, numbers and booleans by their text; to everybody, without a claim. A claim
// within another has a path, such as realm_access.roles. Of an organisation's rules the
// first that fits counts; who fits none is no member of it. Nobody signs in without a
// claim that decides.
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
	for _, scope := range q.Scopes {
		if scope == "" || strings.ContainsFunc(scope, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' }) {
			return bad("%q is no scope (RFC 6749, section 3.3)", scope)
		}
	}
	for _, d := range q.Domains {
		if !providerDomain.MatchString(d) {
			return bad("%q is no domain in small letters", d)
		}
	}
	decided := map[string]bool{} // for everybody
	seen := map[Rule]bool{}
	for _, r := range q.Rules {
		if r.Organization == "" || r.Role == "" || (r.Claim == "") != (r.Value == "") {
			return bad("a rule needs an organization, a role, and both or neither of claim and value: %+v", r)
		}
		// Which roles there are depends on whether the organisation is the operator's.
		if !r.Role.Of(keys.Organization{}) && !r.Role.Of(keys.Organization{Operator: true}) {
			return bad("there is no role %q", r.Role)
		}
		if !r.Role.Of(keys.Organization{Operator: r.Organization == keys.OperatorOrganization}) {
			return bad("there is no role %q in %s", r.Role, r.Organization)
		}
		if !claimPath(r.Claim) {
			return bad("%q names no claim", r.Claim)
		}
		same := Rule{Claim: r.Claim, Value: r.Value, Organization: r.Organization}
		if decided[r.Organization] || seen[same] {
			return bad("a rule can never count, for another one before it does: %+v", r)
		}
		decided[r.Organization], seen[same] = r.Claim == "", true
	}
	return nil
}

// claimPath tells whether a claim can have a name, or a path.
func claimPath(name string) bool {
	return len(name) <= 200 && strings.TrimSpace(name) == name && keys.Printable(name) &&
		!strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".") && !strings.Contains(name, "..")
}

// loopback tells whether a host is this machine: nothing listens in between.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// provider is one with what it says of itself, which is read when it is first needed: the
// panel runs without it.
type provider struct {
	Provider
	client   oauth2.Config
	http     *http.Client
	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier // nil: not read yet
	keys     *keySet
	userInfo string    // URL; empty: it has none
	failed   time.Time // when it last could not be
	problem  error
}

// newProviders checks providers, no two of which speak for the same people.
func (p *panel) newProviders() error {
	taken := map[string]bool{}
	for _, given := range p.config.Providers {
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
			ClientID: given.ClientID, ClientSecret: given.ClientSecret.Reveal(),
			RedirectURL: p.config.Issuer + "/panel/sign-in/" + given.ID + "/callback",
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
	if err := q.discover(context.WithoutCancel(ctx)); err != nil {
		q.failed, q.problem = time.Now(), err
		return ctx, err
	}
	return ctx, nil
}

func (q *provider) discover(ctx context.Context) error {
	found, err := oidc.NewProvider(ctx, q.Issuer)
	var another *oidc.IssuerMismatchError
	if errors.As(err, &another) {
		about := fmt.Sprintf("%.200q", another.Discovered)
		return &ssoError{"sso.issuer", http.StatusServiceUnavailable, err, about}
	}
	var says struct {
		Keys       string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err == nil {
		err = found.Claims(&says)
	}
	if err != nil {
		return &ssoError{"sso.away", http.StatusServiceUnavailable, err, ""}
	}
	algorithms := slices.DeleteFunc(says.Algorithms, func(name string) bool {
		return !slices.Contains(signatures, jose.SignatureAlgorithm(name))
	})
	q.client.Endpoint, q.userInfo = found.Endpoint(), found.UserInfoEndpoint()
	q.keys = &keySet{url: says.Keys, http: q.http}
	q.verifier = oidc.NewVerifier(q.Issuer, q.keys, &oidc.Config{ClientID: q.ClientID, SupportedSigningAlgs: algorithms})
	return nil
}

// An ssoError ends a sign-in with a provider.
type ssoError struct {
	Text   string // id in the catalogue
	status int
	err    error
	About  string // what the text is about: a claim, an issuer
}

func (e *ssoError) Error() string { return e.Text + ": " + e.err.Error() }
func (e *ssoError) Unwrap() error { return e.err }

// ssoCookie binds a sign-in to the browser that began it, until it comes back.
const ssoCookie = "__Host-imara-sso"

// ssoBegun is what the cookie says.
type ssoBegun struct{ provider, state, nonce, verifier, again, next string }

func (s ssoBegun) String() string {
	next := base64.RawURLEncoding.EncodeToString([]byte(s.next))
	return strings.Join([]string{s.provider, s.state, s.nonce, s.verifier, s.again, next}, ".")
}

func parseBegun(text string) (s ssoBegun, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 6 {
		return s, false
	}
	next, err := base64.RawURLEncoding.DecodeString(parts[5])
	return ssoBegun{parts[0], parts[1], parts[2], parts[3], parts[4], string(next)}, err == nil
}

func setBegun(w http.ResponseWriter, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: ssoCookie, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(age.Seconds())})
}

// ssoPage is what the pages show that end a sign-in with a provider.
type ssoPage struct {
	Provider *provider
	Problem  string // id in the catalogue; empty: done
	About    string // as of [ssoError]
	Next     string // where the next try leads
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
			if failed.status == http.StatusForbidden {
				actor := by(w, r)
				actor.ClientID = "provider " + p.providers[i].ID
				p.config.Registry.SignInFailed(actor, "")
			}
			p.config.Logger.Warn("sign-in with a provider", "provider", p.providers[i].ID, "outcome", failed.Text, "error", failed.err)
			web.Observe(w, "outcome", failed.Text)
			p.show(w, v, "sso", failed.status, ssoPage{p.providers[i], failed.Text, failed.About, p.nextOf(r)})
			return nil
		}
		return err
	}
}

// nextOf is where a sign-in leads that a request begins, or ends.
func (p *panel) nextOf(r *http.Request) string {
	next := r.URL.Query().Get("next")
	if cookie, err := r.Cookie(ssoCookie); err == nil && next == "" {
		begun, _ := parseBegun(cookie.Value)
		next = begun.next
	}
	return p.local(http.MethodGet, next)
}

// askProvider sends the browser to a provider. With ?again, the person must prove there
// who it is, even when it has done so lately.
func (p *panel) askProvider(w http.ResponseWriter, r *http.Request, v *visitor, q *provider) error {
	if _, err := q.ready(r.Context()); err != nil {
		return err
	}
	begun := ssoBegun{q.ID, oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), "",
		p.local(http.MethodGet, r.URL.Query().Get("next"))}
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
		return &ssoError{"sso.expired", http.StatusBadRequest, errors.New("not begun in this browser"), ""}
	}
	setBegun(w, "", -time.Second)
	identity, err := q.identity(r.Context(), query, begun)
	if err != nil {
		return err
	}
	again := begun.again != ""
	switch {
	case again && v.SignedIn() && !strings.EqualFold(v.Email, identity.Email):
		return &ssoError{"sso.another", http.StatusForbidden, errors.New("another person"), ""}
	case again && time.Since(identity.ProvedAt) >= freshness:
		return &ssoError{"sso.stale", http.StatusForbidden, errors.New("auth_time is missing or long ago"), ""}
	}
	actor := by(w, r)
	actor.ClientID = "provider " + q.ID
	if !again && v.SignedIn() && !strings.EqualFold(v.Email, identity.Email) {
		return &ssoError{"sso.signed_in", http.StatusConflict, errors.New("another person is signed in"), ""}
	}
	identity.Again = again
	session, kept, err := p.config.Registry.Enter(r.Context(), actor, identity)
	for _, m := range kept {
		p.config.Logger.Warn("a provider would take the last owner away; the role stays", "provider", q.ID, "organization", m.OrganizationID, "member", m.ID)
	}
	var input *keys.InputError
	switch {
	case errors.Is(err, keys.ErrSubject):
		return &ssoError{"sso.subject", http.StatusForbidden, err, identity.Email}
	case errors.Is(err, keys.ErrForbidden):
		return &ssoError{"sso.nothing", http.StatusForbidden, err, ""}
	case errors.As(err, &input), errors.Is(err, keys.ErrNotFound):
		return &ssoError{"sso.rules", http.StatusForbidden, err, ""}
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
	return p.arrive(w, r, v, session, begun.next, typedAside(r))
}

// identity exchanges the code of an answer, and reads who the ID token says it is.
func (q *provider) identity(ctx context.Context, answer url.Values, begun ssoBegun) (id keys.Identity, err error) {
	refuse := func(text, format string, a ...any) (keys.Identity, error) {
		return keys.Identity{}, &ssoError{text, http.StatusForbidden, fmt.Errorf(format, a...), ""}
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
		return keys.Identity{}, &ssoError{"sso.away", http.StatusServiceUnavailable, err, ""}
	}
	raw, _ := exchanged.Extra("id_token").(string)
	token, err := q.verifier.Verify(ctx, raw)
	if err != nil {
		return refuse("sso.invalid", "ID token: %w", err)
	}
	if token.Nonce == "" || subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(begun.nonce)) != 1 {
		return refuse("sso.invalid", "ID token: another nonce")
	}
	said, err := q.claims(ctx, token, exchanged.AccessToken)
	if err != nil {
		return keys.Identity{}, err
	}
	if absent := q.absent(said); absent != "" {
		return keys.Identity{}, &ssoError{"sso.absent", http.StatusForbidden, fmt.Errorf("the claim %q is absent", absent), absent}
	}
	id.Email = strings.ToLower(strings.TrimSpace(said.text("email")))
	_, domain, _ := strings.Cut(id.Email, "@")
	verified, unsaid := said.verified(id.Email)
	switch {
	case !slices.Contains(q.Domains, domain):
		return refuse("sso.address", "it does not speak for the domain %.100q", domain)
	case !verified && !(q.TrustsEmail && unsaid):
		return refuse("sso.address", "the address is not verified")
	}
	id.Issuer, id.Subject, id.Name = token.Issuer, token.Subject, said.text("name")
	id.Roles, _ = q.roles(said)
	id.ProvedAt = q.proved(said[0])
	return id, nil
}

// claims are those of an ID token, and of UserInfo where that token lacks one.
func (q *provider) claims(ctx context.Context, token *oidc.IDToken, access string) (claims, error) {
	invalid := func(format string, a ...any) (claims, error) {
		return nil, &ssoError{"sso.invalid", http.StatusForbidden, fmt.Errorf(format, a...), ""}
	}
	var raw json.RawMessage
	if err := token.Claims(&raw); err != nil {
		return invalid("ID token: %w", err)
	}
	said, err := parseClaims(raw)
	if err != nil {
		return invalid("ID token: %w", err)
	}
	// Core 1.0, 3.1.3.7, steps 4 and 5.
	azp, named := said["azp"]
	switch {
	case named && azp != q.ClientID:
		return invalid("ID token: it was issued to another client (azp)")
	case !named && len(token.Audience) > 1:
		return invalid("ID token: it has several audiences and no azp")
	case token.Subject == "" || len(token.Subject) > 255:
		return invalid("ID token: no sub")
	case q.userInfo == "" || q.absent(claims{said}) == "":
		return claims{said}, nil
	}
	data, media, err := fetch(ctx, q.http, q.userInfo, access)
	if err != nil {
		return nil, &ssoError{"sso.away", http.StatusServiceUnavailable, fmt.Errorf("UserInfo: %w", err), ""}
	}
	if kind, _, err := mime.ParseMediaType(media); err == nil && kind == "application/jwt" {
		if data, err = q.keys.VerifySignature(ctx, string(data)); err != nil {
			return invalid("UserInfo: %w", err)
		}
	}
	more, err := parseClaims(data)
	if err != nil {
		return invalid("UserInfo: %w", err)
	}
	if more["sub"] != token.Subject { // Core 1.0, 5.3.2
		return invalid("UserInfo: another sub")
	}
	return claims{said, more}, nil
}

// proved is when the person proved who it is, as an ID token says; zero: not known.
func (q *Provider) proved(idToken map[string]any) time.Time {
	number, dated := idToken["auth_time"].(json.Number)
	seconds, err := number.Float64()
	dated = dated && err == nil
	switch t, now := time.Unix(int64(seconds), 0), time.Now(); {
	case dated && t.Before(now):
		return t
	case dated && t.Before(now.Add(time.Minute)), !dated && q.NoAuthTime: // clocks differ
		return now
	}
	return time.Time{}
}
