package authz

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// allowed is what RFC 6749 §5.2 lets an error and its description hold.
var allowed = regexp.MustCompile(`^[\x20-\x21\x23-\x5B\x5D-\x7E]*$`)

// TestTokenEndpointRefusals is every way to ask wrongly, with the exact answer.
func TestTokenEndpointRefusals(t *testing.T) {
	s := newHouse(t).start(0)
	c, other := s.demoKey(), s.demoKey()
	id, secret := c.Key.ClientID, c.Secret.Reveal()
	const grant = "grant_type=client_credentials"
	inBody := grant + "&client_id=" + id + "&client_secret=" + secret
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
	as := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
	}
	const wrong = "Unknown client, or the secret does not match."
	for _, row := range []struct {
		name, method, query, media, authorization, body string
		status                                          int
		code, description                               string
	}{
		{name: "GET", method: "GET", authorization: basic, status: 405, code: "invalid_request", description: "Use POST."},
		{name: "PUT", method: "PUT", authorization: basic, body: grant, status: 405, code: "invalid_request", description: "Use POST."},
		{name: "secret in the URL", query: "?client_secret=" + secret, body: grant, status: 400, code: "invalid_request", description: "Parameters must be in the body, not in the URL."},
		{name: "grant in the URL", query: "?" + grant, authorization: basic, status: 400, code: "invalid_request", description: "Parameters must be in the body, not in the URL."},
		{name: "JSON", media: "application/json", authorization: basic, body: `{"grant_type":"client_credentials"}`, status: 400, code: "invalid_request", description: "Use application/x-www-form-urlencoded. You sent application/json."},
		{name: "multipart", media: "multipart/form-data; boundary=x", authorization: basic, body: "--x--", status: 400, code: "invalid_request", description: "Use application/x-www-form-urlencoded. You sent multipart/form-data."},
		{name: "media type of nobody", media: `evil/"type"`, authorization: basic, body: grant, status: 400, code: "invalid_request", description: "Use application/x-www-form-urlencoded."},
		{name: "no media type", media: "-", authorization: basic, body: grant, status: 400, code: "invalid_request", description: "Use application/x-www-form-urlencoded."},
		{name: "another charset", media: "application/x-www-form-urlencoded; charset=utf-16", authorization: basic, body: grant, status: 400, code: "invalid_request", description: "Leave the charset out of the Content-Type, or make it UTF-8. You sent utf-16."},
		{name: "the charset of old clients", media: "application/x-www-form-urlencoded; charset=ISO-8859-1", authorization: basic, body: grant, status: 400, code: "invalid_request", description: "Leave the charset out of the Content-Type, or make it UTF-8. You sent ISO-8859-1."},
		{name: "a charset that is none", media: "application/x-www-form-urlencoded; charset=\"a b\"", authorization: basic, body: grant, status: 400, code: "invalid_request", description: "Leave the charset out of the Content-Type, or make it UTF-8."},
		{name: "large body", authorization: basic, body: grant + "&x=" + strings.Repeat("y", maxBody), status: 400, code: "invalid_request", description: "The body is larger than 8192 bytes."},
		{name: "many parameters", authorization: basic, body: grant + strings.Repeat("&x=", 101), status: 400, code: "invalid_request", description: "More than 100 parameters."},
		{name: "bad percent", authorization: basic, body: grant + "&scope=%zz", status: 400, code: "invalid_request", description: "The body is not a well-formed form."},
		{name: "semicolon", authorization: basic, body: grant + ";scope=x", status: 400, code: "invalid_request", description: "The body is not a well-formed form."},
		{name: "not UTF-8", authorization: basic, body: grant + "&scope=%ff", status: 400, code: "invalid_request", description: "The body is not UTF-8."},
		{name: "scope twice", authorization: basic, body: grant + "&scope=alerts:read&scope=alerts:read", status: 400, code: "invalid_request", description: "scope was sent twice."},
		{name: "grant_type twice", authorization: basic, body: grant + "&" + grant, status: 400, code: "invalid_request", description: "grant_type was sent twice."},
		{name: "client_id twice", body: inBody + "&client_id=" + id, status: 400, code: "invalid_request", description: "client_id was sent twice."},
		{name: "strange name twice", authorization: basic, body: grant + "&%22%5c=1&%22%5c=1", status: 400, code: "invalid_request", description: "A parameter was sent twice."},
		{name: "no grant_type", authorization: basic, body: "scope=alerts:read", status: 400, code: "invalid_request", description: "grant_type is required."},
		{name: "empty grant_type", authorization: basic, body: "grant_type=", status: 400, code: "invalid_request", description: "grant_type is required."},
		{name: "empty body", authorization: basic, status: 400, code: "invalid_request", description: "grant_type is required."},
		{name: "password", authorization: basic, body: "grant_type=password&username=a&password=b", status: 400, code: "unsupported_grant_type"},
		{name: "authorization_code", authorization: basic, body: "grant_type=authorization_code&code=x", status: 400, code: "unsupported_grant_type"},
		{name: "refresh_token", authorization: basic, body: "grant_type=refresh_token&refresh_token=x", status: 400, code: "unsupported_grant_type"},
		{name: "implicit", authorization: basic, body: "grant_type=__implicit", status: 400, code: "unsupported_grant_type"},
		{name: "token exchange", authorization: basic, body: "grant_type=urn:ietf:params:oauth:grant-type:token-exchange", status: 400, code: "unsupported_grant_type"},
		{name: "device", authorization: basic, body: "grant_type=urn:ietf:params:oauth:grant-type:device_code", status: 400, code: "unsupported_grant_type"},
		{name: "upper case", authorization: basic, body: "grant_type=CLIENT_CREDENTIALS", status: 400, code: "unsupported_grant_type"},

		{name: "no credentials", body: grant, status: 401, code: "invalid_client", description: "Send the client ID and secret with HTTP Basic, or in the body, not both."},
		{name: "client_id alone", body: grant + "&client_id=" + id, status: 401, code: "invalid_client"},
		{name: "empty secret in the body", body: grant + "&client_id=" + id + "&client_secret=", status: 401, code: "invalid_client"},
		{name: "secret alone", body: grant + "&client_secret=" + secret, status: 401, code: "invalid_client"},
		{name: "both", authorization: basic, body: inBody, status: 400, code: "invalid_request", description: "Credentials came twice. Use the header or the body."},
		{name: "Basic and another client_id", authorization: basic, body: grant + "&client_id=" + other.Key.ClientID, status: 400, code: "invalid_request", description: "client_id is not the one of the Authorization header."},
		{name: "Basic and an assertion", authorization: basic, body: grant + "&client_assertion=x", status: 401, code: "invalid_client"},
		{name: "assertion", body: grant + "&client_assertion=x&client_assertion_type=y", status: 400, code: "invalid_client"},
		{name: "Bearer", authorization: "Bearer x", body: grant, status: 401, code: "invalid_client", description: "Use HTTP Basic."},
		{name: "bad base64", authorization: "Basic !!", body: grant, status: 401, code: "invalid_client", description: "Malformed Basic credentials."},
		{name: "no colon", authorization: "Basic " + base64.StdEncoding.EncodeToString([]byte(id)), body: grant, status: 401, code: "invalid_client", description: "Malformed Basic credentials."},
		{name: "bad encoding in Basic", authorization: as("%zz", secret), body: grant, status: 401, code: "invalid_client", description: "Malformed Basic credentials."},
		{name: "empty Basic", authorization: "Basic", body: grant, status: 401, code: "invalid_client"},
		{name: "wrong secret", authorization: as(id, other.Secret.Reveal()), body: grant, status: 401, code: "invalid_client", description: wrong},
		{name: "truncated secret", authorization: as(id, secret[:len(secret)-1]), body: grant, status: 401, code: "invalid_client", description: wrong},
		{name: "empty secret", authorization: as(id, ""), body: grant, status: 401, code: "invalid_client", description: wrong},
		{name: "unknown client", authorization: as("imara_ci_00000000000000000000", secret), body: grant, status: 401, code: "invalid_client", description: wrong},
		{name: "client in upper case", authorization: as(strings.ToUpper(id), secret), body: grant, status: 401, code: "invalid_client", description: wrong},
		{name: "swapped", authorization: as(secret, id), body: grant, status: 401, code: "invalid_client", description: wrong},
		{name: "wrong secret in the body", body: grant + "&client_id=" + id + "&client_secret=x", status: 400, code: "invalid_client", description: wrong},
		{name: "unknown client in the body", body: grant + "&client_id=nobody&client_secret=x", status: 400, code: "invalid_client", description: wrong},
		// No answer about scopes or resources before the client is known.
		{name: "wrong secret and bad scope", authorization: as(id, "x"), body: grant + "&scope=nothing", status: 401, code: "invalid_client", description: wrong},
		{name: "wrong secret and bad resource", authorization: as(id, "x"), body: grant + "&resource=x", status: 401, code: "invalid_client", description: wrong},

		{name: "scope not granted", authorization: basic, body: grant + "&scope=invoices:read", status: 400, code: "invalid_scope", description: "Not granted to this key: invoices:read. Granted: alerts:read alerts:write."},
		{name: "scope of nobody", authorization: basic, body: grant + "&scope=alerts:read+nothing", status: 400, code: "invalid_scope", description: "Not granted to this key: nothing. Granted: alerts:read alerts:write."},
		{name: "scope in upper case", authorization: basic, body: grant + "&scope=ALERTS:READ", status: 400, code: "invalid_scope"},
		{name: "scope with a quote", authorization: basic, body: grant + `&scope=a"b`, status: 400, code: "invalid_scope", description: "scope is not a list of scopes with single spaces between them."},
		{name: "scope with a tab", authorization: basic, body: grant + "&scope=a%09b", status: 400, code: "invalid_scope"},
		{name: "scope with two spaces", authorization: basic, body: grant + "&scope=alerts:read++alerts:write", status: 400, code: "invalid_scope"},
		{name: "scope with NUL", authorization: basic, body: grant + "&scope=a%00", status: 400, code: "invalid_scope"},
		{name: "scope with an accent", authorization: basic, body: grant + "&scope=%C3%A9", status: 400, code: "invalid_scope"},
		{name: "long scope", authorization: basic, body: grant + "&scope=" + strings.Repeat("a+", 2500), status: 400, code: "invalid_scope", description: "scope is longer than 4096 bytes."},
		{name: "another audience", authorization: basic, body: grant + "&audience=https://nobody.example", status: 400, code: "invalid_target",
			description: "The audience that was asked for is not that of the token, which would be for " + demoAPI + ". Name the API with resource, and leave audience out."},
		{name: "another audience than the resource", authorization: basic, body: grant + "&resource=" + demoAPI + "&audience=" + billingAPI, status: 400, code: "invalid_target",
			description: "The audience that was asked for is not that of the token, which would be for " + demoAPI + ". Name the API with resource, and leave audience out."},
		{name: "unknown resource", authorization: basic, body: grant + "&resource=https://nobody.example", status: 400, code: "invalid_target", description: "Unknown resource. This key has " + demoAPI + "."},
		{name: "resource of others", authorization: basic, body: grant + "&resource=" + billingAPI, status: 400, code: "invalid_target", description: "Unknown resource. This key has " + demoAPI + "."},
		{name: "relative resource", authorization: basic, body: grant + "&resource=/x", status: 400, code: "invalid_target", description: "Unknown resource. This key has " + demoAPI + "."},
		{name: "resource with a fragment", authorization: basic, body: grant + "&resource=" + url.QueryEscape(demoAPI+"#x"), status: 400, code: "invalid_target", description: "Unknown resource. This key has " + demoAPI + "."},
		{name: "one good and one bad resource", authorization: basic, body: grant + "&resource=" + demoAPI + "&resource=x", status: 400, code: "invalid_target", description: "Unknown resource. This key has " + demoAPI + "."},
	} {
		method := row.method
		if method == "" {
			method = "POST"
		}
		request, err := http.NewRequest(method, s.url+"/oauth2/token"+row.query, strings.NewReader(row.body))
		if err != nil {
			t.Fatal(err)
		}
		if row.media == "" {
			row.media = "application/x-www-form-urlencoded"
		}
		if row.media != "-" {
			request.Header.Set("Content-Type", row.media)
		}
		if row.authorization != "" {
			request.Header.Set("Authorization", row.authorization)
		}
		a := send(t, request)
		description, _ := a.json["error_description"].(string)
		if a.status != row.status || a.json["error"] != row.code || row.description != "" && description != row.description {
			t.Errorf("%s: %d %s\nwant %d %s %s", row.name, a.status, a.body, row.status, row.code, row.description)
		}
		challenge := a.header.Get("WWW-Authenticate")
		if (a.status == 401) != strings.HasPrefix(challenge, `Basic realm="`) || a.status == 401 && !strings.Contains(challenge, `error="`+row.code+`", error_description="`+description+`"`) {
			t.Errorf("%s: challenge %q", row.name, challenge)
		}
		if (a.status == 405) != (a.header.Get("Allow") == "POST") || a.header.Get("Cache-Control") != "no-store" ||
			a.header.Get("Content-Type") != "application/json" || a.header.Get("X-Request-Id") == "" || !allowed.MatchString(description) || description == "" {
			t.Errorf("%s: headers %v", row.name, a.header)
		}
		if strings.Contains(a.body, secret) {
			t.Errorf("%s: the answer repeats the secret", row.name)
		}
	}
}

