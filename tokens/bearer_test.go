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
	const need = `, scope="alerts:read alerts:write"`
	const endpoint = tokenstest.URL + "/oauth2/token"
	const garbage = realm + invalid + `This is not an access token. Send the access_token of an answer of ` + endpoint + ` as it is, with nothing around it."` + need + metadata
	const twice = realm + `, error="invalid_request", error_description="Send one access token, in the Authorization header. Leave out the other one."` + metadata
	for _, row := range []struct {
		name      string
		url       string
		headers   []string
		status    int
		challenge string
	}{
		{"good", "/", []string{"Bearer " + good}, 200, ""},
		{"scheme in any case", "/", []string{"bEaReR " + good}, 200, ""},
		{"nothing", "/", nil, 401, realm + need + metadata},
		{"another scheme", "/", []string{"Basic abc"}, 401, realm + need + metadata},
		{"token in the query", "/?access_token=" + good, nil, 401, realm + need + metadata},
		{"token twice", "/?access_token=x", []string{"Bearer " + good}, 400, twice},
		{"header twice", "/", []string{"Bearer " + good, "Bearer " + good}, 400, twice},
		{"empty token", "/", []string{"Bearer "}, 401, garbage},
		{"garbage", "/", []string{"Bearer <script>\"\\"}, 401, garbage},
		{"something behind it", "/", []string{"Bearer " + good + " x"}, 401, garbage},
		{"another algorithm's header", "/", []string{"Bearer e30.e30.e30"}, 401, garbage},
		{"client secret", "/", []string{"Bearer imara_cs_live_0123456789ab_x"}, 401, realm + invalid + `This is a client ID or a client secret, not an access token. Exchange it at ` + endpoint + `, and send the access_token of the answer."` + need + metadata},
		{"client id", "/", []string{"Bearer " + tokenstest.ClientID}, 401, realm + invalid + `This is a client ID or a client secret, not an access token. Exchange it at ` + endpoint + `, and send the access_token of the answer."` + need + metadata},
		{"expired", "/", []string{"Bearer " + issuer.Expired(audience, "alerts:read")}, 401, realm + invalid + `The access token expired. Get a new one from ` + endpoint + `."` + need + metadata},
		{"another audience", "/", []string{"Bearer " + issuer.Token("https://other.example")}, 401, realm + invalid + `The access token is for https://other.example, and this is ` + audience + `. Ask the token endpoint for one with resource=` + audience + `."` + need + metadata},
		{"another audience, forged", "/", []string{"Bearer " + forged(issuer.Token("https://other.example"))}, 401, realm + invalid + `The access token is not valid here. Get one from ` + endpoint + `."` + need + metadata},
		{"expired, forged", "/", []string{"Bearer " + forged(issuer.Expired(audience, "alerts:read"))}, 401, realm + invalid + `The access token is not valid here. Get one from ` + endpoint + `."` + need + metadata},
		{"too few scopes", "/", []string{"Bearer " + narrow}, 403, realm + `, error="insufficient_scope", error_description="The access token lacks alerts:write, which this request needs. Ask ` + endpoint + ` for it, or have it granted to the key."` + need + metadata},
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

// forged is a token with the first letter of its signature changed.
func forged(raw string) string {
	at := strings.LastIndex(raw, ".") + 1
	letter := "A"
	if raw[at] == 'A' {
		letter = "B"
	}
	return raw[:at] + letter + raw[at+1:]
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

// TestProtectedResourceMetadata: one document an audience, which everybody may read, and
// which the challenges of that audience name (RFC 9728 §3.3, §5.1).
func TestProtectedResourceMetadata(t *testing.T) {
	document := tokenstest.New(t).Verifier(audience).Metadata("Alerts", "alerts:read")
	ask := func(method string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/", nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		document.ServeHTTP(w, r)
		return w
	}
	w := ask("GET", "Origin", "https://page.example")
	const want = `{"resource":"https://api.example.com","authorization_servers":["https://issuer.example"],` +
		`"scopes_supported":["alerts:read"],"bearer_methods_supported":["header"],"resource_name":"Alerts"}` + "\n"
	tag := w.Header().Get("ETag")
	if w.Body.String() != want || w.Header().Get("Access-Control-Allow-Origin") != "*" || tag == "" {
		t.Errorf("got %s %v\nwant %s", w.Body, w.Header(), want)
	}
	for _, tags := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		if w := ask("GET", "If-None-Match", tags); w.Code != 304 || w.Body.Len() > 0 {
			t.Errorf("If-None-Match %s: %d %s", tags, w.Code, w.Body)
		}
	}
	if w := ask("GET", "If-None-Match", `"x"`); w.Code != 200 {
		t.Errorf("another ETag: %d", w.Code)
	}
	if w := ask("HEAD"); w.Code != 200 || w.Header().Get("ETag") != tag || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	if w := ask("OPTIONS", "Access-Control-Request-Headers", "mcp-protocol-version"); w.Code != 204 ||
		w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Allow-Headers") != "*" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	if w := ask("POST"); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, OPTIONS" || !json.Valid(w.Body.Bytes()) {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

// TestAnotherAudienceNamesItsOwnMetadata is S-091: a client must not use a document of
// another resource.
func TestAnotherAudienceNamesItsOwnMetadata(t *testing.T) {
	issuer := tokenstest.New(t)
	config := tokens.Config{Issuer: tokenstest.URL, Audience: "https://api.example.com/v1", Feed: issuer, Keys: issuer.Keys()}
	for own, want := range map[string]string{"": "", "https://elsewhere.example/document": "https://api.example.com/.well-known/oauth-protected-resource/v2"} {
		config.ResourceMetadata = own
		v, err := tokens.NewVerifier(config)
		if err != nil {
			t.Fatal(err)
		}
		for audience, want := range map[string]string{config.Audience: own, "https://api.example.com/v2": want, "urn:x": ""} {
			other, err := v.WithAudience(audience)
			if err != nil {
				t.Fatal(err)
			}
			challenge := other.Refuse(tokens.ErrMissing).Challenge
			if want == "" && strings.Contains(challenge, "resource_metadata") || !strings.Contains(challenge, want) {
				t.Errorf("%s, beside %q: %s, want %q", audience, own, challenge, want)
			}
		}
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
