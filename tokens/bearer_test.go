package tokens_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/tokenstest"
)

// TestChallenges is RFC 6750 §3 in its whole: S-036 to S-045, S-092.
func TestChallenges(t *testing.T) {
	issuer := tokenstest.New(t)
	v, err := tokens.NewVerifier(tokens.Config{Issuer: tokenstest.URL, Audience: audience, Feed: issuer,
		Keys: issuer.Keys(), ResourceMetadata: audience + "/.well-known/oauth-protected-resource"})
	if err != nil {
		t.Fatal(err)
	}
	reached := 0
	handler := v.Require("alerts:read", "alerts:write")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached++
		if c, ok := tokens.FromContext(r.Context()); !ok || c.ClientID != tokenstest.ClientID {
			t.Errorf("no claims in the context")
		}
	}))
	good := issuer.Token(audience, "alerts:read", "alerts:write")
	narrow := issuer.Token(audience, "alerts:read")
	const realm = `Bearer realm="` + audience + `"`
	const metadata = `, resource_metadata="` + audience + `/.well-known/oauth-protected-resource"`
	const invalid = `, error="invalid_token", error_description="`
	for _, row := range []struct {
		name      string
		url       string
		headers   []string
		status    int
		challenge string
	}{
		{"good", "/", []string{"Bearer " + good}, 200, ""},
		{"scheme in any case", "/", []string{"bEaReR " + good}, 200, ""},
		{"nothing", "/", nil, 401, realm + metadata},
		{"another scheme", "/", []string{"Basic abc"}, 401, realm + metadata},
		{"token in the query", "/?access_token=" + good, nil, 401, realm + metadata},
		{"token twice", "/?access_token=x", []string{"Bearer " + good}, 400, realm + `, error="invalid_request", error_description="Send one access token, in the Authorization header."` + metadata},
		{"header twice", "/", []string{"Bearer " + good, "Bearer " + good}, 400, realm + `, error="invalid_request", error_description="Send one access token, in the Authorization header."` + metadata},
		{"empty token", "/", []string{"Bearer "}, 401, realm + invalid + `The access token is not valid here."` + metadata},
		{"garbage", "/", []string{"Bearer <script>\"\\"}, 401, realm + invalid + `The access token is not valid here."` + metadata},
		{"expired", "/", []string{"Bearer " + issuer.Expired(audience, "alerts:read")}, 401, realm + invalid + `The access token expired."` + metadata},
		{"another audience", "/", []string{"Bearer " + issuer.Token("https://other.example")}, 401, realm + invalid + `The access token is not valid here."` + metadata},
		{"too few scopes", "/", []string{"Bearer " + narrow}, 403, realm + `, error="insufficient_scope", error_description="The access token lacks a scope that this request needs.", scope="alerts:read alerts:write"` + metadata},
	} {
		w := ask(handler, row.url, row.headers)
		if w.Code != row.status || w.Header().Get("WWW-Authenticate") != row.challenge {
			t.Errorf("%s: %d %s\nwant %d %s", row.name, w.Code, w.Header().Get("WWW-Authenticate"), row.status, row.challenge)
		}
		if row.status != 200 && (w.Header().Get("Cache-Control") != "no-store" || !json.Valid(w.Body.Bytes())) {
			t.Errorf("%s: headers %v body %s", row.name, w.Header(), w.Body)
		}
	}
	if reached != 2 {
		t.Errorf("the handler ran %d times, want 2", reached)
	}
	issuer.Revoke(tokenstest.ClientID)
	if w := ask(handler, "/", []string{"Bearer " + good}); w.Code != 401 || !strings.Contains(w.Header().Get("WWW-Authenticate"), "revoked") {
		t.Errorf("revoked: %d %v", w.Code, w.Header())
	}
	issuer.Stall()
	w := ask(handler, "/", []string{"Bearer " + issuer.Token(audience, "alerts:read", "alerts:write")})
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("stale: %d %v", w.Code, w.Header())
	}
}

func ask(handler http.Handler, url string, headers []string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", url, nil)
	for _, h := range headers {
		r.Header.Add("Authorization", h)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func TestProtectedResourceMetadata(t *testing.T) {
	w := httptest.NewRecorder()
	tokenstest.New(t).Verifier(audience).Metadata("Alerts", "alerts:read").ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	const want = `{"resource":"https://api.example.com","authorization_servers":["https://issuer.example"],` +
		`"scopes_supported":["alerts:read"],"bearer_methods_supported":["header"],"resource_name":"Alerts"}` + "\n"
	if w.Body.String() != want {
		t.Errorf("got %s\nwant %s", w.Body, want)
	}
}

func FuzzBearer(f *testing.F) {
	issuer := tokenstest.New(f)
	handler := issuer.Verifier(audience).Require("alerts:read")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	good := issuer.Token(audience, "alerts:read")
	f.Add("Bearer " + good)
	f.Add("bearer  x.y.z")
	f.Add("Basic \"\\\r\n")
	f.Fuzz(func(t *testing.T, header string) {
		w := ask(handler, "/", []string{header})
		if w.Code == 200 && !strings.Contains(header, good) {
			t.Fatalf("admitted %q", header)
		}
		if strings.ContainsAny(w.Header().Get("WWW-Authenticate"), "\r\n\\") {
			t.Fatalf("challenge %q", w.Header().Get("WWW-Authenticate"))
		}
	})
}
