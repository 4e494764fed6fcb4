package panel

import (
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// newUnowned is a site that nobody owns, and the path of its link.
func newUnowned(t *testing.T) (*site, string) {
	s := newSite(t)
	_, err := s.registry.PutResource(t.Context(), tester, keys.Resource{Audience: authz.ManagementAudience(s.origin), Name: "Management", Scopes: authz.ManagementScopes()})
	s.must(err)
	token, _, err := s.registry.NewFoundingLink(t.Context(), tester)
	s.must(err)
	return s, "/panel/link/" + token
}

// TestFirstOwnerOfAServer: by keyboard alone, from the printed link to the operator's
// key, with a mistake on the way that loses nothing which was typed.
func TestFirstOwnerOfAServer(t *testing.T) {
	s, link := newUnowned(t)
	b := newBrowser(t, s.origin)
	b.open(link)
	b.says("Nobody owns this server yet")
	b.accessible("found")
	b.do(chromedp.WaitReady("#organization:focus"), chromedp.KeyEvent("Acme"+kb.Tab+"Ann"+kb.Tab+"ann@example.com"+kb.Tab+password+kb.Tab+password[1:]))
	if status := b.goes(chromedp.KeyEvent(kb.Enter)); status != 422 {
		t.Errorf("two passwords: %d", status)
	}
	b.says("The two passwords are not the same.")
	b.accessible("found-wrong")
	b.tabTo("password")
	if status := b.goes(chromedp.KeyEvent(password + kb.Tab + password + kb.Enter)); status != 200 {
		t.Errorf("founded: %d", status)
	}
	b.says("First operator", "Waiting for the first token")
	b.do(chromedp.Click(".stored input"))
	b.goes(chromedp.Click(".done"))
	b.says("First operator", "Operator")
	b.open("/panel/")
	b.says("No keys yet", "Operator", "Acme", "Operator")
	other := newBrowser(t, s.origin)
	if status := other.open(link); status != 404 {
		t.Errorf("used again: %d", status)
	}
	other.says("does not work any more")
}

// TestFoundingSaysWhatIsWrong: each field has its own text, and nothing is made.
func TestFoundingSaysWhatIsWrong(t *testing.T) {
	s, link := newUnowned(t)
	for field, row := range map[string]struct{ value, want string }{
		"organization": {" ", "Use 1 to 80 characters."},
		"name":         {strings.Repeat("n", 81), "Use 1 to 80 characters."},
		"email":        {"Ann <ann@example.com>", "Use a plain address"},
		"password":     {"short", "15 to 1024 characters"},
		"again":        {"another", "not the same"},
	} {
		form := url.Values{"organization": {"Acme & Co"}, "name": {"Ann"}, "email": {"ann@example.com"}, "password": {password}, "again": {password}}
		form.Set(field, row.value)
		if field == "password" {
			form.Set("again", row.value)
		}
		answer := s.post(link, "", "same-origin", form)
		page := body(t, answer)
		if answer.StatusCode != 422 || !strings.Contains(page, row.want) || strings.Contains(page, password) {
			t.Errorf("%s: %d %s", field, answer.StatusCode, page)
		}
		if field != "organization" && !strings.Contains(page, `value="Acme &amp; Co"`) {
			t.Errorf("%s: what was typed is lost: %s", field, page)
		}
	}
	list, err := s.registry.Organizations(t.Context(), "", 10)
	s.must(err)
	if len(list) != 0 {
		t.Errorf("made %v", list)
	}
}

// TestAFoundingLinkEndsWithTheFirstCustomer, wherever that comes from.
func TestAFoundingLinkEndsWithTheFirstCustomer(t *testing.T) {
	s, link := newUnowned(t)
	s.organization("acme", "Professional")
	form := url.Values{"organization": {"Mine"}, "name": {"Eve"}, "email": {"eve@example.com"}, "password": {password}, "again": {password}}
	if status, _ := s.get(link, ""); status != 404 {
		t.Errorf("its page: %d", status)
	}
	if answer := s.post(link, "", "same-origin", form); answer.StatusCode != 404 || sessionOf(answer) != nil {
		t.Errorf("its form: %d", answer.StatusCode)
	}
	if list, err := s.registry.Organizations(t.Context(), "", 10); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}
