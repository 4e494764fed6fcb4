package panel

import (
	"crypto/rand"
	"encoding/hex"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/imara/apikeys/keys"
)

const deep = "/panel/o/acme/audit?action=key.revoke&actor=mem_1"

// hiddenIn are the hidden fields of a page, but for those of the preferences.
func hiddenIn(page string) url.Values {
	fields := url.Values{}
	for _, found := range regexp.MustCompile(`type="hidden" name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if found[1] != "back" {
			fields.Add(html.UnescapeString(found[1]), html.UnescapeString(found[2]))
		}
	}
	return fields
}

// signInWith sends the sign-in form that a page shows.
func (s *site) signInWith(page, email, password string) *http.Response {
	fields := hiddenIn(page)
	fields.Set("email", email)
	fields.Set("password", password)
	return s.post("/panel/sign-in", "", "same-origin", fields)
}

// TestADeepLinkSurvivesTheSignIn: with a password, after a wrong one, with a provider, and
// for who is signed in already.
func TestADeepLinkSurvivesTheSignIn(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	session := s.session("ann@example.com")
	asked, err := http.NewRequest("GET", s.origin+deep, nil)
	s.must(err)
	sent, err := http.DefaultTransport.RoundTrip(asked)
	s.must(err)
	defer sent.Body.Close()
	to := sent.Header.Get("Location")
	if sent.StatusCode != 303 || !strings.HasPrefix(to, "/panel/sign-in?next=") {
		t.Fatalf("%d %s", sent.StatusCode, to)
	}
	_, page := s.get(to, "")
	wrong := s.signInWith(page, "ann@example.com", "wrong")
	page = body(t, wrong)
	if answer := s.signInWith(page, "ann@example.com", password); answer.StatusCode != 303 || answer.Header.Get("Location") != deep {
		t.Errorf("with a password: %d %s", answer.StatusCode, answer.Header.Get("Location"))
	}
	_, query, _ := strings.Cut(to, "?")
	if link := "/panel/sign-in/acme?" + query; !strings.Contains(strings.ToLower(page), strings.ToLower(link)) {
		t.Errorf("no %s in %s", link, page)
	}
	if answer := s.through("Eve", "", "?"+query, nil); answer.Header.Get("Location") != deep {
		t.Errorf("with a provider: %d %s", answer.StatusCode, answer.Header.Get("Location"))
	}
	r, err := http.NewRequest("GET", s.origin+to, nil)
	s.must(err)
	r.AddCookie(&http.Cookie{Name: cookieName, Value: session})
	there, err := http.DefaultTransport.RoundTrip(r)
	s.must(err)
	defer there.Body.Close()
	if at := there.Header.Get("Location"); at != deep {
		t.Errorf("signed in already: %s", at)
	}
}

// TestASignInLeadsToThePanelOnly: whatever next says, in any spelling.
func TestASignInLeadsToThePanelOnly(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	s.session("ann@example.com")
	p := s.panel("https://auth.example.com/tenant")
	for _, next := range []string{"/tenant/panel/", "/tenant/panel/account", "/tenant/panel/o/x/keys?q=//evil.example", "/tenant/panel/admin/orgs"} {
		if got := p.local("GET", next); got != next {
			t.Errorf("%q is no page: %q", next, got)
		}
	}
	bad := []string{"", "//evil.example", "//evil.example/tenant/panel/o/x/keys", `/\evil.example`, `\\evil.example`, "https://evil.example/tenant/panel/o/x/keys",
		"https:/tenant/panel/o/x/keys", "/%2f/evil.example", "/tenant/panel/%2f/evil.example", "/tenant/panel/o/x%2fkeys", "/tenant/panel/o/x/%2e%2e/keys", "/tenant/panel/..//evil.example",
		"/tenant/panel//evil.example", `/tenant/panel/o/\evil/keys`, "/tenant/panel/o/x/keys#@evil.example", "/tenant/panel/o/x/keys?a=\\", "/tenant/panel/../v1/keys", "/tenant/panelx/o/x/keys",
		" /tenant/panel/o/x/keys", "\t//evil.example", "/tenant/panel/o/x/keys\r\nSet-Cookie: a=b", "javascript:alert(1)", "/panel/o/x/keys", "/tenant/panel/sign-out",
		"/tenant/panel/link/x", "/tenant/panel/sign-in/acme", "/tenant/panel/preferences", "/tenant/panel/o/x/nothing", "/tenant/panel/o/x/keys/k/resume",
		"@evil.example/tenant/panel/o/x/keys", "/tenant/panel/o/x/keys?q=" + strings.Repeat("x", maxNext), "tenant/panel/o/x/keys", "?next=x", ".."}
	for _, next := range bad {
		if got := p.local("GET", next); got != "" {
			t.Errorf("%q leads to %q", next, got)
		}
	}
	for _, next := range []string{"//evil.example", `/\evil.example`, "/panel/%2f/evil.example", "https://evil.example"} {
		answer := s.post("/panel/sign-in", "", "same-origin", url.Values{"email": {"ann@example.com"}, "password": {password}, "next": {next}})
		if at := answer.Header.Get("Location"); answer.StatusCode != 303 || at != "/panel/" {
			t.Errorf("%q: %d %s", next, answer.StatusCode, at)
		}
		answer = s.through("Eve", "", "?"+url.Values{"next": {next}}.Encode(), nil)
		if at := answer.Header.Get("Location"); answer.StatusCode != 303 || at != "/panel/" {
			t.Errorf("%q with a provider: %d %s", next, answer.StatusCode, at)
		}
	}
}

// TestATypedFormSurvivesTheSignIn: it comes back after the sign-in, without what is secret,
// is not sent by itself, does what it says when it is sent, and is not shown to somebody
// else; with a password and with a provider.
func TestATypedFormSurvivesTheSignIn(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	s.memberOf("another", "bob", keys.Owner)
	s.session("ann@example.com")
	s.session("bob@example.com")
	s.idp.set(func() { s.idp.people["Bob"] = jwt.MapClaims{"email": "bob@acme.example", "groups": "buyers"} })
	fields := url.Values{"name": {"Büro <b>"}, "description": {"Zeile"}, "scope.0": {"alerts:read"}, "expires": {"90d"}, "request": {strings.Repeat("A", 24)},
		"password": {"my password"}, "confirm_password": {"my password"}, "token": {"a token"}, "note": {"imara_cs_live_x"}, "do": {""}}
	const path = "/panel/o/acme/keys/new"
	made := func() int {
		list, err := s.registry.Keys(t.Context(), "acme", keys.Page{})
		s.must(err)
		return len(list)
	}
	ended := s.post(path, "", "same-origin", fields)
	page := body(t, ended)
	var aside *http.Cookie
	for _, c := range ended.Cookies() {
		if c.Name == typedCookie {
			aside = c
		}
	}
	if ended.StatusCode != 401 || !strings.Contains(page, "What you typed is kept") || aside == nil || !aside.HttpOnly || !aside.Secure {
		t.Fatalf("%d %v %s", ended.StatusCode, aside, page)
	}
	check := func(how string, answer *http.Response) {
		t.Helper()
		shown := body(t, answer)
		kept := hiddenIn(shown)
		if answer.StatusCode != 200 || kept.Get("name") != "Büro <b>" || kept.Get("scope.0") != "alerts:read" || made() != 0 {
			t.Fatalf("%s: %d, %v, %d keys, %s", how, answer.StatusCode, kept, made(), shown)
		}
		for _, secret := range []string{"my password", "a token", "imara_cs_"} {
			if strings.Contains(shown, secret) {
				t.Errorf("%s: the page has %q", how, secret)
			}
		}
		for _, c := range answer.Cookies() {
			if c.Name == typedCookie && c.MaxAge >= 0 {
				t.Errorf("%s: the form stays in the browser", how)
			}
		}
	}
	withForm := func(r *http.Request) { r.AddCookie(aside) }
	if answer := s.signInWith(page, "bob@example.com", password); answer.StatusCode != 303 {
		t.Errorf("somebody else: %d %s", answer.StatusCode, body(t, answer))
	}
	if answer := s.through("Bob", "", "", withForm); answer.StatusCode != 303 {
		t.Errorf("somebody else of the provider: %d %s", answer.StatusCode, body(t, answer))
	}
	check("provider", s.through("Eve", "", "", withForm))
	page = body(t, s.signInWith(page, "ann@example.com", "wrong"))
	answer := s.signInWith(page, "ann@example.com", password)
	session := sessionOf(answer).Value
	check("password", answer)

	plain, ok := s.panel(s.origin).parseTyped(aside.Value)
	if !ok || plain.Fields.Has("password") || plain.Fields.Has("note") {
		t.Errorf("the cookie has %v", plain)
	}
	delete(plain.Fields, "do")
	if sent := s.post(path, session, "same-origin", plain.Fields); sent.StatusCode != 200 || made() != 1 {
		t.Errorf("sent: %d, %d keys", sent.StatusCode, made())
	}
}

// panel is one with routes, of an issuer.
func (s *site) panel(issuer string) *panel {
	s.t.Helper()
	p, err := parse(Config{Issuer: issuer})
	s.must(err)
	_, err = p.routes()
	s.must(err)
	return p
}

// TestOnlySmallFormsAreKept: one that is too large for the way over a provider is kept for
// who has a password, and one that is too large for that is lost, as the page says; what
// somebody made up is none.
func TestOnlySmallFormsAreKept(t *testing.T) {
	t.Parallel()
	s := newSingleSignOn(t)
	for size, want := range map[int]string{4 << 10: "Only with a password", 60 << 10: "too large to be kept."} {
		random := make([]byte, size/2)
		rand.Read(random)
		form := url.Values{"description": {hex.EncodeToString(random)}}
		answer := s.post("/panel/o/acme/keys/new", "", "same-origin", form)
		if page := body(t, answer); answer.StatusCode != 401 || !strings.Contains(page, want) || len(answer.Cookies()) > 0 {
			t.Errorf("%d bytes: %d %v %.2000s", size, answer.StatusCode, answer.Cookies(), page)
		}
	}
	p := s.panel(s.origin)
	bomb := typed{"/panel/o/acme/keys/new", url.Values{"a": {strings.Repeat("x", 10<<20)}}}.String()
	if f, ok := p.parseTyped(bomb); ok {
		t.Errorf("unpacked %d bytes", len(f.Fields.Get("a")))
	}
	for _, text := range []string{"", "x", "AAAA", strings.Repeat("A", maxTyped+1), typed{"//evil.example", nil}.String(), typed{"/panel/sign-out", nil}.String(),
		typed{"/panel/o/acme/keys", nil}.String(), typed{"https://evil.example/panel/o/acme/keys/new", nil}.String()} {
		if f, ok := p.parseTyped(text); ok {
			t.Errorf("%.60q is a form for %s", text, f.Path)
		}
	}
}
