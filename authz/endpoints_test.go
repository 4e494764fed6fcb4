package authz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

func (r *running) get(path, token string) answer {
	r.t.Helper()
	request, err := http.NewRequest("GET", r.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return send(r.t, request)
}

// TestRevocationEndpoint is RFC 7009: S-046 to S-051, R-063.
func TestRevocationEndpoint(t *testing.T) {
	s := newHouse(t).start(0)
	api := s.follow("api", 0)
	c, stranger := s.demoKey(), s.demoKey()
	id, secret := c.Key.ClientID, c.Secret.Reveal()
	raw, sibling := s.token(c), s.token(c)
	revoke := func(id, secret string, parameters ...string) answer {
		return s.post("/oauth2/revoke", id, secret, parameters...)
	}
	for _, row := range []struct {
		name   string
		a      answer
		status int
		code   any
	}{
		{"no authentication", revoke("", "", "token", raw), 401, "invalid_client"},
		{"wrong secret", revoke(id, "x", "token", raw), 401, "invalid_client"},
		{"no token", revoke(id, secret), 400, "invalid_request"},
		{"token of another client", revoke(stranger.Key.ClientID, stranger.Secret.Reveal(), "token", raw), 400, "invalid_grant"},
		{"garbage", revoke(id, secret, "token", "garbage"), 200, nil},
		{"empty JWT", revoke(id, secret, "token", "e30.e30.e30"), 200, nil},
		{"Bearer before it", revoke(id, secret, "token", "Bearer "+raw), 400, "invalid_request"},
		{"in quotes", revoke(id, secret, "token", `"`+raw+`"`), 400, "invalid_request"},
		{"in JSON", revoke(id, secret, "token", `{"access_token":"`+raw+`"}`), 400, "invalid_request"},
		{"padded", revoke(id, secret, "token", raw+"=="), 400, "invalid_request"},
		{"letters behind it", revoke(id, secret, "token", raw+"abc"), 400, "invalid_request"},
		{"letters before it", revoke(id, secret, "token", "abc"+raw), 400, "invalid_request"},
		{"twice", revoke(id, secret, "token", raw+" "+raw), 400, "invalid_request"},
	} {
		if row.a.status != row.status || row.a.json["error"] != row.code || row.a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s %v", row.name, row.a.status, row.a.body, row.a.header)
		}
	}
	if _, err := api.Verify(raw); err != nil {
		t.Fatalf("refused requests revoked something: %v", err)
	}
	for range 2 {
		if a := revoke(id, secret, "token", " \t"+raw+"\r\n", "token_type_hint", "refresh_token", "callback", "x"); a.status != 200 || a.body != "" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if _, err := api.Verify(raw); !errors.Is(err, tokens.ErrRevoked) {
			t.Errorf("accepted after the endpoint answered: %v", err)
		}
	}
	if _, err := api.Verify(sibling); err != nil {
		t.Errorf("another token of the client: %v", err)
	}
	// Some verifier may still accept it: its leeway may be a minute.
	ended := *mustInspect(t, sibling)
	ended.IssuedAt, ended.ExpiresAt, ended.ID = ended.IssuedAt-600, time.Now().Add(-30*time.Second).Unix(), "late"
	late, err := s.config.Ring.Sign(tokens.ES256, &ended)
	if err != nil {
		t.Fatal(err)
	}
	if a := revoke(id, secret, "token", late); a.status != 200 {
		t.Errorf("late: %d %s", a.status, a.body)
	}
	if s.relay.changes.Newest(tokens.Token("late")) == 0 {
		t.Error("a token within the leeway of some verifier was not cut")
	}
	if a := s.get("/oauth2/revoke", ""); a.status != 405 {
		t.Errorf("GET: %d", a.status)
	}
}

