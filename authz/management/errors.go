package management

import (
	"bytes"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// errorPage is what a person sees who opens the type of a problem, or an error_uri.
var errorPage = template.Must(template.New("error").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Code}}</title>
<style>
body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto }
:root { color-scheme: light dark }
</style>
<main>
<h1><code>{{.Code}}</code></h1>
<h2>Cause</h2>
<p>{{.Title}}.</p>
<h2>Fix</h2>
<p>{{.Fix}}</p>
</main>
</html>
`))

// showError explains an error code: as a page to a browser, as JSON to a program.
func (s *server) showError(w http.ResponseWriter, r *http.Request) {
	page, ok := pageOf(r.PathValue("code"))
	if !ok {
		s.fail(w, r, keys.ErrNotFound)
		return
	}
	w.Header().Set("Vary", "Accept")
	if !prefersHTML(r.Header.Get("Accept")) {
		data, err := json.Marshal(map[string]string{"code": page.Code, "title": page.Title,
			"cause": page.Title + ".", "fix": page.Fix})
		if err != nil {
			s.fail(w, r, err)
			return
		}
		tokens.ServePublic(w, r, "application/json", append(data, '\n'))
		return
	}
	var b bytes.Buffer
	if err := errorPage.Execute(&b, page); err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; "+
		"frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	tokens.ServePublic(w, r, "text/html; charset=utf-8", b.Bytes())
}

// prefersHTML tells whether an Accept header (RFC 9110 §12.5.1) names HTML, and JSON not
// with a larger weight.
func prefersHTML(accept string) bool {
	var html, json float64
	for media := range strings.SplitSeq(accept, ",") {
		name, parameters, _ := strings.Cut(media, ";")
		weight := 1.0
		for parameter := range strings.SplitSeq(parameters, ";") {
			if q, ok := strings.CutPrefix(strings.TrimSpace(parameter), "q="); ok {
				weight, _ = strconv.ParseFloat(q, 64)
			}
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "text/html", "application/xhtml+xml":
			html = max(html, weight)
		case "application/json":
			json = max(json, weight)
		}
	}
	return html > 0 && html >= json
}
