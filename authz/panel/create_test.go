package panel

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	cdp "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/imara/apikeys/keys"
)

// text is what an element has, seen or not.
func (b *browser) text(selector string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.TextContent(selector))
	b.must(err)
	return text
}

// until waits for an expression to become true, or a promise of one.
func (b *browser) until(expression string) {
	b.t.Helper()
	_, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](`(async () => { while (!await (`+expression+`)) await new Promise(done => setTimeout(done, 20)); return 1 })()`, chromedp.EvalAwaitPromise))
	b.must(err)
}

// TestCreateByMouse: a preset, a name, the review as it changes, and the secret, which
// is hidden, copied, and seen used; every state on the way is accessible.
func TestCreateByMouse(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	_, err := s.registry.PutPreset(t.Context(), tester, keys.Preset{Name: "CI", Description: "Deploys", Scopes: []string{"alerts:read"}})
	s.must(err)
	b := s.signedIn("ann@example.com")
	b.goes(chromedp.Click("main a.main"))
	b.accessible("create")
	b.goes(chromedp.Click(".presets button"))
	b.says("CI", "In 90 days", "0 of 5 keys are in use", "Preset CI: + 0, − 0", "Scopes chosen: 1 of 2")
	if can := b.text(".can"); !strings.Contains(can, "alerts:read") {
		t.Errorf("can: %q", can)
	}
	b.do(chromedp.Click(`input[value="alerts:read alerts:write"]`))
	if can, cannot := b.text(".can"), b.text(".cannot"); !strings.Contains(can, "alerts:write") || strings.Contains(cannot, "alerts") {
		t.Errorf("can %q, cannot %q", can, cannot)
	}
	b.do(chromedp.SendKeys("#field-name", "CI/CD Pipeline"), chromedp.SendKeys("#field-networks", "203.0.113.300"))
	if status := b.goes(chromedp.Click("button.main")); status != 422 {
		t.Errorf("status %d", status)
	}
	b.says("Nothing was saved yet", "“203.0.113.300” is not a network.")
	b.accessible("create-problem")
	b.do(chromedp.SetValue("#field-networks", "203.0.113.0/24"))
	b.goes(chromedp.Click("button.main"))
	b.says("“CI/CD Pipeline” is ready", "This is the only time", "Waiting for the first token request")
	b.accessible("secret")
	secret := b.text("#client-secret")
	list, err := s.registry.Keys(t.Context(), "acme", keys.Page{})
	if err != nil || len(list) != 1 || list[0].Name != "CI/CD Pipeline" || !slices.Equal(list[0].Scopes, []string{"alerts:read", "alerts:write"}) ||
		list[0].OwnerID != "mem_acme_ann" || len(list[0].Networks) != 1 || time.Until(list[0].ExpiresAt).Round(time.Hour) != 90*24*time.Hour {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := s.login(list[0].ClientID, secret); err != nil {
		t.Errorf("the secret of the page: %v", err)
	}
	// Hidden, and copied without being shown.
	b.says()
	if body, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText")); err != nil || strings.Contains(body, secret) {
		t.Errorf("the secret is to be seen, %v", err)
	}
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		_, err = chromedp.Call(b.ctx, cdp.SetPermission, cdp.SetPermissionParams{Permission: &cdp.PermissionDescriptor{Name: name}, Setting: cdp.PermissionSettingGranted, Origin: s.origin, BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID})
		b.must(err)
	}
	b.do(chromedp.Click(`[data-copy="client-secret"]`))
	b.until(`document.querySelector('.said').textContent.includes('Copied.')`)
	if got, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("navigator.clipboard.readText()", chromedp.EvalAwaitPromise)); err != nil || got != secret {
		t.Errorf("copied %v, %v", got == secret, err)
	}
	b.do(chromedp.Click("details[name=format] summary"), chromedp.Click(`[data-copy="format-0"]`))
	b.until(`navigator.clipboard.readText().then(t => t.includes('CLIENT_SECRET=imara_'))`)
	// The first attempt, and the first token, as they happen.
	k := list[0]
	s.must(s.registry.AddUsage(t.Context(), keys.Usage{Attempts: map[keys.Attempt]keys.Tries{{KeyID: k.ID, Outcome: keys.RefusedSecret, Address: "203.0.113.9"}: {Count: 1, Last: time.Now().Add(time.Minute)}}}))
	b.until(`document.querySelector('[data-first-use]').textContent.includes('the secret does not match')`)
	s.must(s.registry.AddUsage(t.Context(), keys.Usage{Credentials: map[string]keys.Use{k.Credentials[0].ID: {At: time.Now(), From: "203.0.113.9"}}}))
	b.until(`document.querySelector('[data-first-use]').textContent.includes('First token at')`)
	// Leaving without a tick asks; with one it does not.
	b.do(chromedp.Click(".done"))
	b.says("This is the only time")
	b.do(chromedp.Click(".stored input"))
	b.goes(chromedp.Click(".done"))
	if at := b.at(); at != "/panel/o/acme/keys/"+k.ID {
		t.Error(at)
	}
	if html, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.documentElement.outerHTML")); err != nil || strings.Contains(html, secret) {
		t.Errorf("a later page has the secret, %v", err)
	}
	if strings.Contains(s.log.String(), secret) {
		t.Error("the log has the secret")
	}
}

