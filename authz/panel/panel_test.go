package panel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/limits"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// site is a panel that listens, over the in-memory store.
type site struct {
	t        *testing.T
	store    keys.Store
	origin   string
	registry *keys.Registry
	relay    *relay
	ring     *signing.Ring
	log      *lockedBuffer
	// check is what becomes of every token, and health how the server is.
	check  func() (*tokens.Claims, error)
	health []authz.Check
	idp    *idp // of newSingleSignOn
}

// relay is the real one; when silent it confirms nothing.
type relay struct {
	*authz.Relay
	silent atomic.Bool
}

func (r *relay) Confirm(ctx context.Context, at keys.Commit) (keys.Receipt, error) {
	if r.silent.Load() {
		return keys.Receipt{}, keys.ErrUnavailable
	}
	return r.Relay.Confirm(ctx, at)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var tester = keys.Program("test")

func newSite(t *testing.T, providers ...Provider) *site {
	t.Helper()
	store := keystest.NewMemory()
	buffer := &lockedBuffer{}
	logger := slog.New(slog.NewJSONHandler(buffer, nil))
	followed, err := authz.NewRelay(authz.RelayConfig{Log: store, Name: "auth-1", Alone: true, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	relay := &relay{Relay: followed}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { relay.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	server := httptest.NewUnstartedServer(nil)
	origin := "http://" + server.Listener.Addr().String()
	ring, err := signing.NewRing(ctx, signing.Config{Issuer: origin, KEK: tokens.Secret(make([]byte, 32)), Store: authz.SigningStore(store), Logger: logger})
	if err == nil {
		err = ring.Ensure(ctx, tokens.ES256)
	}
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := limits.New(limits.Config{})
	if err != nil {
		t.Fatal(err)
	}
	registry, err := keys.New(keys.Config{Store: store, Relay: relay, Limiter: limiter, Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))}, CheckpointKey: keystest.CheckpointKey,
		SigningRing: authz.SigningRing(ring, nil), ProviderDomains: domains(providers)})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, origin: origin, store: store, registry: registry, relay: relay, ring: ring, log: buffer, check: func() (*tokens.Claims, error) { return nil, tokens.ErrMalformed }}
	check := func(string) (*tokens.Claims, error) { return s.check() }
	select {
	case <-relay.Revocations().Ready():
	case <-t.Context().Done():
	}
	p, err := parse(Config{Issuer: s.origin, Registry: registry, Relay: relay.Relay, Ring: ring, Check: check, Logger: logger, Providers: providers,
		Throttle: web.NewThrottle(limiter),
		Health:   func(context.Context) []authz.Check { return s.health }})
	s.must(err)
	s.must(p.speak(marked(p.faces["en"].catalogue)))
	handler, err := p.routes()
	s.must(err)
	server.Config.Handler = web.Log(logger, handler)
	server.Start()
	t.Cleanup(server.Close)
	_, err = registry.PutResource(t.Context(), tester, keys.Resource{Audience: "https://api.example.com", Name: "API", Scopes: []keys.Scope{{Name: "alerts:read"}, {Name: "alerts:write"}}})
	s.must(err)
	return s
}

func domains(providers []Provider) (list []string) {
	for _, q := range providers {
		list = append(list, q.Domains...)
	}
	return list
}

