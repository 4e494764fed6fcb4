package panel

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/imara/apikeys/keys"
)

// hands use a page as a person does: with a mouse, or with a keyboard alone.
type hands struct {
	*browser
	s        *site
	keyboard bool
}

// reach goes to an element with Tab, and within a group of choices with the arrows.
func (h *hands) reach(selector string) {
	h.t.Helper()
	where := fmt.Sprintf(`(() => { const at = document.activeElement, to = document.querySelector(%q);
		if (!to) return 'nowhere';
		if (at === to) return 'there';
		return at.type === 'radio' && to.type === 'radio' && at.form === to.form && at.name === to.name ? 'group' : 'on' })()`, selector)
	for range 250 {
		at, err := chromedp.Run(h.ctx, chromedp.Evaluate[string](where))
		h.must(err)
		switch at {
		case "there":
			return
		case "nowhere":
			h.t.Fatalf("there is no %s on %s", selector, h.at())
		case "group":
			h.do(chromedp.KeyEvent(kb.ArrowDown))
		default:
			h.do(chromedp.KeyEvent(kb.Tab))
		}
	}
	h.t.Fatalf("no key leads to %s on %s", selector, h.at())
}

// press a button, or follow a link, that leads to no other page.
func (h *hands) press(selector string) {
	h.t.Helper()
	if !h.keyboard {
		h.do(chromedp.Click(selector))
		return
	}
	h.reach(selector)
	h.do(chromedp.KeyEvent(kb.Enter))
}

// tick a box or choose one of a group.
func (h *hands) tick(selector string) {
	h.t.Helper()
	if !h.keyboard {
		h.do(chromedp.Click(selector))
		return
	}
	h.reach(selector)
	h.do(chromedp.KeyEvent(" "))
}

// follow is press for what leads to another page, and returns its status.
func (h *hands) follow(selector string) int64 {
	h.t.Helper()
	if !h.keyboard {
		return h.goes(chromedp.Click(selector))
	}
	h.reach(selector)
	return h.goes(chromedp.KeyEvent(kb.Enter))
}

// fill types a text into a field, in place of what is there.
func (h *hands) fill(selector, text string) {
	h.t.Helper()
	if h.keyboard {
		h.reach(selector)
	} else {
		h.do(chromedp.Click(selector))
	}
	h.do(chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)), chromedp.KeyEvent(text))
}

// pick chooses from a list: with the arrows, or as a click on its popup does, which a
// browser without a window does not have.
func (h *hands) pick(selector, value string) {
	h.t.Helper()
	if !h.keyboard {
		h.do(chromedp.SetValue(selector, value))
		return
	}
	h.reach(selector)
	h.do(chromedp.KeyEvent(kb.Home))
	for range 100 {
		at, err := chromedp.Run(h.ctx, chromedp.Value(selector))
		h.must(err)
		if at == value {
			return
		}
		h.do(chromedp.KeyEvent(kb.ArrowDown))
	}
	h.t.Fatalf("no key leads to %q of %s", value, selector)
}

// on says that the page is this one, without what follows the path.
func (h *hands) on(path string) {
	h.t.Helper()
	at, _, _ := strings.Cut(h.at(), "?")
	if at != path {
		h.t.Fatalf("on %s, not %s", at, path)
	}
}