// TestTokenEndpointGrants is every way to ask rightly, and what the token says.
func TestTokenEndpointGrants(t *testing.T) {
	s := newHouse(t).start(0)
	wide := s.key("org", keys.Access{Scopes: []string{"alerts:read", "alerts:write", "invoices:read", "legacy:read"}})
	id, secret := wide.Key.ClientID, wide.Secret.Reveal()
	for _, row := range []struct {
		name       string
		parameters []string
		audience   []string
		scope      string
		lifetime   int64
		algorithm  string
	}{
		{"nothing asked", nil, []string{demoAPI}, "alerts:read alerts:write", 600, tokens.ES256},
		{"spaces around", []string{"scope", " alerts:read  "}, []string{demoAPI}, "alerts:read", 600, tokens.ES256},
		{"a space only", []string{"scope", " "}, []string{demoAPI}, "alerts:read alerts:write", 600, tokens.ES256},
		{"one scope", []string{"scope", "alerts:write"}, []string{demoAPI}, "alerts:write", 600, tokens.ES256},
		{"scopes in another order, one twice", []string{"scope", "alerts:write alerts:read alerts:write"}, []string{demoAPI}, "alerts:write alerts:read", 600, tokens.ES256},
		{"scope of another resource", []string{"scope", "invoices:read"}, []string{billingAPI}, "invoices:read", 60, tokens.ES256},
		{"resource", []string{"resource", billingAPI}, []string{billingAPI}, "invoices:read", 60, tokens.ES256},
		{"two resources", []string{"resource", billingAPI, "resource", demoAPI}, []string{demoAPI, billingAPI}, "alerts:read alerts:write invoices:read", 60, tokens.ES256},
		{"the same resource twice", []string{"resource", demoAPI, "resource", demoAPI}, []string{demoAPI}, "alerts:read alerts:write", 600, tokens.ES256},
		{"RS256", []string{"scope", "legacy:read"}, []string{"https://legacy.example.com"}, "legacy:read", 600, tokens.RS256},
		{"empty scope, unknown parameters", []string{"scope", "", "foo", "bar", "x", "<script>"}, []string{demoAPI}, "alerts:read alerts:write", 600, tokens.ES256},
	} {
		a := s.post("/oauth2/token", id, secret, append([]string{"grant_type", "client_credentials"}, row.parameters...)...)
		if a.status != 200 || a.json["token_type"] != "Bearer" || a.json["scope"] != row.scope || int64(a.json["expires_in"].(float64)) != row.lifetime ||
			a.json["refresh_token"] != nil || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
			t.Fatalf("%s: %d %s %v", row.name, a.status, a.body, a.header)
		}
		token, err := tokens.Inspect(a.json["access_token"].(string))
		if err != nil {
			t.Fatal(err)
		}
		claims := token.Claims
		if !slices.Equal(claims.Audience, row.audience) || claims.Scope != row.scope || claims.ExpiresAt-claims.IssuedAt != row.lifetime ||
			claims.Subject != id || claims.ClientID != id || claims.Organization != "org" || claims.Issuer != s.url || claims.ID == "" ||
			claims.Position == 0 || token.Header.Algorithm != row.algorithm || token.Header.Type != "at+jwt" {
			t.Errorf("%s: %+v", row.name, token)
		}
	}
	for name, parameters := range map[string][]string{
		"scopes of two resources":       {"scope", "alerts:read invoices:read"},
		"scope outside of the resource": {"scope", "alerts:read", "resource", billingAPI},
		"resources of two algorithms":   {"resource", demoAPI, "resource", "https://legacy.example.com"},
	} {
		if a := s.post("/oauth2/token", id, secret, append([]string{"grant_type", "client_credentials"}, parameters...)...); a.status != 400 || a.json["error"] != "invalid_scope" && a.json["error"] != "invalid_target" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := s.post("/oauth2/token", "", "", "grant_type", "client_credentials", "client_id", id, "client_secret", secret); a.status != 200 {
		t.Errorf("credentials in the body: %s", a.body)
	}
	// Some clients encode every character of the pair (RFC 6749 §2.3.1).
	if a := s.post("/oauth2/token", strings.ReplaceAll(id, "_", "%5F"), strings.ReplaceAll(secret, "_", "%5f"), "grant_type", "client_credentials"); a.status != 200 {
		t.Errorf("encoded credentials: %s", a.body)
	}
}