// newAcme is a site with the organisation acme, whose owner is ann.
func newAcme(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.organization("acme", "Professional")
	s.memberOf("acme", "ann", keys.Owner)
	return s
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// login authenticates as the token endpoint does.
func (s *site) login(clientID, secret string) error {
	record, err := s.registry.Record(s.t.Context(), clientID, "")
	s.must(err)
	parsed, err := keys.ParseSecret(secret)
	if err == nil {
		_, err = s.registry.Authenticate(record, parsed, time.Now())
	}
	return err
}

func (s *site) organization(id, plan string) {
	s.t.Helper()
	_, err := s.registry.CreateOrganization(s.t.Context(), tester, keys.Organization{ID: id, Name: "Org " + id, Plan: plan})
	s.must(err)
}

func (s *site) memberOf(org, name string, role keys.Role) keys.Member {
	s.t.Helper()
	m, err := s.registry.AddMember(s.t.Context(), tester, keys.Member{ID: "mem_" + org + "_" + name, OrganizationID: org, Name: name, Email: name + "@example.com", Role: role,
		AcceptedAt: time.Now()})
	s.must(err)
	return m
}

func (s *site) key(org, name, owner string) keys.Key {
	s.t.Helper()
	c, err := s.registry.Create(s.t.Context(), tester, org, keys.NewKey{Name: name, OwnerID: owner, Access: keys.Access{Scopes: []string{"alerts:read"}}})
	s.must(err)
	return c.Key
}

func (s *site) link(email string) string {
	s.t.Helper()
	token, _, err := s.registry.NewLink(s.t.Context(), tester, email, "")
	var account *keys.AccountError
	if errors.As(err, &account) {
		token, _, err = s.registry.NewResetLink(s.t.Context(), tester, email, account.Opens)
	}
	s.must(err)
	return "/panel/link/" + token
}

const password = "correct horse battery staple"

// signedIn returns a browser in which somebody chose a password.
func (s *site) signedIn(email string) *browser {
	s.t.Helper()
	b := newBrowser(s.t, s.origin)
	b.open(s.link(email))
	b.goes(chromedp.SendKeys("#password", password), chromedp.SendKeys("#again", password+kb.Enter))
	return b
}

// post sends a form as the browser with a session would.
func (s *site) post(path, session, site string, form url.Values) *http.Response {
	s.t.Helper()
	r, err := http.NewRequest("POST", s.origin+path, strings.NewReader(form.Encode()))
	s.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", site)
	if session != "" {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: session})
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	s.must(err)
	s.t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// session is one of somebody who chose a password.
func (s *site) session(email string) string {
	s.t.Helper()
	return sessionOf(s.post(s.link(email), "", "same-origin", url.Values{"password": {password}, "again": {password}})).Value
}

// aged gives a browser a session that began a while ago.
func (s *site) aged(b *browser, email string, age time.Duration) string {
	s.t.Helper()
	token := strings.Repeat("A", 40) + "AAE"
	hash := sha256.Sum256([]byte(token))
	account, err := s.store.Account(s.t.Context(), email)
	s.must(err)
	s.must(s.store.AddWebSession(s.t.Context(), keys.WebSession{Hash: hash[:], Email: email, CreatedAt: time.Now().Add(-age), ProvedAt: time.Now().Add(-age), SeenAt: time.Now()}, account.Password))
	b.enter(token)
	return token
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return unmarked.Replace(string(data))
}

// secretIn is the secret that a page shows.
func secretIn(t *testing.T, page string) string {
	t.Helper()
	found := regexp.MustCompile(`id="client-secret">([^<]+)<`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("no secret in %s", page)
	}
	return found[1]
}

func sessionOf(r *http.Response) *http.Cookie {
	for _, c := range r.Cookies() {
		if c.Name == cookieName {
			return c
		}
	}
	return nil
}

// get returns the status and the text of a page.
func (s *site) get(path, session string) (int, string) {
	s.t.Helper()
	r, err := http.NewRequest("GET", s.origin+path, nil)
	s.must(err)
	r.AddCookie(&http.Cookie{Name: cookieName, Value: session})
	answer, err := http.DefaultTransport.RoundTrip(r)
	s.must(err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	s.must(err)
	return answer.StatusCode, unmarked.Replace(string(body))
}

// TestBrowserNoticesTrouble: what would fail every other test here is noticed.
func TestBrowserNoticesTrouble(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := newBrowser(t, s.origin)
	b.open("/panel/sign-in")
	for expression, want := range map[string]string{
		`document.body.append(Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:9/'})); 0`:                            "Content Security Policy",
		`try { document.querySelector('h1').innerHTML = '<b>x</b>' } catch {}; document.head.append(document.createElement('style')); 0`: "TrustedHTML",
		`setTimeout(() => { throw new Error('thrown') }); 0`:                                                                             "Uncaught",
		`console.error('said'); 0`: "console.error",
	} {
		if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](expression)); err != nil {
			t.Fatal(err)
		}
		b.noticed(want)
	}
	b.do(chromedp.RemoveAttribute("label", "for"))
	if found := b.violations(); len(found) == 0 {
		t.Error("axe says nothing of a field without a label")
	}
}

