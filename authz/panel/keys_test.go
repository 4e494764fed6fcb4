package panel

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/imara/apikeys/keys"
)

// TestListIsFilteredAndSorted, by what the form says; what is no choice is none.
func TestListIsFilteredAndSorted(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.memberOf("acme", "bob", keys.Developer)
	for _, name := range []string{"Beta", "alpha", "Gamma"} {
		s.key("acme", name, map[string]string{"Beta": "mem_acme_bob"}[name])
	}
	k := s.key("acme", "Delta", "")
	_, _, err := s.registry.Suspend(t.Context(), tester, "acme", k.ID, "")
	s.must(err)
	session := s.session("ann@example.com")
	order := func(query string) string {
		t.Helper()
		status, page := s.get("/panel/o/acme/keys"+query, session)
		if status != 200 {
			t.Errorf("%s: %d", query, status)
		}
		var names []string
		for _, row := range strings.Split(page, `<th scope="row">`)[1:] {
			_, rest, _ := strings.Cut(row, "<bdi>")
			name, _, _ := strings.Cut(rest, "<")
			names = append(names, name)
		}
		return strings.Join(names, " ")
	}
	for query, want := range map[string]string{
		"":                                   "Delta Gamma alpha Beta",
		"?sort=name":                         "alpha Beta Delta Gamma",
		"?status=suspended":                  "Delta",
		"?owner=mem_acme_bob":                "Beta",
		"?scope=alerts%3Aread&status=active": "Gamma alpha Beta",
		"?scope=alerts%3Awrite":              "",
		"?status=nothing&sort=nothing":       "Delta Gamma alpha Beta",
		"?q=a&sort=name&owner=mem_acme_bob":  "Beta",
	} {
		if got := order(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	b := s.signedIn("ann@example.com")
	b.do(chromedp.Click(".more summary"), chromedp.SetValue("#status", "suspended"))
	b.accessible("keys-filter")
	b.goes(chromedp.Click("form.search button"))
	if rows := b.text("tbody"); !strings.Contains(rows, "Delta") || strings.Contains(rows, "Gamma") {
		t.Error(rows)
	}
	b.do(chromedp.Click(".menu summary"), chromedp.WaitVisible(".menu a"))
	b.accessible("keys-menu")
	b.goes(chromedp.Click(".menu li:nth-child(2) a"))
	if at := b.at(); at != "/panel/o/acme/keys/"+k.ID+"/edit" {
		t.Error(at)
	}
}

// TestShortcuts: j and k go through the rows, ? leads to their list, and there they are
// switched off.
func TestShortcuts(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.key("acme", "Second", "")
	s.key("acme", "First", "")
	b := s.signedIn("ann@example.com")
	for _, row := range []struct{ key, want string }{{"j", "First"}, {"j", "Second"}, {"j", "Second"}, {"k", "First"}, {"?", "shortcuts"}} {
		b.shortcut(row.key)
		if got := b.focused(); got != row.want {
			t.Errorf("%s leads to %q", row.key, got)
		}
	}
	b.do(chromedp.KeyEvent(kb.ArrowDown))
	b.goes(chromedp.Click("footer button"))
	b.do(chromedp.Focus("a.brand"))
	b.shortcut("j")
	if got := b.focused(); got != "Imara" {
		t.Errorf("switched off, and j leads to %q", got)
	}
}
