package panel

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/imara/apikeys/keys"
)

// The English of these tests is a pseudo-locale: each text stands between two marks
// that nobody sees, so that a page's text without them is known to come from nowhere.
const before, after = "\u200b", "\u200c"

var unmarked = strings.NewReplacer(before, "", after, "")

func marked(c catalogue) catalogue {
	texts := map[string]string{}
	for id, text := range c.texts {
		texts[id] = before + text + after
	}
	return catalogue{c.tag, texts}
}

// untranslated are the texts of the page that come from no catalogue, and are not said
// to be nobody's language either: a name, code, an address.
func (b *browser) untranslated() []string {
	b.t.Helper()
	list, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](`(() => {
		const bare = [];
		const look = (text, where) => {
			for (let was; was !== text;) [was, text] = [text, text.replace(/\u200b[^\u200b\u200c]*\u200c/g, '')];
			if (/\p{L}/u.test(text)) bare.push(where + ': ' + text.trim());
		};
		for (const e of [document.body, ...document.body.querySelectorAll('*')]) {
			if (e.closest('bdi, code, pre, time, [translate=no]')) continue;
			for (const n of e.childNodes) if (n.nodeType === Node.TEXT_NODE) look(n.data, e.tagName);
			for (const a of ['aria-label', 'title', 'alt', 'placeholder', 'data-label', 'data-copied', 'data-refused', 'data-text', 'data-expired', 'data-good', 'data-ahead', 'data-behind']) look(e.getAttribute(a) ?? '', a);
		}
		return bare;
	})()`))
	b.must(err)
	return list
}

// TestTextsAreThere: every text that something asks for is in the catalogue, and
// nothing else is.
func TestTextsAreThere(t *testing.T) {
	c, err := readCatalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, pattern := range []string{"templates/*.html", "*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, f := range files {
			if text, err := os.ReadFile(f); err != nil {
				t.Fatal(err)
			} else if !strings.HasSuffix(f, "_test.go") {
				source.Write(text)
			}
		}
	}
	have := map[string]bool{}
	for id := range c.texts {
		id, _ = plain(id)
		have[id] = true
		// Some are put together.
		first, _, _ := strings.Cut(id, ".")
		if !strings.Contains(source.String(), `"`+id+`"`) && !slices.Contains([]string{"state", "time", "error", "secret", "receipt", "outcome", "level", "form", "usage", "span", "finding", "role", "plan", "keys", "signing", "verifiers", "health", "org", "resource", "note", "event", "cut"}, first) {
			t.Errorf("nothing asks for %s", id)
		}
	}
	for _, match := range regexp.MustCompile(`\bt "([a-z_.]+)"`).FindAllStringSubmatch(source.String(), -1) {
		if !have[match[1]] {
			t.Errorf("there is no %s", match[1])
		}
	}
	for _, problem := range problems {
		if !have[problem.text+".title"] || !have[problem.text+".hint"] {
			t.Errorf("there is no %s", problem.text)
		}
	}
	for _, action := range keys.Actions() {
		if name := string(action); !have["event."+name] && !strings.HasSuffix(name, ".read") && !strings.HasSuffix(name, ".list") {
			t.Errorf("there is no event %s", name)
		}
	}
	for _, state := range []keys.ReceiptState{keys.Confirmed, keys.LeaseEnded, keys.Waived, keys.Waiting, "recovered"} {
		if !have["receipt."+string(state)] || !have["cut."+string(state)] {
			t.Errorf("there is no receipt %s", state)
		}
	}
	for _, state := range []keys.Status{keys.Active, keys.Pending, keys.Suspended, keys.Expired, keys.Revoked, "rotating"} {
		if !have["state."+string(state)] {
			t.Errorf("there is no state %s", state)
		}
	}
}

// plain is the id of a text without its plural form.
func plain(id string) (base, form string) {
	i := strings.LastIndexByte(id, '.') + 1
	if slices.Contains([]string{"zero", "one", "two", "few", "many", "other"}, id[i:]) {
		return id[:i-1], id[i:]
	}
	return id, ""
}