// TestFirstSignIn: a link, a password, the list, out, and in again, with the mouse;
// every page and state on the way is accessible.
func TestFirstSignIn(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	link := s.link("Ann@example.com")
	b := newBrowser(t, s.origin)

	b.open(link)
	b.accessible("link")
	b.do(chromedp.SendKeys("#password", password), chromedp.SendKeys("#again", "correct horse battery stapler"))
	if status := b.goes(chromedp.Click("main button")); status != 422 {
		t.Errorf("status %d", status)
	}
	b.says("The two passwords are not the same.")
	b.accessible("link-problem")
	b.do(chromedp.SendKeys("#password", password), chromedp.SendKeys("#again", password))
	b.goes(chromedp.Click("main button"))
	b.says("No keys yet", "0 of 5 active keys · Professional", "ann", "Org acme")
	if at := b.at(); at != "/panel/o/acme/keys" {
		t.Error(at)
	}
	b.accessible("keys-empty")
	b.goes(chromedp.Click("header button"))
	if at := b.at(); at != "/panel/sign-in" {
		t.Error(at)
	}
	b.accessible("sign-in")
	if status := b.open(link); status != 404 {
		t.Errorf("a used link: %d", status)
	}
	b.accessible("link-used")
	b.goes(chromedp.Click("main a.button"))
	b.do(chromedp.SendKeys("#email", "ann@example.com"), chromedp.SendKeys("#password", "correct horse battery stapler"))
	if status := b.goes(chromedp.Click("main button")); status != 401 {
		t.Errorf("status %d", status)
	}
	b.says("The address or the password is wrong.")
	b.accessible("sign-in-wrong")
	b.do(chromedp.SendKeys("#password", password))
	b.goes(chromedp.Click("main button"))
	b.says("No keys yet")
}

// TestByKeyboardAlone: the same story without a mouse.
func TestByKeyboardAlone(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.key("acme", "CI/CD Pipeline", "mem_acme_ann")
	s.key("acme", "Reports", "mem_acme_ann")
	b := newBrowser(t, s.origin)
	b.open(s.link("ann@example.com"))
	b.do(chromedp.WaitReady("#password:focus"), chromedp.KeyEvent(password+kb.Tab+password))
	b.goes(chromedp.KeyEvent(kb.Enter))
	b.says("2 of 5 active keys")
	for _, want := range []string{"Skip to the content", "Imara", "API keys", "Plan", "Sign out", "Create key", "q", "Search"} {
		b.tabTo(want)
	}
	b.shortcut("/")
	if got := b.focused(); got != "q" {
		t.Errorf("/ leads to %q", got)
	}
	b.goes(chromedp.KeyEvent("pipe"), chromedp.KeyEvent(kb.Enter))
	b.says("CI/CD Pipeline")
	if _, page := s.get(b.at(), b.cookie()); strings.Contains(page, "Reports") {
		t.Error("the search finds everything")
	}
	b.tabTo("Sign out")
	b.goes(chromedp.KeyEvent(kb.Enter))
	b.says("Sign in")
}

// TestWithoutJavaScript: the story needs none.
func TestWithoutJavaScript(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.key("acme", "CI/CD Pipeline", "mem_acme_ann")
	b := newBrowser(t, s.origin)
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.must(err)
	b.open(s.link("ann@example.com"))
	b.do(chromedp.WaitReady("#password:focus"), chromedp.KeyEvent(password+kb.Tab+password))
	b.goes(chromedp.KeyEvent(kb.Enter))
	if status, page := s.get("/panel/o/acme/keys?q=nothing", b.cookie()); status != 200 || !strings.Contains(page, "Nothing matches") {
		t.Errorf("%d %s", status, page)
	}
}

// TestListSaysWhatIs: each state of the list in its words, accessible.
func TestListSaysWhatIs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.organization("acme", "Professional")
	s.organization("free", "Free")
	s.organization("over", "Enterprise")
	s.organization("full", "Professional")
	for _, org := range []string{"acme", "free", "over", "full"} {
		s.memberOf(org, "ann", keys.Owner)
		s.memberOf(org, "bea", keys.Auditor)
	}
	for _, name := range []string{"One", "Two", "Three", "Four", "Five", "Six", "Seven"} {
		s.key("over", name, "mem_over_ann")
	}
	for _, name := range []string{"One", "Two", "Three", "Four", "Five"} {
		s.key("full", name, "mem_full_ann")
	}
	_, _, err := s.registry.SetPlan(t.Context(), tester, "over", "Professional", "")
	s.must(err)
	ci := s.key("acme", "CI/CD Pipeline", "mem_acme_ann")
	_, err = s.registry.Rotate(t.Context(), tester, "acme", ci.ID, keys.DefaultOverlap)
	s.must(err)
	old := s.key("acme", "Old dashboard", "mem_acme_ann")
	_, _, err = s.registry.Revoke(t.Context(), tester, "acme", old.ID, "unused")
	s.must(err)
	paused := s.key("acme", "Paused", "")
	_, _, err = s.registry.Suspend(t.Context(), tester, "acme", paused.ID, "incident")
	s.must(err)

	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys")
	b.says("2 of 5 active keys · Professional", "CI/CD Pipeline", "Rotating", "Suspended", ci.ClientID, "alerts:read", "never", "Revoked and expired (1)")
	b.accessible("keys")
	b.do(chromedp.Click(".gone summary"))
	b.says("Old dashboard", "Revoked")
	b.accessible("keys-revoked")
	b.open("/panel/o/acme/keys?q=expor")
	b.says("Nothing matches “expor”.")
	b.accessible("keys-nothing")
	b.open("/panel/o/free/keys")
	b.says("API access starts with Starter")
	b.accessible("keys-free")
	b.open("/panel/o/over/keys")
	b.says("7 active keys on a plan for 5. They keep working; you can create new ones after revoking 3.")
	b.accessible("keys-over")
	b.open("/panel/o/full/keys")
	b.says("5 of 5 active keys", "No key is left. Revoke one")
	if status := b.open("/panel/o/nowhere/keys"); status != 404 {
		t.Errorf("status %d", status)
	}
	b.says("There is nothing here", "Reference")
	b.accessible("not-found")

	auditor := s.signedIn("bea@example.com")
	auditor.open("/panel/o/acme/keys")
	auditor.says("Only admins create keys here. Ask: ann")
	auditor.accessible("keys-read-only")
}