// TestCreateByKeyboard: c, Enter, a name, arrows for the level, and Enter.
func TestCreateByKeyboard(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := s.signedIn("ann@example.com")
	b.shortcut("c")
	b.do(chromedp.WaitReady("a.main:focus"))
	b.goes(chromedp.KeyEvent(kb.Enter))
	b.do(chromedp.WaitReady("#field-name:focus"), chromedp.KeyEvent("Nightly export"))
	b.do(chromedp.Focus(`input[name="scope.0"]`), chromedp.KeyEvent(kb.ArrowDown))
	b.do(chromedp.Focus("#field-name"))
	b.goes(chromedp.KeyEvent(kb.Enter))
	b.says("“Nightly export” is ready")
	list, err := s.registry.Keys(t.Context(), "acme", keys.Page{})
	if err != nil || len(list) != 1 || !slices.Equal(list[0].Scopes, []string{"alerts:read"}) {
		t.Errorf("%+v, %v", list, err)
	}
	b.do(chromedp.Focus("summary"), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#client-secret"))
}

// TestTheSecretIsForgotten: after ten minutes, and when the page is left; leaving an
// unstored secret asks first.
func TestTheSecretIsForgotten(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/new?scope=alerts%3Aread&name=From+a+link")
	b.says("A link filled in this form.")
	if list, err := s.registry.Keys(t.Context(), "acme", keys.Page{}); err != nil || len(list) != 0 {
		t.Errorf("a link made %v, %v", list, err)
	}
	b.goes(chromedp.Click("button.main"))
	b.says("“From a link” is ready")
	asked := make(chan struct{}, 1)
	b.must(chromedp.Listen(b.ctx, func(event any) {
		if e, ok := event.(*page.EventJavascriptDialogOpening); ok && e.Type == page.DialogTypeBeforeunload {
			asked <- struct{}{}
			go chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: false})
		}
	}))
	b.do(chromedp.Click("details[name=format] summary")) // a page that nobody touched does not ask
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[int]("location.reload(); 0")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-asked:
	case <-b.ctx.Done():
		t.Fatal("nobody asked")
	}
	b.says("“From a link” is ready")
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[int]("dispatchEvent(new PageTransitionEvent('pagehide')); 0")); err != nil {
		t.Fatal(err)
	}
	if secret := b.text("#client-secret"); secret != "" {
		t.Error("the page that was left has the secret")
	}
	b.says("Hidden: 10 minutes have passed, or the page was left.")
	b.accessible("secret-forgotten")
}

