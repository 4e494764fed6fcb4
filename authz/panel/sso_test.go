package panel

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/golang-jwt/jwt/v5"

	"github.com/imara/apikeys/keys"
)

// idp is an OpenID Connect provider for tests: a page that asks who one is, codes that
// work once, PKCE and a client secret that it checks, ID tokens signed with ES256. Spoil
// changes what it answers.
type idp struct {
	*httptest.Server
	key *ecdsa.PrivateKey

	mu     sync.Mutex
	down   bool
	people map[string]jwt.MapClaims // by name, which the page shows
	codes  map[string]url.Values    // the request of each
	asked  url.Values               // the last request
	spoil  func(claims jwt.MapClaims, sign *ecdsa.PrivateKey) *ecdsa.PrivateKey
	info   map[string]map[string]any // what UserInfo says, by name; nil: it is not offered
	issuer string                    // in discovery, in place of its own
	extra  []any                     // keys before its own
}

var asksWho = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Acme SSO</title><link rel="icon" href="data:,"><h1>Who are you?</h1>{{$q := .Query}}{{range .People}}
<form action="/approve"><input type="hidden" name="request" value="{{$q}}"><button name="who" value="{{.}}">{{.}}</button></form>{{end}}`))

func newIDP(t *testing.T) *idp {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &idp{key: key, people: map[string]jwt.MapClaims{}, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		says := map[string]any{"issuer": cmp.Or(i.issuer, i.URL), "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/jwks", "id_token_signing_alg_values_supported": []string{"ES256"}}
		if i.info != nil {
			says["userinfo_endpoint"] = i.URL + "/userinfo"
		}
		answer(w, says)
	})
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		who, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer access of ")
		if i.info[who] == nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer(w, i.info[who])
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, r *http.Request) {
		point, _ := key.PublicKey.Bytes()
		text := base64.RawURLEncoding.EncodeToString
		answer(w, map[string]any{"keys": append(slices.Clone(i.extra), map[string]string{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256", "x": text(point[1:33]), "y": text(point[33:])})})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		i.asked = r.URL.Query()
		asksWho.Execute(w, map[string]any{"Query": r.URL.RawQuery, "People": slices.Sorted(maps.Keys(i.people))})
	})
	mux.HandleFunc("GET /approve", func(w http.ResponseWriter, r *http.Request) {
		request, _ := url.ParseQuery(r.FormValue("request"))
		code := rand.Text()
		request.Set("who", r.FormValue("who"))
		i.codes[code] = request
		back := request.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {request.Get("state")}, "iss": {i.URL}}.Encode()
		http.Redirect(w, r, back, http.StatusSeeOther)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		secret, _ = url.QueryUnescape(secret) // RFC 6749 section 2.3.1
		request, ok := i.codes[r.FormValue("code")]
		delete(i.codes, r.FormValue("code"))
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if id != "panel" || secret != "provider secret" || !ok || request.Get("redirect_uri") != r.FormValue("redirect_uri") ||
			request.Get("code_challenge_method") != "S256" || request.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			w.WriteHeader(http.StatusBadRequest)
			answer(w, map[string]string{"error": "invalid_grant", "error_description": "the code is " + r.FormValue("code")})
			return
		}
		now := time.Now()
		claims := jwt.MapClaims{"iss": i.URL, "aud": "panel", "sub": request.Get("who"), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "nonce": request.Get("nonce"), "email_verified": true}
		if request.Has("max_age") {
			claims["auth_time"] = now.Unix()
		}
		maps.Copy(claims, i.people[request.Get("who")])
		sign := i.key
		if i.spoil != nil {
			sign = i.spoil(claims, sign)
		}
		token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
		token.Header["kid"] = "1"
		raw, err := token.SignedString(sign)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
		answer(w, map[string]any{"access_token": "access of " + request.Get("who"), "token_type": "Bearer", "id_token": raw})
	})
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.down {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

// set changes what the provider does.
func (i *idp) set(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

// newSingleSignOn is a site with the organisation acme, for whose people, those of
// acme.example, a provider speaks.
func newSingleSignOn(t *testing.T, change ...func(*Provider)) *site {
	i := newIDP(t)
	q := Provider{ID: "acme", Name: "Acme SSO", Issuer: i.URL, ClientID: "panel", ClientSecret: "provider secret", Domains: []string{"acme.example"},
		Rules: []Rule{{"groups", "admins", "acme", keys.Admin}, {"groups", "engineers", "acme", keys.Developer}, {"groups", "buyers", "another", keys.Billing}}}
	for _, f := range change {
		f(&q)
	}
	s := newSite(t, q)
	s.idp = i
	s.organization("acme", "Professional")
	s.organization("another", "Professional")
	s.memberOf("acme", "ann", keys.Owner)
	i.people["Eve"] = jwt.MapClaims{"email": "Eve@acme.example", "name": "Eve Adams", "groups": []string{"engineers", "admins"}}
	i.people["Bob"] = jwt.MapClaims{"email": "bob@acme.example", "groups": "engineers"}
	return s
}

func (s *site) visits(b *browser) *browser {
	b.elsewhere.Store(&s.idp.URL)
	return b
}

// TestSingleSignOn: in with a provider, by mouse and by keyboard, with the role that its
// groups give; what matters asks the provider again, and goes on where it was.
func TestSingleSignOn(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	b := s.visits(newBrowser(t, s.origin))
	b.open("/panel/sign-in")
	b.says("Sign in with Acme SSO")
	b.accessible("signin-sso")
	b.goes(chromedp.Click(`a.button`))
	b.says("Who are you?")
	b.goes(chromedp.Click(`button[value="Eve"]`))
	if at := b.at(); at != "/panel/o/acme/keys" {
		t.Fatal(at)
	}
	b.says("Eve Adams")
	members, err := s.registry.Members(t.Context(), "acme")
	s.must(err)
	if m := members[len(members)-1]; m.Email != "eve@acme.example" || m.Name != "Eve Adams" || m.Role != keys.Admin {
		t.Errorf("%+v", m)
	}

	// Nothing proved when she signed in there.
	b.open("/panel/o/acme/keys/new")
	b.do(chromedp.SendKeys("#field-name", "Billing export"), chromedp.Click(`input[value="alerts:read"]`))
	if status := b.goes(chromedp.Click("button.main")); status != 403 {
		t.Fatalf("no second look: %d", status)
	}
	b.says("Is it still you?", "Sign in again with Acme SSO")
	b.accessible("confirm-sso")
	again, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.querySelector('main a.button').getAttribute('href')`))
	s.must(err)
	if status := b.goes(chromedp.Click("button.primary")); status != 403 {
		t.Errorf("went on without the provider: %d", status)
	}
	tab := s.visits(b.tab())
	tab.open(again)
	tab.tabTo("who") // Bob
	tab.tabTo("who")
	tab.goes(chromedp.KeyEvent(kb.Enter))
	tab.says("It is you")
	tab.accessible("sso-done")
	if asked := s.idp.asked; asked.Get("prompt") != "login" || asked.Get("max_age") != "0" || asked.Get("login_hint") != "eve@acme.example" {
		t.Errorf("asked for %v", asked)
	}
	b.goes(chromedp.Click("button.primary"))
	b.says("“Billing export” is ready")
}