// inUse is a key that was used a moment ago.
func (s *site) inUse(org, name, owner string) keys.Key {
	s.t.Helper()
	k := s.key(org, name, owner)
	now := time.Now()
	s.must(s.registry.AddUsage(s.t.Context(), keys.Usage{
		Credentials: map[string]keys.Use{k.Credentials[0].ID: {At: now, From: "203.0.113.9"}},
		Scopes:      map[keys.ScopeUse]time.Time{{KeyID: k.ID, Scope: "alerts:read"}: now}}))
	return k
}

// TestRevokeByMouse: what it will do, the name of a key in use, the reason, and then
// the receipt, which stays.
func TestRevokeByMouse(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	k := s.inUse("acme", "CI/CD Pipeline", "mem_acme_ann")
	b := s.signedIn("ann@example.com")
	b.goes(chromedp.Click("tbody a"))
	b.says("CI/CD Pipeline", k.ClientID, "Active", "just now from 203.0.113.9", "…"+k.Credentials[0].Hint, "everywhere")
	b.accessible("key")
	b.do(chromedp.Click("main a.danger"))
	b.until(`document.querySelector('dialog').open`)
	b.says("Revoke “CI/CD Pipeline”?", "cannot be undone", "0 of 5 keys afterwards", "It is in use.", "the 1 verifier that follows")
	if got := b.focused(); got != "Keep key" {
		t.Errorf("the focus is on %q", got)
	}
	b.accessible("revoke-dialog")
	b.do(chromedp.Click("dialog .buttons a"))
	b.until(`!document.querySelector('dialog').open`)
	b.open("/panel/o/acme/keys/" + k.ID + "/revoke")
	b.accessible("revoke")
	b.goes(chromedp.Click(".buttons a"))
	if at := b.at(); at != "/panel/o/acme/keys/"+k.ID {
		t.Error(at)
	}
	b.do(chromedp.Click("main a.danger"))
	b.do(chromedp.Click(`input[value="may be exposed"]`), chromedp.SendKeys("#revoke-name", "CI/CD"))
	if status := b.goes(chromedp.Click("button.danger")); status != 422 {
		t.Errorf("status %d", status)
	}
	b.says("That is not its name. Nothing was revoked.")
	b.accessible("revoke-problem")
	b.do(chromedp.SendKeys("#revoke-name", "ci/cd pipeline"))
	b.goes(chromedp.Click("button.danger"))
	b.says("Revoked", "1 of 1 verifiers confirmed in 0.", "ann", "may be exposed", "authorization server · confirmed", "what it did itself")
	b.accessible("key-revoked")
	key, err := s.registry.Key(t.Context(), "acme", k.ID)
	if err != nil || key.RevokedReason != "may be exposed" {
		t.Errorf("%+v, %v", key, err)
	}
	events, err := s.registry.Events(t.Context(), "acme", keys.EventPage{Action: "key.revoke"})
	if err != nil || len(events) != 1 || events[0].MemberID != "mem_acme_ann" || events[0].RequestID == "" || events[0].Address != "127.0.0.1" {
		t.Errorf("%+v, %v", events, err)
	}
	b.open("/panel/o/acme/keys/" + k.ID + "/revoke")
	b.says("confirmed in 0.")
}