// TestTheSameFormMakesOneKey: sent again, it finds the key and no secret; the form of
// another organisation's member finds nothing.
func TestTheSameFormMakesOneKey(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	session := s.session("ann@example.com")
	form := url.Values{"request": {"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}, "name": {"Once"}, "scope.0": {"alerts:read"}, "expires": {"90d"}}
	path := "/panel/o/acme/keys/new"
	first := s.post(path, session, "same-origin", form)
	page := body(t, first)
	secret := secretIn(t, page)
	if first.StatusCode != 200 || first.Header.Get("Cache-Control") != "no-store" || first.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("%d %v", first.StatusCode, first.Header)
	}
	again := s.post(path, session, "same-origin", form)
	if page := body(t, again); again.StatusCode != 409 || !strings.Contains(page, "shown once and is gone") || strings.Contains(page, secret) {
		t.Errorf("%d %s", again.StatusCode, page)
	}
	list, err := s.registry.Keys(t.Context(), "acme", keys.Page{})
	if err != nil || len(list) != 1 {
		t.Fatalf("%d keys, %v", len(list), err)
	}
	for _, path := range []string{"", "/" + list[0].ID, "/" + list[0].ID + "/edit", "/" + list[0].ID + "/rotate", "/" + list[0].ID + "/secrets/" + list[0].Credentials[0].ID + "/first-use"} {
		if status, page := s.get("/panel/o/acme/keys"+path, session); status != 200 || strings.Contains(page, secret) {
			t.Errorf("%s: %d", path, status)
		}
	}
	s.organization("other", "Professional")
	s.memberOf("other", "eve", keys.Owner)
	eve := s.post("/panel/o/other/keys/new", s.session("eve@example.com"), "same-origin", form)
	if page := body(t, eve); eve.StatusCode != 404 || strings.Contains(page, "Once") {
		t.Errorf("%d %s", eve.StatusCode, page)
	}
	for _, request := range []string{"", "short", "abcdefghijklmnopqrstuvwxyz", strings.Repeat("A", 65)} {
		form.Set("request", request)
		if answer := s.post(path, session, "same-origin", form); answer.StatusCode != 400 {
			t.Errorf("%q: %d", request, answer.StatusCode)
		}
	}
	// In a browser, whose first answer was lost.
	b := newBrowser(t, s.origin)
	b.enter(s.session("ann@example.com"))
	b.open("/panel/o/acme/keys/new")
	request, err := chromedp.Run(b.ctx, chromedp.Value("[name=request]", chromedp.NodeReady))
	s.must(err)
	s.post("/panel/o/acme/keys/new", b.cookie(), "same-origin", url.Values{"request": {request}, "name": {"Lost"}, "owner": {"mem_acme_ann"}, "scope": {"alerts:read"}, "expires": {"90d"}})
	b.do(chromedp.SendKeys("#field-name", "Lost"), chromedp.Click(`input[name="scope.0"][value="alerts:read"]`))
	if status := b.goes(chromedp.Click("button.main")); status != 409 {
		t.Errorf("%d", status)
	}
	b.says("The secret was shown once and is gone")
	b.accessible("secret-gone")
}

// TestTheFormSaysWhatIsWrong, keeps what was given, and creates nothing.
func TestTheFormSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.key("acme", "Taken", "")
	s.memberOf("acme", "dev", keys.Developer)
	_, err := s.registry.PutResource(t.Context(), tester, keys.Resource{Audience: "https://admin.example.com", Name: "Admin", Scopes: []keys.Scope{
		{Name: "admin:all", GrantedBy: keys.Owner}, {Name: "hidden:all", Restricted: true}}})
	s.must(err)
	owner, dev := s.session("ann@example.com"), s.session("dev@example.com")
	rows := []struct {
		session, field, value, want string
	}{
		{owner, "name", "", "1 to 80 characters"},
		{owner, "name", "  ", "1 to 80 characters"},
		{owner, "name", "tAKEN", "A key named “tAKEN” is already active"},
		{owner, "description", "a\u202eb", "characters that cannot be seen"},
		{owner, "owner", "mem_nobody", "That member is not there"},
		{owner, "scope.0", "", "Pick at least one scope"},
		{owner, "scope.0", "alerts:nothing", "Pick at least one scope"},
		{owner, "scope.0", "hidden:all", "may not give all of this access"},
		{dev, "scope.0", "admin:all", "may not give all of this access"},
		{owner, "resource", "https://elsewhere.example", "There is no such API"},
		{owner, "expires", "", "Choose an end"},
		{owner, "expires", "tomorrow", "Choose an end"},
		{owner, "expires", "date", "is not a date"},
		{owner, "networks", "10.0.0.0/8 x", "“x” is not a network"},
		{owner, "token_ttl", "5", "between a minute and an hour"},
		{owner, "token_ttl", "x", "between a minute and an hour"},
	}
	for _, row := range rows {
		form := url.Values{"request": {"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}, "name": {"Fresh"}, "scope.0": {"alerts:read"}, "expires": {"90d"}, "description": {"Kept"}}
		if row.session == dev {
			form.Set("owner", "mem_acme_dev")
		}
		form.Set(row.field, row.value)
		answer := s.post("/panel/o/acme/keys/new", row.session, "same-origin", form)
		page := body(t, answer)
		if answer.StatusCode != 422 || !strings.Contains(page, row.want) || row.field != "description" && !strings.Contains(page, `value="Kept"`) {
			t.Errorf("%s %q: %d %s", row.field, row.value, answer.StatusCode, regexp.MustCompile(`id="problem-[^<]*`).FindString(page))
		}
	}
	if _, page := s.get("/panel/o/acme/keys/new", dev); strings.Contains(page, "hidden:all") || !strings.Contains(page, "an owner gives it") {
		t.Errorf("%s", page)
	}
	if list, err := s.registry.Keys(t.Context(), "acme", keys.Page{}); err != nil || len(list) != 1 {
		t.Errorf("%d keys, %v", len(list), err)
	}
	for _, name := range []string{"b", "c", "d", "e"} {
		s.key("acme", name, "")
	}
	form := url.Values{"request": {"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}, "name": {"Sixth"}, "scope.0": {"alerts:read"}, "expires": {"never"}}
	answer := s.post("/panel/o/acme/keys/new", owner, "same-origin", form)
	if page := body(t, answer); answer.StatusCode != 422 || !strings.Contains(page, "All keys of the plan are in use.") {
		t.Errorf("%d %s", answer.StatusCode, page)
	}
}

// TestWhatMattersAsksForThePasswordAgain: a session that is a while old keeps the form,
// takes the password, and goes on; a wrong password does nothing.
func TestWhatMattersAsksForThePasswordAgain(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := s.signedIn("ann@example.com")
	old := s.aged(b, "ann@example.com", 20*time.Minute)
	b.open("/panel/o/acme/keys/new?scope=alerts%3Aread")
	b.do(chromedp.SendKeys("#field-name", `Late "key"`))
	if status := b.goes(chromedp.Click("button.main")); status != 403 {
		t.Errorf("status %d", status)
	}
	b.says("Is it still you?")
	b.accessible("confirm")
	b.goes(chromedp.SendKeys("#confirm_password", "wrong horse battery staple"+kb.Enter))
	b.says("That is not the password.")
	b.accessible("confirm-wrong")
	if list, err := s.registry.Keys(t.Context(), "acme", keys.Page{}); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	b.goes(chromedp.SendKeys("#confirm_password", password+kb.Enter))
	b.says(`“Late "key"” is ready`)
	if b.cookie() == old {
		t.Error("the session is the old one")
	}
	if status, _ := s.get("/panel/o/acme/keys", old); status != http.StatusSeeOther {
		t.Errorf("the old session: %d", status)
	}
	if strings.Contains(s.log.String(), password) {
		t.Error("the log has the password")
	}
}

// TestApproval: who asks waits, another approves, and who asked collects the secret,
// which the other cannot.
func TestApproval(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.memberOf("acme", "bob", keys.Admin)
	_, err := s.registry.EditPolicy(t.Context(), tester, "acme", func(p *keys.Policy) { p.Approval = true })
	s.must(err)
	b := s.signedIn("bob@example.com")
	b.open("/panel/o/acme/keys/new?name=Writer&scope=alerts%3Awrite")
	b.says("wants keys that write approved")
	b.goes(chromedp.Click("button.main"))
	b.says("Waits for approval", "It has no secret yet.")
	b.accessible("key-pending")
	path := b.at()
	if strings.Contains(b.text("main"), "Approve") {
		t.Error("who asked may approve")
	}
	ann := s.signedIn("ann@example.com")
	ann.open(path)
	ann.goes(chromedp.Click(`form[action$="/approve"] button`))
	ann.says("Active")
	if strings.Contains(ann.text("main"), "Collect the secret") {
		t.Error("who approved may collect")
	}
	if answer := s.post(path+"/rotate", ann.cookie(), "same-origin", url.Values{"request": {"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}, "ends": {"now"}}); answer.StatusCode != 403 {
		t.Errorf("the approver collects: %d", answer.StatusCode)
	}
	b.open(path)
	b.goes(chromedp.Click(`a[href$="/rotate"]`))
	b.accessible("collect")
	b.goes(chromedp.Click("button.main"))
	b.says("“Writer” is ready")
}

// TestRotation: two secrets that both work, what became of each, and its three ends; a
// secret in use asks once more before it ends.
func TestRotation(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	k := s.inUse("acme", "Exporter", "mem_acme_ann")
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/" + k.ID)
	rotate := func() string {
		t.Helper()
		b.goes(chromedp.Click(`a[href$="/rotate"]`))
		b.goes(chromedp.Click("button.main"))
		secret := b.text("#client-secret")
		b.do(chromedp.Click(".stored input"))
		b.goes(chromedp.Click(".done"))
		return secret
	}
	works := func(secret string) bool {
		t.Helper()
		return s.login(k.ClientID, secret) == nil
	}
	b.goes(chromedp.Click(`a[href$="/rotate"]`))
	b.accessible("rotate")
	b.goes(chromedp.Click(".buttons a"))
	first := rotate()
	b.says("A rotation is going on", "has not been used yet", "was last used by 203.0.113.9", "Rotating")
	b.accessible("key-rotating")
	if !works(first) {
		t.Error("the new secret does not work")
	}
	b.open("/panel/o/acme/keys/" + k.ID + "/rotate")
	b.says("Two secrets is the maximum.")
	b.accessible("rotate-two")
	b.goes(chromedp.Click(".buttons a"))
	cancel := `form:has([value=cancel]) button`
	b.goes(chromedp.Click(cancel))
	if works(first) || strings.Contains(b.text("main"), "A rotation is going on") {
		t.Error("the cancelled secret works")
	}
	if got, err := s.registry.Key(t.Context(), "acme", k.ID); err != nil || !got.Credentials[1].EndsAt.IsZero() {
		t.Errorf("the old secret ends at %v, %v", got.Credentials[1].EndsAt, err)
	}
	second := rotate()
	end := func() time.Time {
		t.Helper()
		now, err := s.registry.Key(t.Context(), "acme", k.ID)
		s.must(err)
		return now.Credentials[slices.IndexFunc(now.Credentials, func(c keys.Credential) bool { return c.ID == k.Credentials[0].ID })].EndsAt
	}
	before := end()
	b.goes(chromedp.Click(`form:has([value=keep]) button`))
	if moved := end().Sub(before); moved < 23*time.Hour || moved > 25*time.Hour {
		t.Errorf("moved by %v", moved)
	}
	b.goes(chromedp.Click(`form:has([value=end]) button`))
	b.says("Whatever still uses it stops", "203.0.113.9")
	b.accessible("secret-end")
	b.goes(chromedp.Click("button.danger"))
	if after, err := s.registry.Key(t.Context(), "acme", k.ID); err != nil || after.Live(time.Now()) != 1 || !works(second) {
		t.Errorf("%d live, %v", after.Live(time.Now()), err)
	}
}

// TestTwoEditors: the second to save sees what the first did, and that nothing of the
// own was saved; then either may stay.
func TestTwoEditors(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.memberOf("acme", "bob", keys.Admin)
	k := s.key("acme", "Exporter", "mem_acme_ann")
	ann, bob := s.signedIn("ann@example.com"), s.signedIn("bob@example.com")
	for _, b := range []*browser{ann, bob} {
		b.open("/panel/o/acme/keys/" + k.ID + "/edit")
	}
	bob.accessible("edit")
	seen := func(selector string) string {
		text, err := chromedp.Run(bob.ctx, chromedp.Evaluate[string](`document.querySelector('`+selector+`').innerText`))
		s.must(err)
		return text
	}
	bob.do(chromedp.Click(`input[value="alerts:read alerts:write"]`))
	if can := seen(".can"); !strings.Contains(can, "(new)") || strings.Contains(can, "(taken away)") {
		t.Errorf("the review of the change: %q", can)
	}
	bob.do(chromedp.Click(`input[name="scope.0"][value=""]`))
	if cannot := seen(".cannot"); !strings.Contains(cannot, "(taken away)") || strings.Contains(cannot, "(new)") {
		t.Errorf("the review of the change: %q", cannot)
	}
	bob.do(chromedp.Click(`input[name="scope.0"][value="alerts:read"]`))
	bob.do(chromedp.SetValue("#field-description", "Bob's words"))
	bob.goes(chromedp.Click("button.main"))
	bob.says("Bob's words")
	ann.do(chromedp.SetValue("#field-name", "Exporter 2"))
	if status := ann.goes(chromedp.Click("button.main")); status != 409 {
		t.Errorf("status %d", status)
	}
	ann.says("Somebody changed this key while you were editing", "bob did.", "Exporter 2")
	if theirs, err := chromedp.Run(ann.ctx, chromedp.Value("#field-description")); err != nil || theirs != "Bob's words" {
		t.Errorf("what Ann did not touch is %q, %v", theirs, err)
	}
	ann.accessible("edit-conflict")
	if now, err := s.registry.Key(t.Context(), "acme", k.ID); err != nil || now.Name != "Exporter" || now.Description != "Bob's words" {
		t.Errorf("%+v, %v", now, err)
	}
	ann.goes(chromedp.Click("button.main"))
	if now, err := s.registry.Key(t.Context(), "acme", k.ID); err != nil || now.Name != "Exporter 2" || now.Description != "Bob's words" {
		t.Errorf("%+v, %v", now, err)
	}
	if answer := s.post("/panel/o/acme/keys/"+k.ID+"/edit", ann.cookie(), "same-origin", url.Values{"name": {"No version"}, "scope.0": {"alerts:read"}, "expires": {"keep"}}); answer.StatusCode != 400 {
		t.Errorf("without a version: %d", answer.StatusCode)
	}
}

// TestEditCutsWhatItTakesAway, and leaves alone what nobody touched.
func TestEditCutsWhatItTakesAway(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	c, err := s.registry.Create(t.Context(), tester, "acme", keys.NewKey{Name: "Both", Description: "d", Access: keys.Access{Scopes: []string{"alerts:write", "alerts:read"}, TokenTTL: 7 * time.Minute}})
	s.must(err)
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/" + c.Key.ID + "/edit")
	version := c.Key.Version()
	b.goes(chromedp.Click("button.main"))
	if now, err := s.registry.Key(t.Context(), "acme", c.Key.ID); err != nil || now.Version() != version {
		t.Errorf("saved as it was: %+v, %v", now, err)
	}
	b.open("/panel/o/acme/keys/" + c.Key.ID + "/edit")
	b.do(chromedp.Click(`input[value="alerts:read"]`))
	b.goes(chromedp.Click("button.main"))
	events, err := s.registry.Events(t.Context(), "acme", keys.EventPage{Target: c.Key.ID, Newest: true, Limit: 1})
	if err != nil || len(events) != 1 || events[0].Kind != "cut" {
		t.Errorf("%+v, %v", events, err)
	}
}

// TestSuspendAndResume, each with one button.
func TestSuspendAndResume(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	k := s.key("acme", "Paused", "mem_acme_ann")
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/" + k.ID)
	b.goes(chromedp.Click(`.head a[href$="/suspend"]`))
	b.accessible("suspend")
	b.do(chromedp.SendKeys("#reason", "on holiday"))
	b.goes(chromedp.Click("button.danger"))
	b.says("Older tokens are refused", "Suspended", "It keeps its slot.")
	b.accessible("key-suspended")
	events, err := s.registry.Events(t.Context(), "acme", keys.EventPage{Action: "key.suspend"})
	if err != nil || len(events) != 1 || events[0].Reason != "on holiday" {
		t.Errorf("%+v, %v", events, err)
	}
	b.goes(chromedp.Click(`form[action$="/resume"] button`))
	b.says("Active")
}

// TestUsageOfAKey: the chart, its numbers as a table, and refusals in words.
func TestUsageOfAKey(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	k := s.key("acme", "Busy", "mem_acme_ann")
	now := time.Now().UTC().Truncate(time.Hour)
	s.must(s.registry.AddUsage(t.Context(), keys.Usage{
		Counts:   map[keys.Tally]int64{{KeyID: k.ID, Hour: now, Outcome: keys.Issued}: 41, {KeyID: k.ID, Hour: now.Add(-48 * time.Hour), Outcome: keys.Issued}: 7, {KeyID: k.ID, Hour: now, Outcome: keys.RefusedScope}: 3},
		Attempts: map[keys.Attempt]keys.Tries{{KeyID: k.ID, Outcome: keys.RefusedScope, Address: "203.0.113.9"}: {Count: 3, Last: now}}}))
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/" + k.ID)
	b.says("48 issued · 3 refused · scope 3", "it asked for a scope that the key does not have", "3 times")
	b.do(chromedp.Click("#usage ~ details summary"))
	b.says(now.Format(time.DateOnly), "41")
	b.accessible("key-usage")
	b.goes(chromedp.Click(`.windows a`))
	b.says("41 issued")
	b.says(k.ClientID)
}
