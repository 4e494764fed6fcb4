package panel

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"

	"github.com/imara/apikeys/keys"
)

//go:embed templates
var templates embed.FS

//go:embed catalogue
var catalogues embed.FS

// A catalogue is every text of the panel in one language, by id. Texts have their
// arguments in braces; one that counts has a form for each plural category of the
// language (CLDR), as id.one and id.other.
type catalogue struct {
	tag   language.Tag
	texts map[string]string
}

func readCatalogue(name string) (catalogue, error) {
	data, err := catalogues.ReadFile("catalogue/" + name + ".json")
	if err != nil {
		return catalogue{}, err
	}
	c := catalogue{tag: language.MustParse(name)}
	return c, json.Unmarshal(data, &c.texts)
}

// text returns a text with its arguments, which are pairs of a name and a value. The
// argument n chooses the plural form.
func (c catalogue) text(id string, arguments ...any) (string, error) {
	text, ok := c.texts[id]
	var replace []string
	for i := 0; i+1 < len(arguments); i += 2 {
		name := fmt.Sprint(arguments[i])
		if n, number := arguments[i+1].(int); number && name == "n" && !ok {
			form := [...]string{plural.Other: "other", plural.Zero: "zero", plural.One: "one", plural.Two: "two", plural.Few: "few", plural.Many: "many"}
			text, ok = c.texts[id+"."+form[plural.Cardinal.MatchPlural(c.tag, n, 0, 0, 0, 0)]]
		}
		replace = append(replace, "{"+name+"}", fmt.Sprint(arguments[i+1]))
	}
	if !ok {
		return "", fmt.Errorf("no text %q", id)
	}
	return strings.NewReplacer(replace...).Replace(text), nil
}

// reachText is what a text about a receipt is about: its state, or that it was recovered.
func reachText(r *keys.Receipt) string {
	if r.Recovered && r.Settled() {
		return "recovered"
	}
	return string(r.State)
}

// languages of the panel; the first is for those who want none of them.
var languages = []language.Tag{language.English, language.German, language.Arabic}

var matcher = language.NewMatcher(languages)

// A face is the panel in one language. A page is parsed when somebody first looks at it:
// all of them in every language are 20 MB.
type face struct {
	catalogue
	layout *template.Template

	mu    sync.Mutex
	pages map[string]*template.Template
}

func (f *face) page(name string) (*template.Template, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.pages[name]; t != nil {
		return t, nil
	}
	t, err := f.layout.Clone()
	if err == nil {
		t, err = t.ParseFS(templates, "templates/"+name+".html")
	}
	if err == nil {
		f.pages[name] = t
	}
	return t, err
}

// speak parses what every page has, with the functions that templates may call, in a
// language.
func (p *panel) speak(c catalogue) error {
	functions := template.FuncMap{
		"languages": p.languages,
		"list":      func(values ...any) []any { return values },
		"wrong": func(field string, problems []problem) bool {
			return slices.ContainsFunc(problems, func(p problem) bool { return p.Field == field })
		},
		"had":     func(was *keyForm, scope string) bool { return slices.Contains(was.Scopes, scope) },
		"join":    func(words []string) string { return strings.Join(words, " ") },
		"t":       c.text,
		"base":    func() string { return p.base },
		"ago":     func(t time.Time) (string, error) { return c.ago(time.Now(), t) },
		"now":     func() int64 { return time.Now().Unix() },
		"event":   c.event,
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"span":    c.span,
		"seconds": seconds,
		"reach":   reachText,
		"clock":   clock,
		"date":    date,
		"day":     func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
	}
	layout, err := template.New("layout.html").Funcs(functions).ParseFS(templates, "templates/layout.html")
	if err != nil {
		return err
	}
	p.faces[c.tag.String()] = &face{catalogue: c, layout: layout, pages: map[string]*template.Template{}}
	return nil
}

// languages of the panel, each as it names itself.
func (p *panel) languages() (list []choice) {
	for _, tag := range languages {
		list = append(list, choice{Value: tag.String(), Text: p.faces[tag.String()].texts["language.name"]})
	}
	return list
}