// TestRevokeByKeyboard: the same with the keyboard alone, and Enter keeps the key.
func TestRevokeByKeyboard(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	k := s.key("acme", "Old dashboard", "mem_acme_ann")
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/" + k.ID + "/revoke")
	b.says("It has never been used.")
	b.do(chromedp.WaitReady("a:focus"))
	b.goes(chromedp.KeyEvent(kb.Enter))
	if key, err := s.registry.Key(t.Context(), "acme", k.ID); err != nil || !key.RevokedAt.IsZero() {
		t.Errorf("%v %v", key.RevokedAt, err)
	}
	b.tabTo("Revoke…")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until(`document.querySelector('dialog').open`)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until(`!document.querySelector('dialog').open`)
	if got := b.focused(); got != "Revoke…" {
		t.Errorf("after Escape the focus is on %q", got)
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until(`document.activeElement.matches('[data-close]')`)
	b.do(chromedp.Focus("#revoke-other"), chromedp.KeyEvent("cleaned up"), chromedp.KeyEvent(kb.Tab+kb.Tab))
	if got := b.focused(); got != "Revoke key" {
		t.Errorf("the focus is on %q", got)
	}
	b.goes(chromedp.KeyEvent(kb.Enter))
	b.says("verifiers confirmed", "cleaned up")
}

// TestTheReceiptAsItHappens: while a revocation waits for a silent verifier, the page says
// who has confirmed and who has not, and until when at the latest; then it has the receipt.
func TestTheReceiptAsItHappens(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	k := s.key("acme", "Old dashboard", "mem_acme_ann")
	for name, stale := range map[string]time.Duration{"eu-west-2": 0, "reports": 8 * time.Second} {
		s.must(s.store.Join(t.Context(), keys.Session{ID: "ver_" + name, Name: name, Via: "elsewhere", Lease: 6 * time.Second, AcceptStale: stale, JoinedAt: time.Now()}, nil))
	}
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/" + k.ID + "/revoke")
	b.says("the 3 verifiers that follow", "reports may go on accepting for 8 seconds")
	b.do(chromedp.Click("button.danger"))
	b.until(`['authorization server · confirmed', 'eu-west-2 · silent; it accepts nothing from', 'reports · silent; its owner lets it accept until'].every(text => document.querySelector('div.reach').textContent.replaceAll(/[\u200b\u200c]/g, '').includes(text))`)
	b.until(`location.pathname.endsWith('` + k.ID + `') && document.querySelector('#receipt')`)
	b.says("1 of 3 verifiers confirmed in ", "some may go on accepting", "eu-west-2 · silent")
	b.accessible("key-revoked-silent")
	if status, page := s.get("/panel/o/acme/keys/"+k.ID+"/reach", b.cookie()); status != 200 || !strings.Contains(page, `,"confirmed":true`) {
		t.Errorf("%d %s", status, page)
	}
}

// TestPageThatDidNotWaitLongEnoughSaysSo: a verifier is silent for longer than a page waits.
// The page says until when at the latest, and whoever asks again gets the receipt.
func TestPageThatDidNotWaitLongEnoughSaysSo(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	k := s.key("acme", "Old dashboard", "mem_acme_ann")
	s.must(s.store.Join(t.Context(), keys.Session{ID: "ver_silent", Name: "eu-west-2", Via: "elsewhere",
		Lease: authz.ReceiptWait + time.Second, JoinedAt: time.Now()}, nil))
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/" + k.ID + "/revoke")
	b.goes(chromedp.Click("button.danger"))
	b.says("A verifier is silent; none accepts a token of this key from", "eu-west-2 · silent; it accepts nothing from")
	b.accessible("key-unconfirmed")
	b.goes(chromedp.Click("section button"))
	b.says("1 of 2 verifiers confirmed in 1", "The others were silent until their leases had ended")
}

// TestThePanelForbidsWhatTheDomainForbids: a key of another organisation is not there,
// and whose role may not revoke finds no button and is refused.
func TestThePanelForbidsWhatTheDomainForbids(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, org := range []string{"acme", "other"} {
		s.organization(org, "Professional")
		s.memberOf(org, "zoe", keys.Owner)
	}
	foreign := s.key("other", "Theirs", "mem_other_zoe")
	for role, may := range map[keys.Role]bool{keys.Owner: true, keys.Admin: true, keys.Developer: false, keys.Auditor: false, keys.Billing: false} {
		s.memberOf("acme", string(role), role)
		k := s.key("acme", "Of another for "+string(role), "mem_acme_zoe")
		form := url.Values{"password": {password}, "again": {password}}
		session := sessionOf(s.post(s.link(string(role)+"@example.com"), "", "same-origin", form)).Value
		path := "/panel/o/acme/keys/" + k.ID
		status, page := s.get(path, session)
		if want := map[bool]int{true: 200, false: 403}[role != keys.Billing]; status != want || strings.Contains(page, "Revoke…") != may {
			t.Errorf("%s: %d %s", role, status, page)
		}
		if ask, _ := s.get(path+"/revoke", session); (ask == 200) != may || !may && ask != 403 {
			t.Errorf("%s asks: %d", role, ask)
		}
		answer := s.post(path+"/revoke", session, "same-origin", url.Values{"reason": {"unused"}})
		key, err := s.registry.Key(t.Context(), "acme", k.ID)
		if err != nil || key.RevokedAt.IsZero() == may || !may && answer.StatusCode != 403 {
			t.Errorf("%s: %d, revoked %v, %v", role, answer.StatusCode, key.RevokedAt, err)
		}
		for _, path := range []string{"/panel/o/acme/keys/" + foreign.ID, "/panel/o/other/keys/" + foreign.ID, "/panel/o/acme/keys/nothing"} {
			for _, suffix := range []string{"", "/revoke"} {
				if status, _ := s.get(path+suffix, session); status != 404 && role != keys.Billing {
					t.Errorf("%s %s: %d", role, path+suffix, status)
				}
			}
			if answer := s.post(path+"/revoke", session, "same-origin", nil); answer.StatusCode < 400 {
				t.Errorf("%s revokes %s: %d", role, path, answer.StatusCode)
			}
		}
		if role == keys.Developer {
			own := s.key("acme", "Own", "mem_acme_developer")
			if answer := s.post("/panel/o/acme/keys/"+own.ID+"/revoke", session, "same-origin", url.Values{"other": {"mine"}}); answer.StatusCode != 303 {
				t.Errorf("own: %d", answer.StatusCode)
			}
		}
	}
	if key, err := s.registry.Key(t.Context(), "other", foreign.ID); err != nil || !key.RevokedAt.IsZero() {
		t.Errorf("%v %v", key.RevokedAt, err)
	}
}

// TestStoredMarkupStaysText: markup in everything that can be stored or sent is text on
// every page that shows it.
func TestStoredMarkupStaysText(t *testing.T) {
	const markup = `"><svg onload=alert(1)>{{.}}<script>alert(1)</script>`
	s := newSite(t)
	ctx := t.Context()
	for _, o := range []keys.Organization{{ID: "acme", Name: markup, Plan: "Professional"}, {ID: keys.OperatorOrganization, Name: markup, Plan: "Enterprise", Operator: true}} {
		_, err := s.registry.CreateOrganization(ctx, tester, o)
		s.must(err)
	}
	for _, m := range []keys.Member{{ID: "mem", OrganizationID: "acme", Role: keys.Owner}, {ID: "op", OrganizationID: keys.OperatorOrganization, Role: keys.Staff}} {
		m.Name, m.Email, m.AcceptedAt = markup, "ann@example.com", time.Now()
		_, err := s.registry.AddMember(ctx, tester, m)
		s.must(err)
	}
	ann := keys.Actor{ClientID: "panel", MemberID: "mem", Role: keys.Owner}
	resource, err := s.registry.PutResource(ctx, tester, keys.Resource{Audience: "https://other.example.com", Name: markup,
		Scopes: []keys.Scope{{Name: "<svg/onload=alert(1)>", Description: markup, Group: markup}, {Name: "<svg/onload=alert(2)>", Group: markup}}})
	s.must(err)
	_, err = s.registry.PutPreset(ctx, tester, keys.Preset{Name: markup, Description: markup, Scopes: []string{"<svg/onload=alert(1)>"}})
	s.must(err)
	_, err = s.registry.RequestLimit(ctx, ann, "acme", 7, markup)
	s.must(err)
	var list []keys.Key
	for _, name := range []string{markup, markup + " revoked"} {
		c, err := s.registry.Create(ctx, ann, "acme", keys.NewKey{Name: name, Description: markup, OwnerID: "mem", Access: keys.Access{Scopes: []string{"<svg/onload=alert(1)>"}}})
		s.must(err)
		s.must(s.registry.AddUsage(ctx, keys.Usage{
			Credentials: map[string]keys.Use{c.Key.Credentials[0].ID: {At: time.Now(), From: markup}},
			Attempts:    map[keys.Attempt]keys.Tries{{KeyID: c.Key.ID, Outcome: keys.RefusedScope, Address: markup}: {Count: 1, Last: time.Now()}}}))
		list = append(list, c.Key)
	}
	_, _, err = s.registry.Revoke(ctx, ann, "acme", list[1].ID, markup)
	s.must(err)
	s.must(s.store.Join(ctx, keys.Session{ID: "ver_markup", Name: markup, Via: "elsewhere", Lease: time.Second, JoinedAt: list[0].CreatedAt}, nil))
	s.health = []authz.Check{{Name: "store", Err: errors.New(markup)}}
	session := s.session("ann@example.com")
	report, err := http.NewRequest("POST", s.origin+"/panel/csp-report", strings.NewReader(`{"csp-report":{"effective-directive":"<svg onload=alert(1)>","blocked-uri":"<svg onload=alert(1)>","document-uri":"/<svg onload=alert(1)>"}}`))
	s.must(err)
	report.Header.Set("Content-Type", "application/csp-report")
	answer, err := http.DefaultTransport.RoundTrip(report)
	s.must(err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		t.Errorf("the report: %d", answer.StatusCode)
	}

	b := newBrowser(t, s.origin)
	b.enter(session)
	key := "/panel/o/acme/keys/" + list[0].ID
	for _, path := range []string{"/panel/", "/panel/o/acme/keys", "/panel/o/acme/keys?q=" + url.QueryEscape(`"><svg`), "/panel/o/acme/keys/new", key, key + "/edit", key + "/rotate", key + "/revoke",
		"/panel/o/acme/keys/" + list[1].ID, "/panel/o/acme/keys/review", "/panel/o/acme/keys/usage", "/panel/o/acme/members", "/panel/o/acme/members/mem/remove", "/panel/o/acme/audit?target=" + url.QueryEscape(markup),
		"/panel/o/acme/policy", "/panel/o/acme/plan", "/panel/o/acme/token", "/panel/admin/orgs", "/panel/admin/orgs/acme", "/panel/admin/resources", "/panel/admin/resources/" + resource.ID,
		"/panel/admin/presets", "/panel/admin/signing-keys", "/panel/admin/verifiers", "/panel/admin/health"} {
		if status := b.open(path); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
		b.says("onload=alert(1)")
		if n, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](`document.querySelectorAll("[onload], script:not([src])").length`)); err != nil || n != 0 {
			t.Errorf("%s: %d elements, %v", path, n, err)
		}
	}
}

