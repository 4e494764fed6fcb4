package gateway_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/imara/apikeys/tokens/gateway"
	"github.com/imara/apikeys/tokens/tokenstest"
)

const audience = "https://api.example.com"

func TestVerdicts(t *testing.T) {
	issuer := tokenstest.New(t)
	handler := gateway.New(map[string]gateway.Resource{
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