// A taste is how a browser wants its pages.
type taste struct {
	Language string
	Theme    string // light or dark; empty: as the system has it
	// Silent: single keys do nothing (WCAG 2.1.4).
	Silent bool
}

func (t taste) shortcuts() string {
	if t.Silent {
		return "off"
	}
	return "on"
}

const tasteCookie = "__Host-imara-taste"

// taste is what the visitor chose, else what the browser asks for.
func (p *panel) taste(r *http.Request) taste {
	t := taste{Language: "en"}
	if wanted, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language")); err == nil {
		_, i, _ := matcher.Match(wanted...)
		t.Language = languages[i].String()
	}
	if c, err := r.Cookie(tasteCookie); err == nil {
		chosen, rest, _ := strings.Cut(c.Value, ".")
		theme, shortcuts, _ := strings.Cut(rest, ".")
		t.Silent = shortcuts == "off"
		if _, ok := p.faces[chosen]; ok {
			t.Language = chosen
		}
		if theme == "light" || theme == "dark" {
			t.Theme = theme
		}
	}
	return t
}

// prefer keeps what the visitor chose in a cookie, and shows the page again.
func (p *panel) prefer(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := parseForm(w, r); err != nil {
		return err
	}
	chosen := v.taste
	if l := r.PostForm.Get("language"); p.faces[l] != nil {
		chosen.Language = l
	}
	if theme := r.PostForm.Get("theme"); theme == "" || theme == "light" || theme == "dark" {
		chosen.Theme = theme
	}
	chosen.Silent = r.PostForm.Get("shortcuts") == "off"
	http.SetCookie(w, &http.Cookie{Name: tasteCookie, Value: chosen.Language + "." + chosen.Theme + "." + chosen.shortcuts(), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 365 * 24 * 3600})
	back := r.PostForm.Get("back")
	if !strings.HasPrefix(back, p.base+"/") || strings.ContainsAny(back, "\\?#") || strings.Contains(back, "//") || strings.Contains(back, "..") {
		back = p.base + "/"
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
	return nil
}

func (p *panel) catalogue(v *visitor) catalogue { return p.faces[v.taste.Language].catalogue }

// ago is how far a time is from now, in words.
func (c catalogue) ago(now, t time.Time) (string, error) {
	d, when, half := now.Sub(t), "past", time.Duration(0)
	if d < 0 { // what is to come is rounded: a day less a second is a day
		d, when, half = -d, "future", 1
	}
	for _, unit := range []struct {
		name string
		d    time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := (d + half*unit.d/2) / unit.d; n > 0 {
			return c.text("time."+when+"."+unit.name, "n", int(n))
		}
	}
	return c.text("time." + when + ".now")
}

// span is how long something is, in the largest unit of which it is a whole number.
func (c catalogue) span(d time.Duration) (string, error) {
	for _, unit := range []struct {
		name string
		d    time.Duration
	}{{"days", day}, {"hours", time.Hour}, {"minutes", time.Minute}} {
		if d >= unit.d && d%unit.d == 0 {
			return c.text("span."+unit.name, "n", int(d/unit.d))
		}
	}
	return c.text("span.seconds", "n", int(d/time.Second))
}

// event is what an action of the audit log is in words; one that has none is itself.
func (c catalogue) event(action keys.Action) string {
	if text, err := c.text("event." + string(action)); err == nil {
		return text
	}
	return string(action)
}

// date is a time to the minute.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// seconds is a duration in them, to the millisecond and never too short.
func seconds(d time.Duration) string {
	d = (d + time.Millisecond - 1).Truncate(time.Millisecond)
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

// show writes a page. It is rendered whole before a byte of it is sent.
func (p *panel) show(w http.ResponseWriter, v *visitor, name string, status int, data any) {
	var b bytes.Buffer
	page, err := p.faces[v.taste.Language].page(name)
	if err == nil {
		err = page.Execute(&b, struct {
			Visitor *visitor
			Back    string // for the form of the preferences
			Data    any
		}{v, p.back(v.path), data})
	}
	if err != nil {
		p.config.Logger.Error("page not rendered", "page", name, "error", err)
		http.Error(w, "The server failed.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// SignedIn tells whether somebody is.
func (v *visitor) SignedIn() bool { return v.Email != "" }

// Name of the visitor in this organisation, or the address.
func (v *visitor) Name() string { return cmp.Or(v.member.Name, v.Email) }

// WarnAfter is after how many milliseconds without another request the page warns that
// the session is about to end. The server counts requests by the minute.
func (v *visitor) WarnAfter() int64 { return (keys.SessionIdle - 3*time.Minute).Milliseconds() }

// Note is what a page says of the change that led to it: saved or unconfirmed;
// empty: nothing.
func (v *visitor) Note() string { return v.note }

// Reached is how far what was cut by the change that led to the page has come; nil: nothing.
func (v *visitor) Reached() *keys.Receipt { return v.reached }

// Org is the organisation of the page.
func (v *visitor) Org() keys.Organization { return v.org }

// Language, Theme, Shortcuts (on or off) and Direction of the page.
func (v *visitor) Language() string { return v.taste.Language }
func (v *visitor) Theme() string    { return v.taste.Theme }
func (v *visitor) Shortcuts() string {
	return v.taste.shortcuts()
}
func (v *visitor) Direction() string {
	if script, _ := language.Make(v.taste.Language).Script(); script.String() == "Arab" {
		return "rtl"
	}
	return "ltr"
}

// A section is a page that the navigation leads to.
type section struct {
	Path, Text string
	Current    bool
	action     keys.Action
}

// sections of an organisation, and those of the operator.
var (
	sections = []section{
		{Path: "keys", Text: "nav.keys", action: "key.read"},
		{Path: "keys/review", Text: "nav.review", action: "usage.read"},
		{Path: "keys/usage", Text: "nav.usage", action: "usage.read"},
		{Path: "members", Text: "nav.members", action: "member.read"},
		{Path: "audit", Text: "nav.audit", action: "audit.read"},
		{Path: "policy", Text: "nav.policy", action: "organization.read"},
		{Path: "plan", Text: "nav.plan", action: "organization.read"},
		{Path: "token", Text: "nav.token", action: "organization.read"},
	}
	operatorSections = []section{
		{Path: "orgs", Text: "nav.orgs", action: "organization.list"},
		{Path: "resources", Text: "nav.resources", action: "catalogue.read"},
		{Path: "presets", Text: "nav.presets", action: "catalogue.read"},
		{Path: "signing-keys", Text: "nav.signing_keys", action: "signing.read"},
		{Path: "verifiers", Text: "nav.verifiers", action: "verifier.read"},
		{Path: "health", Text: "nav.health", action: "verifier.read"},
	}
)

// Root of the pages that the navigation leads to, and the pages that the visitor's role
// may read.
func (v *visitor) Root() string { return v.root }
func (v *visitor) Sections() (list []section) {
	all := sections
	if v.root == operatorRoot {
		all = operatorSections
	}
	current := -1
	for _, s := range all {
		if v.root == "" || v.by.May(s.action) != nil {
			continue
		}
		list = append(list, s)
		if _, rest, _ := strings.Cut(v.path, v.root+"/"); rest == s.Path || strings.HasPrefix(rest, s.Path+"/") {
			if current < 0 || len(s.Path) > len(list[current].Path) {
				current = len(list) - 1
			}
		}
	}
	if current >= 0 {
		list[current].Current = true
	}
	return list
}

// back is the page to show after the preferences have changed on this one. What answers
// a form cannot be asked for again; the page above it can.
func (p *panel) back(at string) string {
	for ; len(at) > len(p.base); at = path.Dir(at) {
		if p.pages.Route(http.MethodGet, at) != "" {
			return at
		}
	}
	return p.base + "/"
}

// writeJSON answers a script of the panel's own.
func writeJSON(w http.ResponseWriter, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(data)
	return nil
}