// TestCataloguesSayTheSame: each language has every text of the first with the same
// arguments, and those that count in every plural form of its own.
func TestCataloguesSayTheSame(t *testing.T) {
	english, err := readCatalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	// arguments of a text; a plural form may have n as a word.
	arguments := func(text string) (list []string) {
		for _, a := range regexp.MustCompile(`\{[a-z]+\}`).FindAllString(text, -1) {
			if a != "{n}" && !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
		slices.Sort(list)
		return list
	}
	wanted := map[string][]string{}
	counts := map[string]bool{}
	for id, text := range english.texts {
		base, form := plain(id)
		wanted[base], counts[base] = arguments(text), form != ""
	}
	for _, tag := range languages {
		c, err := readCatalogue(tag.String())
		if err != nil {
			t.Fatal(err)
		}
		for base, want := range wanted {
			if !counts[base] {
				if text, ok := c.texts[base]; !ok || !slices.Equal(arguments(text), want) || strings.Contains(text, "{n}") != strings.Contains(english.texts[base], "{n}") {
					t.Errorf("%s: %s: %q", tag, base, text)
				}
				continue
			}
			for n := range 200 {
				text, err := c.text(base, "n", n)
				if err != nil || !slices.Equal(arguments(text), want) {
					t.Errorf("%s: %s of %d: %q, %v", tag, base, n, text, err)
					break
				}
			}
		}
		for id := range c.texts {
			if base, form := plain(id); english.texts[base] == "" && !counts[base] || counts[base] != (form != "") {
				t.Errorf("%s: nothing asks for %s", tag, id)
			}
		}
	}
}

// TestOtherLanguages: the pages in a language of longer words, and in one that is
// written from right to left.
func TestOtherLanguages(t *testing.T) {
	s := newOperated(t)
	k := s.key("acme", "CI/CD Pipeline", "mem_acme_ann")
	s.memberOf("acme", "bob", keys.Developer)
	_, err := s.registry.AddMember(t.Context(), tester, keys.Member{OrganizationID: keys.OperatorOrganization, Name: "ann", Email: "ann@example.com", Role: keys.Staff, AcceptedAt: time.Now()})
	s.must(err)
	catalogue, err := s.registry.Catalogue(t.Context())
	s.must(err)
	b := s.signedIn("ann@example.com")
	for _, test := range []struct{ language, direction, title string }{{"de", "ltr", "API-Schlüssel"}, {"ar", "rtl", "مفاتيح API"}} {
		b.open("/panel/o/acme/keys")
		b.do(chromedp.SetValue("#language", test.language))
		b.goes(chromedp.Click("footer button"))
		b.says(test.title)
		direction, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`getComputedStyle(document.body).direction + document.documentElement.lang`))
		if s.must(err); direction != test.direction+test.language {
			t.Error(direction)
		}
		for name, path := range map[string]string{"keys": "keys", "create": "keys/new", "key": "keys/" + k.ID, "rotate": "keys/" + k.ID + "/rotate", "revoke": "keys/" + k.ID + "/revoke", "usage": "keys/usage",
			"review": "keys/review", "members": "members", "audit": "audit", "policy": "policy", "plan": "plan", "token": "token", "account": "../../account", "orgs": "../../admin/orgs", "org": "../../admin/orgs/acme",
			"resources": "../../admin/resources", "resource": "../../admin/resources/" + catalogue[0].ID, "presets": "../../admin/presets", "signing-keys": "../../admin/signing-keys",
			"verifiers": "../../admin/verifiers", "health": "../../admin/health"} {
			if status := b.open("/panel/o/acme/" + path); status != 200 {
				t.Errorf("%s %s: status %d", test.language, path, status)
			}
			b.readable(name+"-"+test.language, 320, "light")
			b.readable(name+"-"+test.language, 1280, "dark")
		}
	}
}
