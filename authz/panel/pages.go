package panel

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
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

// parsePages parses every template with the functions that it may call.
func parsePages(base string) (map[string]*template.Template, error) {
	english, err := readCatalogue("en")
	if err != nil {
		return nil, err
	}
	functions := template.FuncMap{
		"t":       english.text,
		"base":    func() string { return base },
		"ago":     func(t time.Time) (string, error) { return english.ago(time.Now(), t) },
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"seconds": func(d time.Duration) string { return fmt.Sprintf("%.3g", d.Seconds()) },
		"date":    func(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") },
	}
	files, err := templates.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	pages := map[string]*template.Template{}
	for _, f := range files {
		name, _ := strings.CutSuffix(f.Name(), ".html")
		if name == "layout" {
			continue
		}
		t, err := template.New("layout.html").Funcs(functions).ParseFS(templates, "templates/layout.html", "templates/"+f.Name())
		if err != nil {
			return nil, err
		}
		pages[name] = t
	}
	return pages, nil
}

// ago is how far a time is from now, in words.
func (c catalogue) ago(now, t time.Time) (string, error) {
	d, when := now.Sub(t), "past"
	if d < 0 {
		d, when = -d, "future"
	}
	for _, unit := range []struct {
		name string
		d    time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if d >= unit.d {
			return c.text("time."+when+"."+unit.name, "n", int(d/unit.d))
		}
	}
	return c.text("time." + when + ".now")
}

// show writes a page. It is rendered whole before a byte of it is sent.
func (p *panel) show(w http.ResponseWriter, v *visitor, name string, status int, data any) {
	var b bytes.Buffer
	err := p.pages[name].Execute(&b, struct {
		Visitor *visitor
		Data    any
	}{v, data})
	if err != nil {
		p.Logger.Error("page not rendered", "page", name, "error", err)
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

// Org is the organisation of the page.
func (v *visitor) Org() keys.Organization { return v.org }