// through is a sign-in without a browser: what a script would do.
func (s *site) through(who string, session string, query string, change func(*http.Request)) *http.Response {
	s.t.Helper()
	get := func(to string, cookies []*http.Cookie) *http.Response {
		r, err := http.NewRequestWithContext(s.t.Context(), "GET", to, nil)
		s.must(err)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		if session != "" {
			r.AddCookie(&http.Cookie{Name: cookieName, Value: session})
		}
		if change != nil && strings.Contains(to, "/callback") {
			change(r)
		}
		answer, err := http.DefaultTransport.RoundTrip(r)
		s.must(err)
		s.t.Cleanup(func() { answer.Body.Close() })
		return answer
	}
	begun := get(s.origin+"/panel/sign-in/acme"+query, nil)
	if begun.StatusCode != http.StatusSeeOther {
		return begun
	}
	request := begun.Header.Get("Location")
	_, parameters, _ := strings.Cut(request, "?")
	approved := get(s.idp.URL+"/approve?"+url.Values{"who": {who}, "request": {parameters}}.Encode(), nil)
	return get(approved.Header.Get("Location"), begun.Cookies())
}

// TestSingleSignOnTrustsOnlyItsProvider: an answer which is not of this provider, for
// this browser, now, signs nobody in, and says why in words.
func TestSingleSignOnTrustsOnlyItsProvider(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	claim := func(name string, value any) func() {
		return func() {
			s.idp.spoil = func(c jwt.MapClaims, sign *ecdsa.PrivateKey) *ecdsa.PrivateKey {
				if c[name] = value; value == nil {
					delete(c, name)
				}
				return sign
			}
		}
	}
	query := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			q := r.URL.Query()
			if q.Set(name, value); value == "" {
				q.Del(name)
			}
			r.URL.RawQuery = q.Encode()
		}
	}
	for name, row := range map[string]struct {
		who    string
		spoil  func()
		change func(*http.Request)
		want   string
	}{
		"another key":        {"Eve", func() { s.idp.spoil = func(jwt.MapClaims, *ecdsa.PrivateKey) *ecdsa.PrivateKey { return other } }, nil, "cannot be trusted"},
		"another issuer":     {"Eve", claim("iss", "https://evil.example"), nil, "cannot be trusted"},
		"another client":     {"Eve", claim("aud", "another"), nil, "cannot be trusted"},
		"expired":            {"Eve", claim("exp", time.Now().Add(-time.Hour).Unix()), nil, "cannot be trusted"},
		"another nonce":      {"Eve", claim("nonce", "another"), nil, "cannot be trusted"},
		"no nonce":           {"Eve", claim("nonce", nil), nil, "cannot be trusted"},
		"unverified address": {"Eve", claim("email_verified", false), nil, "does not vouch"},
		"verified as a 1":    {"Eve", claim("email_verified", 1), nil, "does not vouch"},
		"another word":       {"Eve", claim("email_verified", "yes"), nil, "does not vouch"},
		"nothing about it":   {"Eve", claim("email_verified", nil), nil, "does not say “email_verified”"},
		"azp of another":     {"Eve", claim("azp", "another"), nil, "cannot be trusted"},
		"two, and no azp":    {"Eve", claim("aud", []string{"panel", "another"}), nil, "cannot be trusted"},
		"no subject":         {"Eve", claim("sub", ""), nil, "cannot be trusted"},
		"another domain":     {"Eve", claim("email", "ann@example.com"), nil, "does not vouch"},
		"two domains":        {"Eve", claim("email", "eve@example.com@acme.example"), nil, "does not vouch"},
		"no address":         {"Eve", claim("email", nil), nil, "does not say “email”"},
		"null for an address": {"Eve", func() {
			s.idp.spoil = func(c jwt.MapClaims, sign *ecdsa.PrivateKey) *ecdsa.PrivateKey { c["email"] = nil; return sign }
		}, nil, "does not say “email”"},
		"a list of addresses": {"Eve", claim("email", []string{"eve@acme.example"}), nil, "does not vouch"},
		"in no group":         {"Eve", claim("groups", []string{"others"}), nil, "no organisation"},
		"without groups":      {"Eve", claim("groups", nil), nil, "does not say “groups”"},
		"groups elsewhere":    {"Eve", claim("groups", map[string]any{"$ref": "https://graph"}), nil, "does not say “groups”"},
		"another state":       {"Eve", nil, query("state", "another"), "not begun in this browser"},
		"without a state":     {"Eve", nil, query("state", ""), "not begun in this browser"},
		"without a cookie":    {"Eve", nil, func(r *http.Request) { r.Header.Del("Cookie") }, "not begun in this browser"},
		"a mixed-up issuer":   {"Eve", nil, query("iss", "https://evil.example"), "cannot be trusted"},
		"a code of nobody":    {"Eve", nil, query("code", "another"), "cannot be trusted"},
		"a refusal":           {"Eve", nil, query("error", "access_denied"), "did not sign you in"},
	} {
		s.idp.set(func() {
			if s.idp.spoil = nil; row.spoil != nil {
				row.spoil()
			}
		})
		answer := s.through(row.who, "", "", row.change)
		page := body(t, answer)
		if !strings.Contains(page, row.want) || sessionOf(answer) != nil || answer.StatusCode < 400 {
			t.Errorf("%s: %d, session %v, no %q in %s", name, answer.StatusCode, sessionOf(answer), row.want, page)
		}
	}
	s.idp.set(func() { s.idp.spoil = nil })
	var used *http.Request
	if answer := s.through("Eve", "", "", func(r *http.Request) { used = r.Clone(t.Context()) }); sessionOf(answer) == nil {
		t.Fatalf("%d %s", answer.StatusCode, body(t, answer))
	}
	twice, err := http.DefaultTransport.RoundTrip(used)
	s.must(err)
	defer twice.Body.Close()
	if sessionOf(twice) != nil {
		t.Error("an answer signs in twice")
	}
	if text := s.log.String(); strings.Contains(text, used.URL.Query().Get("code")) || strings.Contains(text, "provider secret") || strings.Contains(text, "eyJ") || !strings.Contains(text, "another nonce") {
		t.Error("the log has a code, a secret or a token, or no reasons")
	}
}

