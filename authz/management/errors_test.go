package management

import (
	"net/http"
	"strings"
	"testing"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/tokenstest"
)

// TestEveryCodeHasAPage: with cause and fix, as JSON for programs and HTML for people.
func TestEveryCodeHasAPage(t *testing.T) {
	a := newAPI(t, "Professional")
	codes := map[string]bool{"invalid_token": true, "insufficient_scope": true, "invalid_request": true, "temporarily_unavailable": true}
	for _, known := range problems {
		codes[known.code] = true
	}
	for _, code := range []string{codeLimit, codeField, codeBody, codeLarge, codeMedia, codeServer, codeToken} {
		codes[code] = true
	}
	for _, page := range authz.ErrorPages() {
		codes[page.Code] = true
	}
	for code := range codes {
		page, ok := pageOf(code)
		if !ok || page.Title == "" || page.Fix == "" {
			t.Errorf("%s: %+v", code, page)
		}
		got := a.call("GET", "/v1/errors/"+code, "", "")
		if got.Code != 200 || got.json["code"] != code || got.json["title"] != page.Title || got.json["fix"] != page.Fix || got.json["cause"] == "" {
			t.Errorf("%s: %d %s", code, got.Code, got.Body)
		}
		html := a.call("GET", "/v1/errors/"+code, "", "", "Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
		if html.Code != 200 || html.Header().Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(html.Body.String(), "<h2>Fix</h2>") ||
			!strings.Contains(html.Body.String(), code) || html.Header().Get("Vary") != "Accept" || html.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d %v %s", code, html.Code, html.Header(), html.Body)
		}
	}
	for accept, want := range map[string]string{"": "application/json", "*/*": "application/json", "application/json": "application/json",
		"application/json, text/html;q=0.5": "application/json", "text/html": "text/html; charset=utf-8", "text/html;q=0": "application/json"} {
		if got := a.call("GET", "/v1/errors/not_found", "", "", "Accept", accept); got.Header().Get("Content-Type") != want {
			t.Errorf("%s: %s", accept, got.Header().Get("Content-Type"))
		}
	}
	a.problem("no such code", a.call("GET", "/v1/errors/%3Cscript%3E", "", "", "Accept", "text/html"), 404, "not_found")
}

// TestEveryProblemSaysWhatToDo: whatever is refused, and by whom.
func TestEveryProblemSaysWhatToDo(t *testing.T) {
	w := newWorld(t)
	org := "/v1/orgs/org/keys"
	token := w.token("org", everything)
	for name, got := range map[string]reply{
		"no token":        w.call("GET", "/v1/me", "", ""),
		"garbage":         w.call("GET", "/v1/me", "x.y.z", ""),
		"secret":          w.call("GET", "/v1/me", "imara_cs_live_x", ""),
		"no scope":        w.call("GET", org, w.token("org", "org:read"), ""),
		"not there":       w.call("GET", "/v1/nothing", token, ""),
		"method":          w.call("PUT", "/v1/me", token, ""),
		"unknown field":   w.call("POST", org, token, `{"nmae":"x"}`),
		"no JSON":         w.call("POST", org, token, `{`),
		"media type":      w.call("POST", org, token, `{}`, "Content-Type", "text/plain"),
		"large":           w.call("POST", org, token, `{"name":"`+strings.Repeat("x", maxBody)+`"}`),
		"field":           w.call("POST", org, token, `{"name":"","scopes":["alerts:read"]}`),
		"query":           w.call("GET", org+"?limti=1", token, ""),
		"query value":     w.call("GET", org+"?limit=x", token, ""),
		"cursor":          w.call("GET", org+"?cursor=x", token, ""),
		"header":          w.call("POST", org, token, `{"name":"x","scopes":["alerts:read"]}`, "Idempotency-Key", "a b"),
		"actor":           w.call("GET", org, w.token("org", "keys:read"), "", "Imara-Actor", "mem_org_owner"),
		"another's":       w.call("GET", "/v1/orgs/other/keys", token, ""),
		"ambiguous":       w.call("GET", "/v1//me", token, ""),
		"wrong signature": w.call("POST", "/v1/leaks", "", `{`),
	} {
		fix, _ := got.json["fix"].(string)
		title, _ := got.json["title"].(string)
		code, _ := got.json["code"].(string)
		if got.Code < 400 || fix == "" || title == "" || got.json["type"] != authz.ErrorURI(tokenstest.URL, code) || w.call("GET", "/v1/errors/"+code, "", "").Code != 200 {
			t.Errorf("%s: %d %s", name, got.Code, got.Body)
		}
	}
}