// TestStandardClient is golang.org/x/oauth2 in both of its styles.
func TestStandardClient(t *testing.T) {
	s := newHouse(t).start(0)
	c := s.demoKey()
	api := s.follow("api", 0)
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleAutoDetect, oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		config := clientcredentials.Config{ClientID: c.Key.ClientID, ClientSecret: c.Secret.Reveal(), TokenURL: s.url + "/oauth2/token",
			Scopes: []string{"alerts:read"}, AuthStyle: style}
		token, err := config.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if claims, err := api.Verify(token.AccessToken); err != nil || claims.Scope != "alerts:read" {
			t.Errorf("style %d: %+v, %v", style, claims, err)
		}
		config.ClientSecret = "wrong"
		_, err = config.Token(t.Context())
		if refused, ok := err.(*oauth2.RetrieveError); !ok || refused.ErrorCode != "invalid_client" || refused.ErrorDescription == "" {
			t.Errorf("style %d: %v", style, err)
		}
	}
}

// TestWhyARightSecretGetsNoToken: who proves the secret is told the reason.
func TestWhyARightSecretGetsNoToken(t *testing.T) {
	s := newHouse(t).start(0)
	ctx := context.Background()
	for name, row := range map[string]struct {
		change            func(keys.Key) error
		code, description string
	}{
		"revoked": {func(k keys.Key) error {
			_, _, err := s.registry.Revoke(ctx, keys.Program("test"), "org", k.ID, "")
			return err
		}, "invalid_client", "This key was revoked."},
		"suspended": {func(k keys.Key) error {
			_, _, err := s.registry.Suspend(ctx, keys.Program("test"), "org", k.ID, "")
			return err
		}, "invalid_client", "This key is suspended."},
		"rotated": {func(k keys.Key) error {
			_, err := s.registry.Rotate(ctx, keys.Program("test"), "org", k.ID, keys.Overlap{})
			return err
		}, "invalid_client", "This secret was replaced and has ended. Use the new one."},
		"no API plan": {func(keys.Key) error {
			_, _, err := s.registry.SetPlan(ctx, keys.Program("test"), "org", "Free", "")
			return err
		}, "unauthorized_client", "The plan of this organization does not include API access."},
	} {
		if _, _, err := s.registry.SetPlan(ctx, keys.Program("test"), "org", "Enterprise", ""); err != nil {
			t.Fatal(err)
		}
		c := s.demoKey()
		s.token(c)
		if err := row.change(c.Key); err != nil {
			t.Fatal(err)
		}
		a := s.post("/oauth2/token", c.Key.ClientID, c.Secret.Reveal(), "grant_type", "client_credentials")
		if a.json["error"] != row.code || a.json["error_description"] != row.description {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		a = s.post("/oauth2/token", c.Key.ClientID, "imara_cs_live_wrong", "grant_type", "client_credentials")
		if a.json["error_description"] != "Unknown client, or the secret does not match." {
			t.Errorf("%s, wrong secret: %s", name, a.body)
		}
	}
}

// TestTokenNeverOutlivesItsKeyOrSecret is R-068.
func TestTokenNeverOutlivesItsKeyOrSecret(t *testing.T) {
	s := newHouse(t).start(0)
	short := s.key("org", keys.Access{Scopes: []string{"alerts:read"}, ExpiresAt: time.Now().Add(100 * time.Second)})
	rotated := s.demoKey()
	if _, err := s.registry.Rotate(context.Background(), keys.Program("test"), "org", rotated.Key.ID, keys.Overlap{Max: 100 * time.Second}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []keys.Created{short, rotated} {
		token, err := tokens.Inspect(s.token(c))
		if err != nil {
			t.Fatal(err)
		}
		if left := token.Claims.ExpiresAt - token.Claims.IssuedAt; left > 100 || left < 60 {
			t.Errorf("lives %d s", left)
		}
	}
}

// counting counts what is read of keys.
type counting struct {
	keys.Store
	records, catalogues atomic.Int64
}

func (c *counting) Record(ctx context.Context, id, decoy string) (*keys.Record, error) {
	c.records.Add(1)
	return c.Store.Record(ctx, id, decoy)
}

func (c *counting) Resources(ctx context.Context) ([]keys.Resource, error) {
	c.catalogues.Add(1)
	return c.Store.Resources(ctx)
}

// TestSteadyStateReadsNoDatabase: a thousand tokens, one read; and one more
// after each change.
func TestSteadyStateReadsNoDatabase(t *testing.T) {
	h := newHouse(t)
	store := &counting{Store: h.store}
	h.store = store
	s := h.start(0)
	c, other := s.demoKey(), s.demoKey()
	s.token(c)
	before, catalogues := store.records.Load(), store.catalogues.Load()
	for range 1000 {
		s.token(c)
	}
	if n := store.records.Load() - before; n != 0 || store.catalogues.Load() != catalogues {
		t.Errorf("%d reads of the key, %d of the catalogue", n, store.catalogues.Load()-catalogues)
	}
	if _, err := s.registry.Rotate(context.Background(), keys.Program("test"), "org", c.Key.ID, keys.Overlap{Max: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.registry.Rotate(context.Background(), keys.Program("test"), "org", other.Key.ID, keys.Overlap{Max: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		s.token(c)
	}
	if n := store.records.Load() - before; n != 1 {
		t.Errorf("%d reads after a change, want 1", n)
	}
}

// TestNewSecretAndNewScopeWorkAtOnce: what a touch changes is there when the
// call returns, and live tokens stay.
func TestNewSecretAndNewScopeWorkAtOnce(t *testing.T) {
	s := newHouse(t).start(0)
	api := s.follow("api", 0)
	c := s.demoKey()
	live := s.token(c)
	rotated, err := s.registry.Rotate(context.Background(), keys.Program("test"), "org", c.Key.ID, keys.Overlap{Max: keys.MaxTokenTTL})
	if err != nil {
		t.Fatal(err)
	}
	c.Secret = rotated.Secret
	s.token(c)
	if _, err := api.Verify(live); err != nil {
		t.Errorf("rotation refused a live token: %v", err)
	}
	s.token(c)
	for range 20 {
		rotated, err := s.registry.Rotate(context.Background(), keys.Program("test"), "org", c.Key.ID, keys.Overlap{})
		if err != nil {
			t.Fatal(err)
		}
		c.Secret = rotated.Secret
		s.token(c)
	}
	live = s.token(c)
	_, _, err = s.registry.Edit(context.Background(), keys.Program("test"), "org", c.Key.ID, func(e *keys.KeyEdit) {
		e.Access = keys.Access{Scopes: []string{"alerts:read", "alerts:write", "invoices:read"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	s.token(c, "scope", "invoices:read")
	if _, err := api.Verify(live); err != nil {
		t.Errorf("a wider scope refused a live token: %v", err)
	}
}

// TestLastUseIsStored: in memory first, flushed when the server stops.
func TestLastUseIsStored(t *testing.T) {
	h := newHouse(t)
	s := h.start(0)
	c := s.demoKey()
	s.token(c)
	s.stop()
	k, err := h.store.Key(context.Background(), "org", c.Key.ID)
	if err != nil || time.Since(k.Credentials[0].LastUsedAt) > time.Minute {
		t.Errorf("last used %v, %v", k.Credentials[0].LastUsedAt, err)
	}
}

// TestTokenIdsAreUnique is S-078.
func TestTokenIdsAreUnique(t *testing.T) {
	s := newHouse(t).start(0)
	c := s.demoKey()
	seen := map[string]bool{}
	for range 500 {
		token, err := tokens.Inspect(s.token(c))
		if err != nil || seen[token.Claims.ID] {
			t.Fatalf("jti %s, %v", token.Claims.ID, err)
		}
		seen[token.Claims.ID] = true
	}
}

// TestTokenHasDocumentedClaimsOnly: no claim is of a person, or of the client's choice, and
// nothing is in the header but what names the key (S-083).
func TestTokenHasDocumentedClaimsOnly(t *testing.T) {
	s := newHouse(t).start(0)
	parts := strings.Split(s.token(s.demoKey(), "client_name", "x", "sub", "x", "claims", "{}", "org", "x"), ".")
	for i, want := range []string{"alg kid typ", "aud client_id client_name crd exp iat iss jti org rv scope sub"} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(members)), " "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestRefusalsBindEveryEndpoint: a key that may get no token may ask nothing else either,
// and the token that it has opens nothing.
func TestRefusalsBindEveryEndpoint(t *testing.T) {
	s := newHouse(t).start(0)
	ctx, by := context.Background(), keys.Program("test")
	const poll = "/feed/sessions/ver_x?nonce=x&after=1&head=0&wait_ms=0"
	for name, change := range map[string]func(keys.Key) error{
		"revoked":   func(k keys.Key) error { _, _, err := s.registry.Revoke(ctx, by, "operator", k.ID, ""); return err },
		"suspended": func(k keys.Key) error { _, _, err := s.registry.Suspend(ctx, by, "operator", k.ID, ""); return err },
	} {
		c := s.key("operator", keys.Access{Scopes: []string{keys.FeedScope}})
		token := s.token(c)
		if a := s.get(poll, token); a.status < 404 {
			t.Fatalf("%s: before: %d %s", name, a.status, a.body)
		}
		if err := change(c.Key); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/oauth2/token", "/oauth2/revoke", "/oauth2/introspect"} {
			if a := s.post(path, c.Key.ClientID, c.Secret.Reveal(), "grant_type", "client_credentials", "token", token); a.status != 401 {
				t.Errorf("%s: %s: %d %s", name, path, a.status, a.body)
			}
		}
		if a := s.get(poll, token); a.status != 401 {
			t.Errorf("%s: the feed: %d %s", name, a.status, a.body)
		}
		if _, err := s.Check(token); !errors.Is(err, tokens.ErrRevoked) {
			t.Errorf("%s: the management API's verifier: %v", name, err)
		}
	}
}

func FuzzForm(f *testing.F) {
	f.Add("grant_type=client_credentials&scope=a+b&resource=x&resource=y")
	f.Add("a=%zz;&&=&x")
	f.Fuzz(func(t *testing.T, body string) {
		parsed, err := parseForm(body)
		if err != nil {
			if answer, _, known := explain(err); !known || !allowed.MatchString(answer.description) || answer.status != 400 {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		for name, values := range parsed {
			if len(values) == 0 || values[0] == "" || len(values) > 1 && name != "resource" {
				t.Fatalf("%q: %q = %q", body, name, values)
			}
		}
		if g, err := decide(nil, &keys.Key{}, parsed.get("scope"), parsed["resource"]); err == nil {
			t.Fatalf("%q: a key without scopes got %+v", body, g)
		} else if answer, _, known := explain(err); !known || !allowed.MatchString(answer.description) {
			t.Fatalf("%q: %v", body, err)
		}
	})
}

func FuzzBasic(f *testing.F) {
	f.Add("Basic " + base64.StdEncoding.EncodeToString([]byte("id:secret")))
	f.Add("basic  !!")
	f.Fuzz(func(t *testing.T, header string) {
		c, err := basic(header)
		if err != nil {
			if answer, challenge, known := explain(err); !known || !challenge || answer.status != 401 {
				t.Fatalf("%q: %v", header, err)
			}
			return
		}
		again, err := basic("Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(c.id)+":"+url.QueryEscape(c.secret.Reveal()))))
		if err != nil || again != c {
			t.Fatalf("%q: %+v, again %+v, %v", header, c, again, err)
		}
	})
}

// TestDocumentedSizesAreTrue: what the run book says of the largest requests is what is
// refused beyond it.
func TestDocumentedSizesAreTrue(t *testing.T) {
	text, err := os.ReadFile("../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	client, network := web.FailureRates()
	for _, want := range []string{
		fmt.Sprintf("| body at `/oauth2/token` | %d KiB, %d parameters, a scope of %d KiB with %d names |",
			maxBody>>10, maxParameters, maxScope>>10, maxParameters),
		fmt.Sprintf("| body at `/oauth2/revoke` and `introspect` | %d KiB, a token of %d KiB |", maxTokenBody>>10, 8),
		fmt.Sprintf("| %d at once, %d a second | a client from a network |", client.Burst, time.Second/client.Every),
		fmt.Sprintf("| %d at once, %d a second | a network |", network.Burst, time.Second/network.Every),
		fmt.Sprintf("| %d at once, %d a second | a key |", cutsAtOnce, cutsPerSecond),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q", want)
		}
	}
	s := newHouse(t).start(0)
	c := s.demoKey()
	names := func(n int) string { return strings.TrimSpace(strings.Repeat("a ", n)) }
	for name, row := range map[string]struct {
		parameter, value, want string
	}{
		"a hundred names":         {"scope", names(maxParameters), "Not granted"},
		"a hundred and one":       {"scope", names(maxParameters + 1), "More than 100 scopes."},
		"a scope that is as long": {"scope", strings.Repeat("a", maxScope), "not a list of scopes"},
		"one that is longer":      {"scope", strings.Repeat("a", maxScope+1), "scope is longer than 4096 bytes."},
	} {
		a := s.post("/oauth2/token", c.Key.ClientID, c.Secret.Reveal(), "grant_type", "client_credentials", row.parameter, row.value)
		if got, _ := a.json["error_description"].(string); a.status != 400 || !strings.Contains(got, row.want) {
			t.Errorf("%s: %d %s", name, a.status, got)
		}
	}
}