// TestWhoHasAProviderHasNoPassword: neither a password that there was, nor a link, signs
// in somebody for whom a provider speaks.
func TestWhoHasAProviderHasNoPassword(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	_, err := s.registry.AddMember(t.Context(), tester, keys.Member{OrganizationID: "acme", Name: "Eve", Email: "eve@acme.example", Role: keys.Owner, AcceptedAt: time.Now()})
	s.must(err)
	link := func(token string) string { // of before the provider spoke for her
		hash := sha256.Sum256([]byte(token))
		l := keys.Link{Hash: hash[:], Email: "eve@acme.example", CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
		_, err := s.store.AddLink(t.Context(), l, keys.Entry{})
		s.must(err)
		return "/panel/link/" + token
	}
	_, _, err = s.registry.NewLink(t.Context(), tester, "Eve@acme.example", "acme")
	if !errors.Is(err, keys.ErrElsewhere) {
		t.Errorf("a link for a person of a provider: %v", err)
	}
	_, _, err = s.registry.NewResetLink(t.Context(), tester, "eve@acme.example", []string{"acme"})
	if !errors.Is(err, keys.ErrElsewhere) {
		t.Errorf("a reset of a person of a provider: %v", err)
	}
	answers := map[string]*http.Response{
		"password": s.post("/panel/sign-in", "", "same-origin", url.Values{"email": {" Eve@ACME.example"}, "password": {password}}),
		"link":     s.post(link("old"), "", "same-origin", url.Values{"password": {password}, "again": {password}}),
	}
	for name, answer := range answers {
		if page := body(t, answer); answer.StatusCode != 403 || sessionOf(answer) != nil || !strings.Contains(page, "you sign in elsewhere") || !strings.Contains(page, "/panel/sign-in/acme") {
			t.Errorf("%s: %d %s", name, answer.StatusCode, page)
		}
	}
	if status, page := s.get(link("again"), ""); status != 403 || !strings.Contains(page, "you sign in elsewhere") {
		t.Errorf("the page of a link: %d %s", status, page)
	}
	session := s.session("ann@example.com") // of another domain
	if status, _ := s.get("/panel/o/acme/keys", session); status != 200 {
		t.Errorf("who has a password: %d", status)
	}
}

// TestRolesFollowTheProvider: another group is another role at the next sign-in, and none
// ends the membership at once, for every browser; the last owner stays.
func TestRolesFollowTheProvider(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	first := sessionOf(s.through("Bob", "", "", nil))
	if first == nil {
		t.Fatal("no session")
	}
	role := func() string {
		members, err := s.registry.Members(t.Context(), "acme")
		s.must(err)
		for _, m := range members {
			if m.Email == "bob@acme.example" && m.RemovedAt.IsZero() {
				return string(m.Role)
			}
		}
		return ""
	}
	if role() != "developer" {
		t.Error(role())
	}
	groups := func(list ...string) {
		s.idp.set(func() { s.idp.people["Bob"]["groups"] = append([]string{}, list...) })
	}
	groups("admins", "buyers")
	if answer := s.through("Bob", "", "", nil); role() != "admin" || sessionOf(answer) == nil {
		t.Error(role())
	}
	groups("buyers")
	if answer := s.through("Bob", "", "", nil); role() != "" || sessionOf(answer) == nil {
		t.Error(role())
	}
	if status, _ := s.get("/panel/o/acme/keys", first.Value); status != 404 {
		t.Errorf("an older session still sees the organisation: %d", status)
	}
	groups()
	answer := s.through("Bob", "", "", nil)
	if page := body(t, answer); sessionOf(answer) != nil || !strings.Contains(page, "no organisation") {
		t.Errorf("%d %s", answer.StatusCode, page)
	}
}

// TestAProviderTakesNoLastOwner: whoever would be the last owner to go stays one, is signed
// in, and the server's log says so.
func TestAProviderTakesNoLastOwner(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	_, err := s.registry.AddMember(t.Context(), tester, keys.Member{OrganizationID: "another", Name: "Eve", Email: "eve@acme.example", Role: keys.Owner, AcceptedAt: time.Now()})
	s.must(err)
	answer := s.through("Eve", "", "", nil) // whose groups give nothing there
	if sessionOf(answer) == nil {
		t.Fatalf("%d %s", answer.StatusCode, body(t, answer))
	}
	if status, _ := s.get("/panel/o/another/members", sessionOf(answer).Value); status != 200 {
		t.Errorf("the last owner: %d", status)
	}
	if !strings.Contains(s.log.String(), "would take the last owner away") {
		t.Error("nobody is told")
	}
}

// TestALinkSwitchesNobody: a sign-in that another page begins does not take the place of
// somebody else's.
func TestALinkSwitchesNobody(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	ann := s.session("ann@example.com")
	answer := s.through("Eve", ann, "", nil)
	if page := body(t, answer); answer.StatusCode != 409 || sessionOf(answer) != nil || !strings.Contains(page, "Somebody else is signed in here.") {
		t.Errorf("%d %s", answer.StatusCode, page)
	}
	if status, _ := s.get("/panel/o/acme/keys", ann); status != 200 {
		t.Errorf("ann: %d", status)
	}
}

// TestNoLinkForWhoHasAProvider: it would lead to no password.
func TestNoLinkForWhoHasAProvider(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	_, err := s.registry.CreateOrganization(t.Context(), tester, keys.Organization{ID: keys.OperatorOrganization, Name: "Operator", Plan: "Enterprise", Operator: true})
	s.must(err)
	s.memberOf(keys.OperatorOrganization, "olga", keys.Staff)
	eve, err := s.registry.AddMember(t.Context(), tester, keys.Member{OrganizationID: "acme", Name: "Eve", Email: "eve@acme.example", Role: keys.Admin, AcceptedAt: time.Now()})
	s.must(err)
	answer := s.post("/panel/admin/orgs/acme/members/"+eve.ID+"/link", s.session("olga@example.com"), "same-origin", nil)
	if page := body(t, answer); answer.StatusCode != 422 || !strings.Contains(page, "This person signs in with a provider") {
		t.Errorf("%d %s", answer.StatusCode, page)
	}
}

// TestProviderAway: the panel starts and runs without its provider, says so, and finds it
// when it is back.
func TestProviderAway(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	s.idp.set(func() { s.idp.down = true })
	b := newBrowser(t, s.origin)
	if status := b.open("/panel/sign-in/acme"); status != 503 {
		t.Errorf("%d", status)
	}
	b.says("Acme SSO does not answer")
	b.accessible("sso-away")
	if status, _ := s.get("/panel/o/acme/keys", s.session("ann@example.com")); status != 200 {
		t.Errorf("who has a password: %d", status)
	}
	s.idp.set(func() { s.idp.down = false })
	deadline, tick := time.After(time.Minute), time.Tick(100*time.Millisecond)
	for answer := s.through("Eve", "", "", nil); sessionOf(answer) == nil; answer = s.through("Eve", "", "", nil) {
		page := body(t, answer)
		select {
		case <-deadline:
			t.Fatalf("%d %s", answer.StatusCode, page)
		case <-tick:
		}
	}
	if status, _ := s.get("/panel/sign-in/nobody", ""); status != 404 {
		t.Errorf("an unknown provider: %d", status)
	}
}

// TestSecondLookIsAtThisPersonNow: signing in again must be as the same person, and the
// provider must say that it asked; one that cannot is believed when it is set so.
func TestSecondLookIsAtThisPersonNow(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	eve := sessionOf(s.through("Eve", "", "", nil)).Value
	for name, row := range map[string]struct {
		who, want string
		at        time.Time
	}{
		"another person":     {"Bob", "another person", time.Now()},
		"a while ago":        {"Eve", "did not ask who you are", time.Now().Add(-time.Hour)},
		"it does not say so": {"Eve", "did not ask who you are", time.Time{}},
		"in milliseconds":    {"Eve", "did not ask who you are", time.Unix(time.Now().UnixMilli(), 0)},
	} {
		s.idp.set(func() {
			s.idp.spoil = func(c jwt.MapClaims, sign *ecdsa.PrivateKey) *ecdsa.PrivateKey {
				if c["auth_time"] = row.at.Unix(); row.at.IsZero() {
					delete(c, "auth_time")
				}
				return sign
			}
		})
		answer := s.through(row.who, eve, "?again", nil)
		if page := body(t, answer); answer.StatusCode != 403 || sessionOf(answer) != nil || !strings.Contains(page, row.want) {
			t.Errorf("%s: %d %s", name, answer.StatusCode, page)
		}
	}
	believed := newSingleSignOn(t, func(q *Provider) { q.NoAuthTime = true })
	eve = sessionOf(believed.through("Eve", "", "", nil)).Value
	answer := believed.post("/panel/o/acme/keys/new", eve, "same-origin", url.Values{"name": {"CI"}, "scope": {"alerts:read"}})
	if page := body(t, answer); answer.StatusCode == 403 {
		t.Errorf("%d %s", answer.StatusCode, page)
	}
}

// TestProvidersAreChecked: what cannot work is refused before the server starts.
func TestProvidersAreChecked(t *testing.T) {
	good := func() Provider {
		return Provider{ID: "acme", Name: "Acme", Issuer: "https://login.acme.example/", ClientID: "c", ClientSecret: "s", Domains: []string{"acme.example"}, Rules: []Rule{{Organization: "acme", Role: keys.Auditor}}}
	}
	try := func(providers ...Provider) error {
		_, err := parse(Config{Issuer: "https://auth.example.com", Providers: providers})
		return err
	}
	if err := try(good()); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*Provider){
		"no role \"owner\" in":    func(q *Provider) { q.Rules[0] = Rule{Organization: keys.OperatorOrganization, Role: keys.Owner} },
		"no role \"operator\" in": func(q *Provider) { q.Rules[0].Role = keys.Staff },
		"names no claim":          func(q *Provider) { q.Rules[0].Claim, q.Rules[0].Value = "realm_access..roles", "x" },
		"can never count":         func(q *Provider) { q.Rules = append(q.Rules, Rule{"groups", "x", "acme", keys.Admin}) },
		"another one before":      func(q *Provider) { q.Rules = []Rule{{"a", "x", "acme", keys.Admin}, {"a", "x", "acme", keys.Owner}} },
		"is no scope":             func(q *Provider) { q.Scopes = []string{"groups roles"} },
		"its id":                  func(q *Provider) { q.ID = "Acme" },
		"a name":                  func(q *Provider) { q.Name = "" },
		"a client secret":         func(q *Provider) { q.ClientSecret = "" },
		"must be an https":        func(q *Provider) { q.Issuer = "http://login.acme.example" },
		"domains and rules":       func(q *Provider) { q.Domains = nil },
		"rules":                   func(q *Provider) { q.Rules = nil },
		"no domain in small":      func(q *Provider) { q.Domains = []string{"@Acme.example"} },
		"both or neither":         func(q *Provider) { q.Rules[0].Claim = "groups" },
		"an organization":         func(q *Provider) { q.Rules[0].Organization = "" },
		`no role "god"`:           func(q *Provider) { q.Rules[0].Role = "god" },
	} {
		q := good()
		spoil(&q)
		if err := try(q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	twin := good()
	twin.ID = "other"
	if err := try(good(), twin); err == nil || !strings.Contains(fmt.Sprint(err), "acme.example") {
		t.Errorf("two for one domain: %v", err)
	}
}