// TestSessionsEnd: with the membership, with another password, with the sign-out,
// and by themselves.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, org := range []string{"acme", "other"} {
		s.organization(org, "Professional")
		s.memberOf(org, "zoe", keys.Owner)
		s.memberOf(org, "ann", keys.Admin)
	}
	choose := func() string {
		t.Helper()
		answer := s.post(s.link("ann@example.com"), "", "same-origin", url.Values{"password": {password}, "again": {password}})
		c := sessionOf(answer)
		if answer.StatusCode != 303 || c == nil || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 0 {
			t.Fatalf("%d %v", answer.StatusCode, c)
		}
		return c.Value
	}
	wants := func(name, session, org string, want int) {
		t.Helper()
		if status, _ := s.get("/panel/o/"+org+"/keys", session); status != want {
			t.Errorf("%s: %d, want %d", name, status, want)
		}
	}
	first := choose()
	wants("signed in", first, "acme", 200)
	wants("a session that never was", "AAAA", "acme", 303)
	_, err := s.registry.RemoveMember(t.Context(), tester, "acme", "mem_acme_ann", "")
	s.must(err)
	wants("no member any more", first, "acme", 404)
	wants("still a member", first, "other", 200)
	second := choose()
	wants("before the new password", first, "other", 303)
	wants("after it", second, "other", 200)
	third := sessionOf(s.post("/panel/sign-in", "", "same-origin", url.Values{"email": {"ann@example.com"}, "password": {password}})).Value
	s.post("/panel/sign-out", second, "same-origin", nil)
	wants("signed out", second, "other", 303)
	wants("another browser", third, "other", 200)
	_, err = s.registry.RemoveMember(t.Context(), tester, "other", "mem_other_ann", "")
	s.must(err)
	if status, page := s.get("/panel/", third); status != 200 || !strings.Contains(page, "You are in no organisation any more") {
		t.Errorf("%d %s", status, page)
	}
}