// TestUnknownNamesAreToldApart: by a pointer, and by the name that was meant.
func TestUnknownNamesAreToldApart(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything+" operator")
	for _, row := range []struct{ method, path, body, pointer, fix string }{
		{"POST", "/v1/orgs/org/keys", `{"nmae":"x","scopes":["alerts:read"]}`, "/nmae", "Did you mean name?"},
		{"POST", "/v1/orgs/org/keys", `{"Name":"x"}`, "/Name", "Did you mean name?"},
		{"POST", "/v1/orgs/org/keys", `{"name":"x","external_id":"7"}`, "/external_id", "Leave it out, or use one of "},
		{"POST", "/v1/orgs/org/keys", `{"name":"x","a/b~c":"7"}`, "/a~1b~0c", "Leave it out, or use one of "},
		{"POST", "/v1/resources", `{"audience":"https://x.example","name":"x","scopes":[{"name":"a"},{"name":"b","levle":"read"}]}`, "/scopes/1/levle", "Did you mean level?"},
	} {
		got := w.call(row.method, row.path, token, row.body)
		w.problem(row.body, got, 400, "invalid_body")
		fix, _ := got.json["fix"].(string)
		errs, _ := got.json["errors"].([]any)
		if len(errs) != 1 || errs[0].(map[string]any)["pointer"] != row.pointer || !strings.HasPrefix(fix, row.fix) {
			t.Errorf("%s: %s", row.body, got.Body)
		}
	}
	if got := w.call("GET", "/v1/orgs/org/keys?limti=1", token, ""); got.Code != 422 || got.json["fix"] != "Did you mean limit?" {
		t.Errorf("%s", got.Body)
	}
}

// TestWhoAmINeedsNoScope: any good token of this API may ask, also for a member, of
// another organisation if the key is the operator's.
func TestWhoAmINeedsNoScope(t *testing.T) {
	w := newWorld(t)
	for _, scope := range []string{"", "org:read", "keys:write"} {
		if got := w.call("GET", "/v1/me", w.token("org", scope), ""); got.Code != 200 || got.json["organization"] != "org" {
			t.Errorf("%q: %d %s", scope, got.Code, got.Body)
		}
	}
	for name, row := range map[string]struct {
		token, member string
		status        int
		organization  any
	}{
		"own":                {w.token("org", "members:act"), "mem_org_developer", 200, "org"},
		"operator's":         {w.token("staff", "members:act operator"), "mem_other_owner", 200, "other"},
		"another's":          {w.token("org", "members:act"), "mem_other_owner", 403, nil},
		"not allowed to act": {w.token("staff", "operator"), "mem_other_owner", 403, nil},
		"nobody":             {w.token("staff", "members:act operator"), "mem_none", 403, nil},
	} {
		got := w.call("GET", "/v1/me", row.token, "", "Imara-Actor", row.member)
		if got.Code != row.status || got.json["organization"] != row.organization || row.status == 200 && got.json["member"] != row.member {
			t.Errorf("%s: %d %s", name, got.Code, got.Body)
		}
	}
	w.problem("no token", w.call("GET", "/v1/me", "", ""), 401, codeToken)
	other := w.issuer.TokenWith(func(c *tokens.Claims) { c.Audience = tokens.Audience{"https://api.example.com"} })
	w.problem("a token of another API", w.call("GET", "/v1/me", other, ""), 401, "invalid_token")
	if got := w.call("GET", "/v1/orgs/org/keys", w.token("org", "org:read"), ""); !strings.Contains(got.json["detail"].(string), "lacks keys:read") ||
		!strings.Contains(got.Header().Get("WWW-Authenticate"), "lacks keys:read") {
		t.Errorf("%s", got.Body)
	}
	// No other route is so.
	for _, rt := range w.server.routes {
		if rt.scope == "" && !rt.open && rt.path != "/me" {
			t.Errorf("%s %s needs no scope", rt.method, rt.path)
		}
	}
	_, err := w.registry.MemberAnywhere(t.Context(), "mem_none")
	if err != keys.ErrNotFound {
		t.Errorf("%v", err)
	}
	if w.call("HEAD", "/v1/me", w.token("org", ""), "").Code != http.StatusOK {
		t.Error("HEAD")
	}
}

// TestOpenAPIDocumentIsForEveryOrigin: nothing else of the API is.
func TestOpenAPIDocumentIsForEveryOrigin(t *testing.T) {
	a := newAPI(t, "Professional")
	document := a.call("GET", "/v1/openapi.json", "", "", "Origin", "https://page.example")
	if document.Code != 200 || document.Header().Get("Access-Control-Allow-Origin") != "*" || document.Header().Get("ETag") == "" {
		t.Errorf("%d %v", document.Code, document.Header())
	}
	if again := a.call("GET", "/v1/openapi.json", "", "", "If-None-Match", document.Header().Get("ETag")); again.Code != 304 {
		t.Errorf("%d", again.Code)
	}
	if preflight := a.call("OPTIONS", "/v1/openapi.json", "", ""); preflight.Code != 204 {
		t.Errorf("%d", preflight.Code)
	}
	for _, method := range []string{"GET", "OPTIONS"} {
		if me := a.call(method, "/v1/me", a.token("org", ""), ""); me.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s /v1/me: %v", method, me.Header())
		}
	}
}
