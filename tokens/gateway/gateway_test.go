package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/gateway"
	"github.com/imara/apikeys/tokens/tokenstest"
)

const audience = "https://api.example.com"

func newGateway(t *testing.T, resources map[string]gateway.Resource) http.Handler {
	t.Helper()
	handler, err := gateway.New(resources)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// TestResourcesThatCannotBeServedAreRefused, before the first request.
func TestResourcesThatCannotBeServedAreRefused(t *testing.T) {
	verifier := tokenstest.New(t).Verifier(audience)
	for name, resources := range map[string]map[string]gateway.Resource{
		"no verifier": {"alerts": {}},
		"no name":     {"": {Verifier: verifier}},
		"a slash":     {"a/b": {Verifier: verifier}},
		"dots":        {"..": {Verifier: verifier}},
		"a space":     {"a b": {Verifier: verifier}},
	} {
		if _, err := gateway.New(resources); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestVerdicts(t *testing.T) {
	issuer := tokenstest.New(t)
	handler := newGateway(t, map[string]gateway.Resource{
		"alerts": {Verifier: issuer.Verifier(audience), Scopes: []string{"alerts:read"}},
		"open":   {Verifier: issuer.Verifier(audience)},
	})
	ask := func(method, path, token string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		// What a caller may send to pass as another.
		r.Header.Set("X-Auth-Client-Id", "admin")
		w := httptest.NewRecorder()
		w.Header().Set("X-Request-Id", "request-1") // as a server around does
		handler.ServeHTTP(w, r)
		return w
	}
	good := issuer.Token(audience, "alerts:read")
	for _, row := range []struct {
		name, method, path, token string
		status                    int
	}{
		{"good", "GET", "/verify/alerts", good, 200},
		{"good, any method, deeper", "POST", "/verify/alerts/v1/x", good, 200},
		{"the caller's query says nothing", "GET", "/verify/alerts?access_token=x&scope=none", good, 200},
		{"no token", "GET", "/verify/alerts", "", 401},
		{"garbage", "GET", "/verify/alerts", "x.y.z", 401},
		{"expired", "GET", "/verify/alerts", issuer.Expired(audience, "alerts:read"), 401},
		{"another audience", "GET", "/verify/alerts", issuer.Token("https://other.example", "alerts:read"), 401},
		{"another scope", "GET", "/verify/alerts", issuer.Token(audience, "alerts:write"), 403},
		{"no scope needed", "GET", "/verify/open", issuer.Token(audience), 200},
		{"unknown resource", "GET", "/verify/nothing", good, 404},
	} {
		w := ask(row.method, row.path, row.token)
		if w.Code != row.status {
			t.Errorf("%s: %d %s", row.name, w.Code, w.Body)
		}
		for _, name := range gateway.Headers() {
			got := w.Header().Values(name)
			if len(got) != 1 || (got[0] != "") != (w.Code == 200) && name != "X-Auth-Scope" && name != "X-Auth-Key-Name" {
				t.Errorf("%s: %s: %q", row.name, name, got)
			}
		}
		if challenge := w.Header().Get("WWW-Authenticate"); (w.Code == 401 || w.Code == 403) != (challenge != "") {
			t.Errorf("%s: challenge %q", row.name, challenge)
		}
	}
	w := ask("GET", "/verify/open", issuer.Token(audience))
	for name, want := range map[string]string{"Client-Id": tokenstest.ClientID, "Org": tokenstest.Organization, "Scope": ""} {
		if got := w.Header().Values("X-Auth-" + name); len(got) != 1 || got[0] != want {
			t.Errorf("X-Auth-%s: %q, want %q, once", name, got, want)
		}
	}
	issuer.Revoke(tokenstest.ClientID)
	if w := ask("GET", "/verify/alerts", good); w.Code != 401 || !strings.Contains(w.Body.String(), "revoked") {
		t.Errorf("revoked: %d %s", w.Code, w.Body)
	}
	issuer.Stall()
	if w := ask("GET", "/verify/alerts", issuer.Token(audience, "alerts:read")); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("stale: %d %v", w.Code, w.Header())
	}
}

// TestGatewayDecidesByTokenAndName: nothing that a caller or its proxy may say beside them
// changes a decision.
func TestGatewayDecidesByTokenAndName(t *testing.T) {
	issuer := tokenstest.New(t)
	handler := newGateway(t, map[string]gateway.Resource{
		"alerts": {Verifier: issuer.Verifier(audience), Scopes: []string{"alerts:read"}},
		"open":   {Verifier: issuer.Verifier(audience)},
	})
	good := issuer.Token(audience, "alerts:read")
	for _, headers := range [][2]string{{"X-Forwarded-Uri", "/verify/open"}, {"X-Original-Url", "/livez"}, {"X-Rewrite-Url", "/verify/open"},
		{"X-Forwarded-Method", "OPTIONS"}, {"X-Forwarded-Host", "open"}, {"X_Auth_Client_Id", "admin"}, {"x-auth-client-id", "admin"},
		{"X-Auth-Org", "admin"}, {"Remote_User", "admin"}, {"Connection", "X-Auth-Client-Id, X-Auth-Org"}, {"Te", "X-Auth-Org"},
		{"User-Agent", "kube-probe/1.30"}, {"User-Agent", "GoogleHC/1.0"}, {"X-Forwarded-For", "127.0.0.1"}, {"Upgrade", "websocket"}} {
		for _, query := range []string{"", "?x=/verify/open", "?resource=open&access_token=" + good, "?%23/verify/open"} {
			for token, status := range map[string]int{"": 401, "x.y.z": 401, good: 200} {
				r := httptest.NewRequest("GET", "/verify/alerts"+query, nil)
				r.Header.Set(headers[0], headers[1])
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if got := w.Header().Get("X-Auth-Client-Id"); w.Code != status || status == 200 && got != tokenstest.ClientID || status != 200 && got != "" {
					t.Errorf("%v, %q, %.10q: %d %v", headers, query, token, w.Code, w.Header())
				}
			}
		}
	}
}

// TestAmbiguousPathsAreRefused is R-094: the caller is judged by no path that the proxy
// or the program behind it may read as another, and is never sent to another.
func TestAmbiguousPathsAreRefused(t *testing.T) {
	issuer := tokenstest.New(t)
	handler := newGateway(t, map[string]gateway.Resource{"alerts": {Verifier: issuer.Verifier(audience)}, "open": {Verifier: issuer.Verifier(audience)}})
	good := issuer.Token(audience, "alerts:read")
	for path, status := range map[string]int{
		"/verify/alerts//x": 400, "/verify/alerts/v1/../admin": 400, "/verify/alerts/../open": 400, "/verify/alerts/./x": 400, "//verify/alerts": 400,
		"/verify/alerts/%2e%2e/open": 400, "/verify/alerts/a%2fb": 400, "/verify/alerts/a%5cb": 400, "/verify/alerts/a;x=y": 400, "/verify/alerts/a%3bx": 400,
		"/verify/alerts/a%00": 400, "/verify/alerts/%252e%252e/b": 400, "/verify/alerts/admin.": 400, "/verify/alerts/a%ff": 400,
		"/verify/alerts/": 200, "/verify/alerts/v1/x/": 200, "/verify/alerts/a%20b": 200,
		"/verify": 404, "/verify/": 404, "/": 404, "/verify/none": 404, "/verify/none/x": 404,
	} {
		for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS"} {
			r := httptest.NewRequest(method, path, nil)
			r.Header.Set("Authorization", "Bearer "+good)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != status || status != 200 && !json.Valid(w.Body.Bytes()) || status == 400 && !strings.Contains(w.Body.String(), "ambiguous path") {
				t.Errorf("%s %s: %d %v %s", method, path, w.Code, w.Header(), w.Body)
			}
		}
	}
}

// TestNamesOfKeysAreHeaderFields: whatever their owners called them.
func TestNamesOfKeysAreHeaderFields(t *testing.T) {
	issuer := tokenstest.New(t)
	handler := newGateway(t, map[string]gateway.Resource{"open": {Verifier: issuer.Verifier(audience)}})
	for name, want := range map[string]string{
		"":                     "",
		"CI/CD Pipeline, 100%": "CI/CD Pipeline, 100%",
		"Übersicht":            "UTF-8''%C3%9Cbersicht",
		"a\r\nX-Auth-Org: b":   "UTF-8''a%0D%0AX-Auth-Org:%20b",
		"UTF-8''a":             "UTF-8''UTF-8%27%27a",
	} {
		r := httptest.NewRequest("GET", "/verify/open", nil)
		r.Header.Set("Authorization", "Bearer "+issuer.TokenWith(func(c *tokens.Claims) {
			c.Audience, c.ClientName = tokens.Audience{audience}, name
		}))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if got := w.Header().Get("X-Auth-Key-Name"); w.Code != 200 || got != want {
			t.Errorf("%q: %d %q", name, w.Code, got)
		}
	}
}