// stories are what people come for, from the first page to the last.
var stories = []struct {
	name string
	tell func(h *hands)
}{
	{"sign in, be wrong once, sign out", func(h *hands) {
		h.follow("header form button")
		h.on("/panel/sign-in")
		h.fill("#email", "ann@example.com")
		h.fill("#password", "not the right words")
		if status := h.follow("main button"); status != 401 {
			h.t.Errorf("a wrong password: %d", status)
		}
		h.says("The address or the password is wrong.")
		h.fill("#password", password)
		h.follow("main button")
		h.on("/panel/o/acme/keys")
	}},
	{"create a key, store its secret", func(h *hands) {
		h.follow(".head a.main")
		h.fill("#field-name", "Nightly export")
		h.tick(`input[value="alerts:read"]`)
		h.until(`document.querySelector('[data-chosen]').textContent.includes('1 of 2')`)
		h.follow("button.main")
		h.says("“Nightly export” is ready", "Waiting for the first token request")
		h.press(".reveal summary")
		h.do(chromedp.WaitVisible("#client-secret"))
		h.tick(".stored input")
		h.follow(".done")
		h.says("Nightly export", "Active")
	}},
	{"find a key and change it", func(h *hands) {
		h.fill("#q", "Exporter")
		h.follow("form.search button")
		h.follow("tbody th a")
		h.follow(`.head a[href$="/edit"]`)
		h.fill("#field-description", "for the warehouse")
		h.follow("button.main")
		h.says("for the warehouse")
	}},
	{"rotate a secret in three steps", func(h *hands) {
		h.follow("tbody th a")
		h.follow(`.head a[href$="/rotate"]`)
		h.tick(`input[value="after_use"]`)
		h.follow("button.main")
		h.tick(".stored input")
		h.follow(".done")
		h.says("A rotation is going on", "has not been used yet")
		h.follow(`section[aria-labelledby="rotation"] form:first-child button`)
		if strings.Contains(h.text("main"), "A rotation is going on") {
			h.t.Error("the old secret has not ended")
		}
	}},
	{"revoke a key and see who confirmed", func(h *hands) {
		h.follow("tbody th a")
		h.press(".head a.danger")
		h.until(`document.querySelector('dialog').open && document.activeElement.matches('[data-close]')`)
		h.tick(`dialog input[value="no longer used"]`)
		h.follow("dialog button.danger")
		h.says("Revoked", "1 of 1 verifiers confirmed", "authorization server · confirmed", "no longer used")
	}},
	{"revoke from the list", func(h *hands) {
		h.press(".menu summary")
		h.follow(`.menu a[href$="/revoke"]`)
		h.fill("#revoke-other", "cleaned up")
		h.follow("button.danger")
		h.says("cleaned up", "1 of 1 verifiers confirmed")
	}},
	{"look at what to review", func(h *hands) {
		h.follow(`nav a[href$="/keys/review"]`)
		h.says("It never expires")
		h.follow(`.findings a.button`)
		h.tick(`input[name="expires"][value="90d"]`)
		h.follow("button.main")
		h.says("Saved.", "in 90 days")
	}},
	{"look at the usage", func(h *hands) {
		h.follow(`nav a[href$="/keys/usage"]`)
		h.follow(`.windows a[href="?window=24h"]`)
		h.press("details summary")
		h.follow("tbody th a")
		h.says("Exporter", "Quick start")
		h.press(`details[name="start"] summary`)
		h.says("grant_type=client_credentials")
	}},
	{"read and verify the audit log", func(h *hands) {
		h.follow(`nav a[href$="/audit"]`)
		h.pick("#action", "key.create")
		h.follow("form.filters button")
		h.press(".events summary")
		h.says("key.create", "Exporter")
		h.follow(".buttons form:last-child button")
		h.says("unbroken up to")
	}},
	{"add a member, change the role, hand over and remove", func(h *hands) {
		h.follow(`nav a[href$="/members"]`)
		h.fill("#name", "Eve")
		h.fill("#email", "eve@example.com")
		h.pick("#role", "admin")
		h.follow("button.main")
		h.says("eve@example.com")
		h.pick("tbody tr:nth-child(2) select", "auditor")
		h.follow("tbody tr:nth-child(2) button")
		h.follow("tbody tr:nth-child(2) a")
		h.says("Remove bob?", "Bob's")
		h.pick("#heir", "mem_acme_ann")
		h.follow("button.danger")
		if strings.Contains(h.text("tbody"), "bob@") {
			h.t.Error("bob is still there")
		}
	}},
	{"tighten the policy, and see first what it means", func(h *hands) {
		h.follow(`nav a[href$="/policy"]`)
		h.fill("#days", "30")
		h.follow(`button[value="check"]`)
		h.says("2 active keys would not be admitted")
		h.tick(`input[name="approval"]`)
		h.follow(`button[value="save"]`)
		if v, err := chromedp.Run(h.ctx, chromedp.Value("#days")); err != nil || v != "30" {
			h.t.Errorf("%q, %v", v, err)
		}
	}},
	{"ask for another limit", func(h *hands) {
		h.follow(`nav a[href$="/plan"]`)
		h.fill("#wanted", "9")
		h.fill("#reason", "more regions")
		h.follow("button.main")
		h.says("9 keys", "Sent; not answered yet.")
	}},
	{"check a token", func(h *hands) {
		h.follow(`nav a[href$="/token"]`)
		h.fill("#token", "eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjF9.c2ln")
		h.until(`document.querySelector('.looks').textContent`)
		h.says("By its own word it ended")
		h.follow("button.main")
		h.says("Refused: this is not an access token of this server")
	}},
	{"see who is signed in, and change the password", func(h *hands) {
		h.s.session("ann@example.com") // elsewhere, which ended this one
		h.open("/panel/sign-in")
		h.fill("#email", "ann@example.com")
		h.fill("#password", password)
		h.follow("main button")
		h.follow(`header form a`)
		h.says("this browser", "Sign out everywhere else")
		h.follow("button.danger")
		if strings.Contains(h.text("main"), "Sign out everywhere else") {
			h.t.Error("the other one is still there")
		}
		h.fill("#old", password)
		h.fill("#password", "another "+password)
		h.fill("#again", "another "+password)
		h.follow("button.main")
		h.says("Saved.")
		h.on("/panel/account")
	}},
	{"choose the language and the colours", func(h *hands) {
		h.pick("#language", "de")
		h.pick("#theme", "dark")
		h.follow("footer button")
		h.says("API-Schlüssel")
	}},
	{"get lost, and back", func(h *hands) {
		if status := h.open("/panel/o/acme/keys/nothing"); status != 404 {
			h.t.Errorf("%d", status)
		}
		h.follow("main a.button")
		h.on("/panel/o/acme/keys")
	}},
	{"run the server: a customer, its owner, its limit and plan", func(h *hands) {
		h.follow("nav a.elsewhere")
		h.on("/panel/admin/orgs")
		h.fill("#name", "Globex")
		h.pick("#plan", "Starter")
		h.follow("button.main")
		h.says("Globex", "0 of 2", "Nobody is a member yet.")
		h.fill("#member-name", "Gus")
		h.fill("#member-email", "gus@globex.example")
		h.follow(`form[action$="/members"] button`)
		h.follow(`form[action$="/link"] button`)
		h.says("A link, shown once", "gus@globex.example", h.s.origin+"/panel/link/")
		h.follow("main a.button")
		h.fill("#max_keys", "3")
		h.fill("#limit-reason", "a pilot")
		h.follow(`section[aria-labelledby="limit"] button`)
		h.says("0 of 3", "a pilot")
		h.pick("#plan", "Free")
		h.follow(`section[aria-labelledby="plan-title"] button`)
		h.says("Older tokens are refused: 1 of 1 verifiers confirmed")
	}},
	{"run the server: an API, its scopes, a preset", func(h *hands) {
		h.open("/panel/admin/orgs")
		h.follow(`nav a[href$="/admin/resources"]`)
		h.follow(".head a.main")
		h.fill("#audience", "https://deploy.example.com")
		h.fill("#name", "Deployments")
		h.fill("#scope-name-1", "deploys:write")
		h.fill("#scope-description-1", "Start deployments")
		h.pick("#scope-granted-1", "admin")
		h.follow("button.main")
		h.says("Deployments", "deploys:write", "Start deployments", "an admin gives it")
		h.follow(`nav a[href$="/admin/presets"]`)
		h.fill("#name-new", "CI")
		h.fill("#scopes-new", "deploys:write alerts:read")
		h.follow("button.main")
		h.says("CI", "deploys:write")
		h.follow(`nav a[href$="/admin/resources"]`)
		h.follow(`section.resource:last-of-type a.button`)
		h.tick(`input[name="sure"]`)
		h.follow("button.danger")
		if strings.Contains(h.text("main"), "Deployments") {
			h.t.Error("the API is still there")
		}
	}},
	{"run the server: signing keys, verifiers, health", func(h *hands) {
		h.open("/panel/admin/orgs")
		h.follow(`nav a[href$="/admin/signing-keys"]`)
		h.says("Next", "may sign from", "Signs from")
		h.follow("li.current a")
		h.fill("#reason", "left in a log")
		h.follow("button.danger")
		h.says("Withdrawn", "1 of 1 verifiers confirmed", "left in a log")
		h.follow(`nav a[href$="/admin/verifiers"]`)
		h.says("auth-1", "a server's own", "up to date")
		h.follow(`nav a[href$="/admin/health"]`)
		h.says("What the server needs", "1 verifier")
		h.follow("nav a.elsewhere")
		h.on("/panel/o/acme/keys")
	}},
}