// TestHomeLetsChoose: who is in several organisations chooses, and a role that sees no
// keys is told so.
func TestHomeLetsChoose(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, org := range []string{"acme", "other"} {
		s.organization(org, "Professional")
		s.memberOf(org, "zoe", keys.Owner)
	}
	s.memberOf("acme", "ann", keys.Billing)
	b := s.signedIn("ann@example.com")
	b.says("Org acme", "Plan")
	if at := b.at(); at != "/panel/o/acme/plan" {
		t.Error(at)
	}
	s.memberOf("other", "ann", keys.Developer)
	b.open("/panel/")
	b.says("Org acme", "Your role sees the plan here, and no keys.")
	b.accessible("home")
	b.goes(chromedp.Click(`main li a[href$="/keys"]`))
	b.says("No keys yet", "Org other")
}

// TestBadFormsAreRefused: a body that is too large, or no form, is not an empty form.
func TestBadFormsAreRefused(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	link := s.link("ann@example.com")
	for _, path := range []string{"/panel/sign-in", link} {
		for name, row := range map[string]struct{ kind, body string }{
			"large":  {"application/x-www-form-urlencoded", "password=" + url.QueryEscape(password) + "&again=" + url.QueryEscape(password) + "&x=" + strings.Repeat("x", maxForm)},
			"broken": {"application/x-www-form-urlencoded", "password=%zz"},
			"JSON":   {"application/json", `{"password":"x"}`},
			"none":   {"", ""},
		} {
			r, err := http.NewRequest("POST", s.origin+path, strings.NewReader(row.body))
			s.must(err)
			r.Header.Set("Content-Type", row.kind)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			answer, err := http.DefaultTransport.RoundTrip(r)
			s.must(err)
			answer.Body.Close()
			if answer.StatusCode != 400 {
				t.Errorf("%s %s: %d", name, path, answer.StatusCode)
			}
		}
	}
	if status, _ := s.get(link, ""); status != 200 {
		t.Errorf("the link: %d", status)
	}
	for path, want := range map[string]int{"/panel/assets/": 404, "/panel/assets/panel.css": 200, "/panel/nothing": 404} {
		if status, _ := s.get(path, ""); status != want {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// TestForeignPagesCannotPost: a form on another site, or of a sibling of this one,
// changes nothing.
func TestForeignPagesCannotPost(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	link := s.link("ann@example.com")
	form := url.Values{"password": {password}, "again": {password}}
	for _, site := range []string{"cross-site", "same-site"} {
		if answer := s.post(link, "", site, form); answer.StatusCode != 403 || sessionOf(answer) != nil {
			t.Errorf("%s: %d", site, answer.StatusCode)
		}
	}
	if answer := s.post(link, "", "same-origin", form); answer.StatusCode != 303 {
		t.Errorf("our own: %d", answer.StatusCode)
	}
}

// TestSignInTellsNothing: a wrong password and an unknown address have one answer,
// and neither password nor session nor link reaches the log.
func TestSignInTellsNothing(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	link := s.link("ann@example.com")
	session := sessionOf(s.post(link, "", "same-origin", url.Values{"password": {password}, "again": {password}})).Value
	var pages []string
	for _, email := range []string{"ann@example.com", "eve@example.com"} {
		answer := s.post("/panel/sign-in", "", "same-origin", url.Values{"email": {email}, "password": {"wrong horse battery staple"}})
		body, err := io.ReadAll(answer.Body)
		s.must(err)
		if answer.StatusCode != 401 || sessionOf(answer) != nil {
			t.Errorf("%s: %d", email, answer.StatusCode)
		}
		pages = append(pages, strings.ReplaceAll(string(body), email, "EMAIL"))
	}
	if pages[0] != pages[1] {
		t.Errorf("%s\n%s", pages[0], pages[1])
	}
	for _, secret := range []string{password, "wrong horse", session, strings.TrimPrefix(link, "/panel/link/")} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	if s.log.String() == "" {
		t.Error("no log")
	}
	for _, weak := range []string{"", "short", "ann@example.com", strings.Repeat("a", 1025)} {
		if answer := s.post(s.link("ann@example.com"), "", "same-origin", url.Values{"password": {weak}, "again": {weak}}); answer.StatusCode != 422 || sessionOf(answer) != nil {
			t.Errorf("%d characters: %d", len(weak), answer.StatusCode)
		}
	}
}

// TestTimesInWords are as people say them.
func TestTimesInWords(t *testing.T) {
	c, err := readCatalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for d, want := range map[time.Duration]string{0: "just now", -time.Minute: "1 minute ago", -2 * time.Minute: "2 minutes ago", -25 * time.Hour: "1 day ago", 3 * time.Hour: "in 3 hours"} {
		if got, err := c.ago(now, now.Add(d)); err != nil || got != want {
			t.Errorf("%v: %q, %v", d, got, err)
		}
	}
}