func mustInspect(t *testing.T, raw string) *tokens.Claims {
	t.Helper()
	u, err := tokens.Inspect(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &u.Claims
}

// TestIntrospectionEndpoint is RFC 7662: S-052 to S-055, R-062.
func TestIntrospectionEndpoint(t *testing.T) {
	s := newHouse(t).start(0)
	c, stranger := s.demoKey(), s.demoKey()
	reader := s.key("operator", keys.Access{Scopes: []string{introspectScope}, Resources: []string{ManagementAudience(s.issuer), demoAPI}})
	elsewhere := s.key("operator", keys.Access{Scopes: []string{introspectScope}, Resources: []string{ManagementAudience(s.issuer), billingAPI}})
	raw := s.token(c, "scope", "alerts:read")
	ask := func(who keys.Created, token string) answer {
		t.Helper()
		a := s.post("/oauth2/introspect", who.Key.ClientID, who.Secret.Reveal(), "token", token)
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return a
	}
	for name, who := range map[string]keys.Created{"the client itself": c, "a resource server": reader} {
		a := ask(who, "\n"+raw+" ")
		want := map[string]any{"active": true, "token_type": "Bearer", "iss": s.issuer, "sub": c.Key.ClientID, "client_id": c.Key.ClientID,
			"aud": demoAPI, "scope": "alerts:read", "org": "org"}
		for member, value := range want {
			if a.json[member] != value {
				t.Errorf("%s: %s is %v, want %v", name, member, a.json[member], value)
			}
		}
	}
	const inactive = `{"active":false}` + "\n"
	for name, a := range map[string]answer{
		"another client":             ask(stranger, raw),
		"server of another resource": ask(elsewhere, raw),
		"garbage":                    ask(reader, "garbage"),
		"re-spelled":                 ask(reader, raw+"="),
		"truncated":                  ask(reader, raw[:len(raw)-1]),
	} {
		if a.body != inactive {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	if a := s.post("/oauth2/introspect", "", "", "token", raw); a.status != 401 {
		t.Errorf("no authentication: %d", a.status)
	}
	if a := s.post("/oauth2/introspect", c.Key.ClientID, c.Secret.Reveal()); a.status != 400 {
		t.Errorf("no token: %d", a.status)
	}
	if _, _, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil {
		t.Fatal(err)
	}
	if a := ask(reader, raw); a.body != inactive {
		t.Errorf("revoked: %s", a.body)
	}
}

// TestMetadata is RFC 8414 and RFC 9728: what is published is what works.
func TestMetadata(t *testing.T) {
	s := newHouse(t).start(0)
	a := s.get("/.well-known/oauth-authorization-server", "")
	if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", a.status, a.header)
	}
	if twin := s.get("/.well-known/openid-configuration", ""); twin.body != a.body {
		t.Errorf("the two documents differ")
	}
	for member, want := range map[string]any{"issuer": s.issuer, "token_endpoint": s.issuer + "/oauth2/token", "jwks_uri": s.issuer + "/.well-known/jwks.json"} {
		if a.json[member] != want {
			t.Errorf("%s: %v", member, a.json[member])
		}
	}
	if grants, ok := a.json["grant_types_supported"].([]any); !ok || len(grants) != 1 || grants[0] != "client_credentials" {
		t.Errorf("grants %v", a.json["grant_types_supported"])
	}
	for member, value := range a.json {
		if list, ok := value.([]any); ok && len(list) == 0 {
			t.Errorf("%s is empty", member)
		}
	}
	if scopes := fmt.Sprint(a.json["scopes_supported"]); strings.Contains(scopes, "operator") || !strings.Contains(scopes, "alerts:read") {
		t.Errorf("scopes %s", scopes)
	}
	if resources := fmt.Sprint(a.json["protected_resources"]); !strings.Contains(resources, demoAPI) || !strings.Contains(resources, ManagementAudience(s.issuer)) {
		t.Errorf("resources %s", resources)
	}
	if types := fmt.Sprint(a.json["response_types_supported"]); types != "[none]" || a.json["authorization_endpoint"] != s.issuer+"/oauth2/authorize" {
		t.Errorf("response types %s at %v", types, a.json["authorization_endpoint"])
	}
	if algorithms := fmt.Sprint(a.json["id_token_signing_alg_values_supported"]); algorithms != "[ES256 RS256 EdDSA Ed25519]" {
		t.Errorf("algorithms %s", algorithms)
	}
	if root := s.get("/.well-known/oauth-protected-resource", ""); root.status != 404 || root.json["error"] != "not_found" {
		t.Errorf("root: %d %s", root.status, root.body)
	}
	resource := s.get("/.well-known/oauth-protected-resource/v1", "")
	if scopes, _ := resource.json["scopes_supported"].([]any); resource.json["resource"] != ManagementAudience(s.issuer) || len(scopes) != len(ManagementScopes()) {
		t.Errorf("%s", resource.body)
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if a := s.get(path, ""); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := s.get("/nothing", ""); a.status != 404 {
		t.Errorf("nothing: %d", a.status)
	}
}

// TestAuthorizeAlwaysRefuses: with any method and parameters, and never by a redirect.
func TestAuthorizeAlwaysRefuses(t *testing.T) {
	s := newHouse(t).start(0)
	for _, query := range []string{"", "?response_type=code&client_id=x&redirect_uri=https://x.example&state=s", "?response_type=none"} {
		for _, a := range []answer{s.get("/oauth2/authorize"+query, ""), s.post("/oauth2/authorize"+query, "", "", "response_type", "token")} {
			if a.status != 400 || a.json["error"] != "unsupported_response_type" || a.header.Get("Location") != "" {
				t.Errorf("%s: %d %s", query, a.status, a.body)
			}
		}
	}
}

// TestPublicDocumentsAreForEveryOrigin: those, and nothing that takes credentials.
func TestPublicDocumentsAreForEveryOrigin(t *testing.T) {
	s := newHouse(t).start(0)
	ask := func(method, path string) answer {
		r, err := http.NewRequest(method, s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://page.example")
		r.Header.Set("Access-Control-Request-Headers", "mcp-protocol-version")
		return send(t, r)
	}
	for path, public := range map[string]bool{"/.well-known/oauth-authorization-server": true, "/.well-known/openid-configuration": true,
		"/.well-known/jwks.json": true, "/.well-known/oauth-protected-resource/v1": true,
		"/oauth2/token": false, "/oauth2/revoke": false, "/oauth2/introspect": false, "/oauth2/authorize": false, "/feed/sessions": false, "/nothing": false} {
		for _, method := range []string{"GET", "OPTIONS", "POST"} {
			a := ask(method, path)
			if allowed := a.header.Get("Access-Control-Allow-Origin"); (allowed == "*") != public || !public && allowed != "" {
				t.Errorf("%s %s: %d %v", method, path, a.status, a.header)
			}
		}
		if a := ask("GET", path); public && (a.status != 200 || a.header.Get("ETag") == "") {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
}

// TestJWKSetHasTheAlgorithmsThatAPIsUse: ES256 first, and no kind of key that no API has
// chosen. The keys of an algorithm are there before its first token, which every verifier
// accepts at once, at another server too.
func TestJWKSetHasTheAlgorithmsThatAPIsUse(t *testing.T) {
	h := newHouse(t)
	s := h.start(0)
	algorithms := func(of *running) string {
		var set tokens.JWKSet
		if err := json.Unmarshal([]byte(of.get("/.well-known/jwks.json", "").body), &set); err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, key := range set.Keys {
			text += key.Algorithm + " "
		}
		return text
	}
	if got := algorithms(s); got != "ES256 ES256 RS256 RS256 " {
		t.Errorf("the JWK Set has %s", got)
	}
	replica, api := h.start(0), s.follow("api", 0)
	if _, err := s.registry.PutResource(context.Background(), keys.Program("test"), keys.Resource{Audience: demoAPI, Name: "Demo",
		Algorithm: tokens.EdDSA, Scopes: []keys.Scope{{Name: "alerts:read"}, {Name: "alerts:write"}}}); err != nil {
		t.Fatal(err)
	}
	raw := s.token(s.demoKey())
	if u, err := tokens.Inspect(raw); err != nil || u.Header.Algorithm != tokens.EdDSA {
		t.Errorf("the token is signed with %s, %v", u.Header.Algorithm, err)
	}
	eventually(t, "the verifier accepts it", func() bool {
		_, err := api.Verify(raw)
		if err != nil && !errors.Is(err, tokens.ErrStale) {
			t.Fatalf("refused: %v", err)
		}
		return err == nil
	})
	if got := algorithms(s); got != "ES256 ES256 RS256 RS256 EdDSA EdDSA " {
		t.Errorf("the JWK Set has %s", got)
	}
	eventually(t, "the replica publishes it", func() bool { return algorithms(replica) == algorithms(s) })
}

// TestAudienceOfTheTokenMayBeNamed: as servers that do not know RFC 8707 want it.
func TestAudienceOfTheTokenMayBeNamed(t *testing.T) {
	s := newHouse(t).start(0)
	key := s.demoKey()
	if raw := s.token(key, "audience", demoAPI); mustInspect(t, raw).Audience[0] != demoAPI {
		t.Error("another audience")
	}
	s.token(key, "audience", demoAPI, "resource", demoAPI)
	s.token(key, "audience", "")
}

// TestErrorsLeadToTheirPage: error_uri (RFC 6749 §5.2) is where the code is explained.
func TestErrorsLeadToTheirPage(t *testing.T) {
	s := newHouse(t).start(0)
	for _, a := range []answer{s.post("/oauth2/token", "", ""), s.post("/oauth2/token", "x", "y", "grant_type", "client_credentials"), s.get("/nothing", ""), s.get("/oauth2/authorize", "")} {
		if code, _ := a.json["error"].(string); code == "" || a.json["error_uri"] != ErrorURI(s.issuer, code) {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	for _, e := range clientErrors {
		if s.errorURI(e.code) == "" {
			t.Errorf("no page for %s", e.code)
		}
	}
	for _, e := range serverErrors {
		if s.errorURI(e.code) == "" {
			t.Errorf("no page for %s", e.code)
		}
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`oauthError\{http\.Status\w+, "(\w+)"`).FindAllSubmatch(source, -1) {
			if s.errorURI(string(match[1])) == "" {
				t.Errorf("%s: no page for %s", name, match[1])
			}
		}
	}
}

// TestIssuerWithAPath: metadata before the path, everything else below (S-084).
func TestIssuerWithAPath(t *testing.T) {
	h := newHouse(t)
	h.issuer = "https://auth.example.com/t1"
	s := h.start(0)
	for path, want := range map[string]int{
		"/.well-known/oauth-authorization-server/t1": 200, "/.well-known/oauth-authorization-server": 404,
		"/.well-known/openid-configuration/t1": 200, "/t1/.well-known/openid-configuration": 200,
		"/t1/.well-known/jwks.json": 200, "/t1/livez": 200, "/livez": 200, "/.well-known/oauth-protected-resource/t1/v1": 200,
	} {
		if a := s.get(path, ""); a.status != want {
			t.Errorf("%s: %d, want %d", path, a.status, want)
		}
	}
	c := s.demoKey()
	if a := s.post("/t1/oauth2/token", c.Key.ClientID, c.Secret.Reveal(), "grant_type", "client_credentials"); a.status != 200 {
		t.Errorf("token: %d %s", a.status, a.body)
	}
}

// TestFeedIsForVerifiersOnly: joining makes revocations wait, so it takes a key
// that the operator gave the scope.
func TestFeedIsForVerifiersOnly(t *testing.T) {
	s := newHouse(t).start(0)
	verifier := s.token(s.key("operator", keys.Access{Scopes: []string{keys.FeedScope}}))
	customer := s.token(s.key("org", keys.Access{Scopes: []string{"keys:read"}}))
	wrongAudience := s.token(s.demoKey())
	join := func(token, body string) answer {
		request, err := http.NewRequest("POST", s.url+"/feed/sessions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		return send(t, request)
	}
	good := `{"name":"x","lease_ms":10000}`
	for name, row := range map[string]struct {
		token, body string
		status      int
	}{
		"no token": {"", good, 401}, "no scope": {customer, good, 403}, "another audience": {wrongAudience, good, 401},
		"no body": {verifier, "", 400}, "no name": {verifier, `{"lease_ms":10000}`, 400}, "short lease": {verifier, `{"name":"x","lease_ms":999}`, 400},
		"long lease": {verifier, `{"name":"x","lease_ms":60001}`, 400}, "negative lease": {verifier, `{"name":"x","lease_ms":-1}`, 400}, "lease that overflows": {verifier, `{"name":"x","lease_ms":18446744083710}`, 400},
		"long name": {verifier, `{"name":"` + strings.Repeat("x", 201) + `","lease_ms":10000}`, 400}, "large body": {verifier, strings.Repeat(" ", 20000) + good, 400},
	} {
		if a := join(row.token, row.body); a.status != row.status {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	sessions, err := s.store.Sessions(context.Background())
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%d sessions, want the server's own: %v", len(sessions), err)
	}
	joined := join(verifier, good)
	if joined.status != 201 {
		t.Fatal(joined.body)
	}
	session := joined.json["session"].(string)

	for path, want := range map[string]int{
		"/feed/sessions/" + session: 400, "/feed/sessions/" + session + "?after=x&head=0&wait_ms=0&nonce=n": 400,
		"/feed/sessions/nobody?after=1&head=0&wait_ms=0&nonce=n":                                 404,
		"/feed/sessions/" + session + "?after=99999999999999&head=0&wait_ms=0&nonce=n":           410,
		"/feed/sessions/" + session + "?after=" + position(joined) + "&head=7&wait_ms=0&nonce=n": 410,
	} {
		if a := s.get(path, verifier); a.status != want {
			t.Errorf("%s: %d %s, want %d", path, a.status, a.body, want)
		}
	}

}

func position(a answer) string {
	n, err := json.Marshal(uint64(a.json["watermark"].(float64)))
	if err != nil {
		panic(err)
	}
	return string(n)
}

// TestChallengesNameTheMetadata is RFC 9728 §5.1.
func TestChallengesNameTheMetadata(t *testing.T) {
	s := newHouse(t).start(0)
	a := s.get("/feed/sessions/x", "")
	location := `resource_metadata="` + s.issuer + `/.well-known/oauth-protected-resource/v1"`
	if a.status != 401 || !strings.Contains(a.header.Get("WWW-Authenticate"), location) {
		t.Errorf("%d %v", a.status, a.header)
	}
}

// TestPanicIsAnAnswer is F-09 and P-12: the process lives, the client gets JSON,
// the log gets the reason.
func TestPanicIsAnAnswer(t *testing.T) {
	var log syncBuffer
	handler := web.Log(slog.New(slog.NewJSONHandler(&log, nil)), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/?secret=1", nil))
	if w.Code != 500 || !json.Valid(w.Body.Bytes()) || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "boom") || strings.Contains(log.String(), "secret") {
		t.Errorf("%s", log.String())
	}
}

// TestUnexpectedErrorSaysNothing: P-12 and P-13.
func TestUnexpectedErrorSaysNothing(t *testing.T) {
	s := newHouse(t).start(0)
	for _, err := range []error{errors.New("pq: secret detail"), sliceError{"secret detail"}} {
		w := httptest.NewRecorder()
		s.fail(w, httptest.NewRequest("GET", "/", nil), err)
		if w.Code != 500 || strings.Contains(w.Body.String(), "detail") || !strings.Contains(w.Body.String(), "server_error") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if a, challenge, known := explain(failedClient(true, "invalid_client", "x")); !known || !challenge || a.status != 401 {
		t.Errorf("%+v", a)
	}
}

type sliceError []string

func (e sliceError) Error() string { return e[0] }

// TestEngineIssuesNothingWithoutTheFront: the grant engine, reached past the
// front, has no client to issue to.
func TestEngineIssuesNothingWithoutTheFront(t *testing.T) {
	s := newHouse(t).start(0)
	r := httptest.NewRequest("POST", "/", strings.NewReader("grant_type=client_credentials&client_id=x&client_secret=y"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	if err := s.engine.HandleTokenRequest(w, r); w.Code == 200 || strings.Contains(w.Body.String(), "access_token") {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
	if _, err := s.mint(r); err == nil {
		t.Error("minted")
	}
}

func TestMarginGrowsWithTheLease(t *testing.T) {
	for lease, want := range map[time.Duration]time.Duration{time.Second: 100 * time.Millisecond, 10 * time.Second: 300 * time.Millisecond, time.Minute: 1800 * time.Millisecond} {
		if got := margin(lease); got != want {
			t.Errorf("%v: %v, want %v", lease, got, want)
		}
	}
}

// TestFormMayEndInANewline: files and shells put one there.
func TestFormMayEndInANewline(t *testing.T) {
	for _, end := range []string{"\n", "\r\n", "\r\n\r\n"} {
		r := httptest.NewRequest("POST", "/", strings.NewReader("grant_type=client_credentials"+end))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if f, err := readForm(httptest.NewRecorder(), r, maxBody); err != nil || f.get("grant_type") != "client_credentials" {
			t.Errorf("%q: %v, %v", end, f, err)
		}
	}
}

// TestHealthIsWhereProbesAsk: below the issuer's path, and without it.
func TestHealthIsWhereProbesAsk(t *testing.T) {
	s := newHouse(t).start(0)
	base := IssuerPath(s.config.Issuer)
	for _, path := range []string{"/livez", "/readyz", base + "/livez", base + "/readyz"} {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