// TestStories: each by mouse and again by the keyboard alone, on a narrow and on a wide
// screen, light and dark.
func TestStories(t *testing.T) {
	for _, way := range []struct {
		name     string
		keyboard bool
		width    int64
		scheme   string
	}{
		{"mouse-1280-light", false, 1280, "light"},
		{"mouse-320-dark", false, 320, "dark"},
		{"keyboard-1280-dark", true, 1280, "dark"},
		{"keyboard-320-light", true, 320, "light"},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			for _, story := range stories {
				t.Run(story.name, func(t *testing.T) {
					s := newAcme(t)
					s.memberOf("acme", "bob", keys.Developer)
					_, err := s.registry.CreateOrganization(t.Context(), tester, keys.Organization{ID: keys.OperatorOrganization, Name: "Operator", Plan: "Enterprise", Operator: true})
					s.must(err)
					_, err = s.registry.AddMember(t.Context(), tester, keys.Member{OrganizationID: keys.OperatorOrganization, Name: "ann", Email: "ann@example.com", Role: keys.Staff, AcceptedAt: time.Now()})
					s.must(err)
					k := s.key("acme", "Bob's", "mem_acme_bob")
					exporter := s.key("acme", "Exporter", "mem_acme_ann")
					s.must(s.registry.AddUsage(t.Context(), keys.Usage{Counts: map[keys.Tally]int64{{KeyID: exporter.ID, Hour: time.Now().UTC().Truncate(time.Hour), Outcome: keys.Issued}: 3,
						{KeyID: k.ID, Hour: time.Now().UTC().Truncate(time.Hour), Outcome: keys.RefusedScope}: 1}}))
					h := &hands{newBrowser(t, s.origin), s, way.keyboard}
					h.do(chromedp.EmulateViewport(way.width, 800))
					_, err = chromedp.Call(h.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: way.scheme}}})
					s.must(err)
					h.enter(s.session("ann@example.com"))
					h.open("/panel/")
					story.tell(h)
				})
			}
		})
	}
}

