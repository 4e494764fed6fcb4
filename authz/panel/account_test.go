package panel

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/imara/apikeys/keys"
)

// fast makes a browser's long timers short.
func (b *browser) fast() {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: `{ const wait = setTimeout; window.setTimeout = (f, ms, ...rest) => wait(f, ms > 60000 ? ms / 10000 : ms, ...rest); }`})
	b.must(err)
}

// TestASessionThatEndsSaysSo: before it does, and goes on when somebody is there.
func TestASessionThatEndsSaysSo(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := newBrowser(t, s.origin)
	b.enter(s.session("ann@example.com"))
	b.fast()
	b.open("/panel/account")
	b.do(chromedp.WaitVisible(".ending button"))
	b.says("You are signed out in two minutes.")
	b.accessible("session-ending")
	b.do(chromedp.Click(".ending button"), chromedp.WaitNotVisible(".ending button"), chromedp.WaitVisible(".ending button"))
	session := b.cookie()
	s.must(s.registry.EndSession(t.Context(), session))
	if status := b.goes(chromedp.Click(".ending button")); status != 200 {
		t.Errorf("%d", status)
	}
	if at := b.at(); at != "/panel/sign-in?next=%2Fpanel%2Faccount" {
		t.Errorf("a session that had ended: %s", at)
	}
}

// TestOfflineSaysSo, and no more when it is over.
func TestOfflineSaysSo(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := newBrowser(t, s.origin)
	b.enter(s.session("ann@example.com"))
	b.open("/panel/account")
	offline := func(is bool) {
		t.Helper()
		_, err := chromedp.Call(b.ctx, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: is, DownloadThroughput: -1, UploadThroughput: -1})
		b.must(err)
	}
	offline(true)
	b.until(`document.querySelector('.offline').textContent`)
	b.says("You are offline.")
	b.accessible("offline")
	offline(false)
	b.until(`!document.querySelector('.offline').textContent`)
}

// TestWrongPasswordsBecomeSlow: the sixth has to wait, is told for how long, and sees the
// time run down; the step-up and the change of a password count as well.
func TestWrongPasswordsBecomeSlow(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	session := s.session("ann@example.com")
	wrong := func(path string, form url.Values) *http.Response {
		form.Set("email", "ann@example.com")
		return s.post(path, session, "same-origin", form)
	}
	for range 5 {
		if answer := wrong("/panel/account/password", url.Values{"old": {"wrong"}, "password": {password}, "again": {password}}); answer.StatusCode != 401 {
			t.Fatalf("%d", answer.StatusCode)
		}
	}
	b := newBrowser(t, s.origin)
	b.enter(session)
	b.open("/panel/account")
	b.do(chromedp.SendKeys("#old", "wrong"), chromedp.SendKeys("#password", password), chromedp.SendKeys("#again", password))
	b.goes(chromedp.Click("button.main"))
	for status := int64(0); status != 429; { // each is slower than a second
		b.do(chromedp.SendKeys("#old", "wrong"), chromedp.SendKeys("#password", password), chromedp.SendKeys("#again", password))
		status = b.goes(chromedp.Click("button.main"))
	}
	b.says("Too many tries. Wait ")
	b.accessible("account-wait")
	b.until(`document.querySelector('#problem').hidden`)
	answer := s.post("/panel/sign-in", "", "same-origin", url.Values{"email": {"ann@example.com"}, "password": {"wrong"}})
	for answer.StatusCode != 429 {
		answer = s.post("/panel/sign-in", "", "same-origin", url.Values{"email": {"ann@example.com"}, "password": {"wrong"}})
	}
	if answer.Header.Get("Retry-After") == "" {
		t.Error("nobody says when to come again")
	}
}

// TestNobodyElseIsInTheWay: who guesses a password from where everybody comes from, behind
// one proxy, keeps nobody from proving it in a session of their own.
func TestNobodyElseIsInTheWay(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := newBrowser(t, s.origin)
	b.enter(s.session("ann@example.com"))
	session := s.aged(b, "ann@example.com", time.Hour)
	for {
		if s.post("/panel/sign-in", "", "same-origin", url.Values{"email": {"ann@example.com"}, "password": {"a guess"}}).StatusCode == 429 {
			break
		}
	}
	answer := s.post("/panel/o/acme/members", session, "same-origin", url.Values{"name": {"Bob"}, "email": {"bob@example.com"}, "role": {"developer"}, confirmField: {password}})
	if answer.StatusCode != 303 {
		t.Errorf("proved in a session: %d", answer.StatusCode)
	}
}