// TestFirstOwnerStory is the story of a server that nobody owns.
func TestFirstOwnerStory(t *testing.T) {
	for _, keyboard := range []bool{false, true} {
		s, link := newUnowned(t)
		h := &hands{newBrowser(t, s.origin), s, keyboard}
		h.do(chromedp.EmulateViewport(320, 800))
		h.open(link)
		h.fill("#organization", "Acme")
		h.fill("#name", "Ann")
		h.fill("#email", "ann@example.com")
		h.fill("#password", password)
		h.fill("#again", password)
		h.follow("main button")
		h.says("Waiting for the first token request")
		h.tick(".stored input")
		h.follow(".done")
		h.open("/panel/")
		h.says("No keys yet")
	}
}

// TestApprovalStory: who asks, who approves, who collects.
func TestApprovalStory(t *testing.T) {
	for _, keyboard := range []bool{false, true} {
		s := newAcme(t)
		s.memberOf("acme", "bob", keys.Developer)
		_, err := s.registry.EditPolicy(t.Context(), tester, "acme", func(p *keys.Policy) { p.Approval = true })
		s.must(err)
		as := func(email string) *hands {
			h := &hands{newBrowser(t, s.origin), s, keyboard}
			h.enter(s.session(email))
			return h
		}
		bob, ann := as("bob@example.com"), as("ann@example.com")
		bob.open("/panel/o/acme/keys/new?" + url.Values{"scope": {"alerts:read"}}.Encode())
		bob.fill("#field-name", "Deploys")
		bob.tick(`input[value="alerts:read alerts:write"]`)
		bob.until(`!document.querySelector('[data-if-writes]').hidden`)
		bob.says("Send for approval")
		bob.follow("button.main")
		bob.says("This key waits for approval")
		ann.open("/panel/o/acme/keys")
		ann.follow("tbody th a")
		ann.follow(`form[action$="/approve"] button`)
		bob.open("/panel/o/acme/keys")
		bob.follow("tbody th a")
		bob.follow(`.head a[href$="/rotate"]`)
		bob.follow("button.main")
		bob.says("Waiting for the first token request")
	}
}