// TestARefusedPasswordLeavesNothing: no link, no event, and the old password.
func TestARefusedPasswordLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	session := s.session("ann@example.com")
	count := func() int {
		events, err := s.registry.Events(t.Context(), "", keys.EventPage{Action: "account.link"})
		s.must(err)
		return len(events)
	}
	before := count()
	for _, weak := range []string{"short", "ann@example.com!!", "123456789012345678"} {
		answer := s.post("/panel/account/password", session, "same-origin", url.Values{"old": {password}, "password": {weak}, "again": {weak}})
		if page := body(t, answer); answer.StatusCode != 422 || !strings.Contains(page, "that nobody would guess") {
			t.Errorf("%q: %d %s", weak, answer.StatusCode, page)
		}
	}
	if n := count() - before; n != 0 {
		t.Errorf("%d links", n)
	}
	if status, _ := s.get("/panel/account", session); status != 200 {
		t.Errorf("the session: %d", status)
	}
}

// TestFormsAreSentOnce: a second click does not lose the answer to the first.
func TestFormsAreSentOnce(t *testing.T) {
	s, link := newUnowned(t)
	b := newBrowser(t, s.origin)
	b.open(link)
	b.do(chromedp.SendKeys("#organization", "Acme"), chromedp.SendKeys("#name", "Ann"), chromedp.SendKeys("#email", "ann@example.com"), chromedp.SendKeys("#password", password), chromedp.SendKeys("#again", password))
	if status := b.goes(chromedp.Evaluate[chromedp.Void](`(() => { const button = document.querySelector('main button'); button.click(); setTimeout(() => button.click(), 20); })()`)); status != 200 {
		t.Errorf("%d", status)
	}
	b.says("First operator", "Waiting for the first token request")
}

// TestABrowserThatSignedInBeforeIsNotKeptOut: whoever guesses a password from where its owner
// comes from is told to wait, and so is a new browser there; the owner's own is not. What it
// keeps lets nobody in, and is another's with another account.
func TestABrowserThatSignedInBeforeIsNotKeptOut(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.session("ann@example.com")
	signIn := func(password, device string) *http.Response {
		form := url.Values{"email": {"ann@example.com"}, "password": {password}}
		r, err := http.NewRequest("POST", s.origin+"/panel/sign-in", strings.NewReader(form.Encode()))
		s.must(err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if device != "" {
			r.Header.Set("Cookie", deviceCookie+"="+device)
		}
		answer, err := http.DefaultTransport.RoundTrip(r)
		s.must(err)
		t.Cleanup(func() { answer.Body.Close() })
		return answer
	}
	device := ""
	for _, c := range signIn(password, "").Cookies() {
		if c.Name == deviceCookie {
			device = c.Value
			if !c.Secure || !c.HttpOnly || c.Path != "/" || c.SameSite != http.SameSiteLaxMode || c.MaxAge <= 0 {
				t.Errorf("%+v", c)
			}
		}
	}
	for range 50 {
		if signIn("a guess", "").StatusCode == 429 {
			break
		}
	}
	for name, row := range map[string]struct {
		password, device string
		want             int
	}{
		"the owner's browser":         {password, device, 303},
		"the owner, mistyped":         {"mistyped", device, 401},
		"a new browser":               {password, "", 429},
		"what others made":            {password, strings.Repeat("A", len(device)), 429},
		"what belongs to another one": {password, s.registry.Device("bob@example.com"), 429},
	} {
		if got := signIn(row.password, row.device).StatusCode; got != row.want {
			t.Errorf("%s: %d, want %d", name, got, row.want)
		}
	}
	if status, _ := s.get("/panel/account", device); status != 303 {
		t.Error("it lets somebody in")
	}
}

// TestGuessingLinksBecomesSlow: a link that is none is 404, and 429 after a while; one that
// works still does.
func TestGuessingLinksBecomesSlow(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	status := 0
	for i := 0; i < 5000 && status != 429; i++ {
		status, _ = s.get("/panel/link/"+strconv.Itoa(i), "")
		if status != 404 && status != 429 {
			t.Fatal(status)
		}
	}
	if status != 429 {
		t.Errorf("after thousands: %d", status)
	}
	if status, _ := s.get(s.link("ann@example.com"), ""); status != 200 {
		t.Errorf("one that works: %d", status)
	}
}
