package management

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
	"github.com/imara/apikeys/tokens/tokenstest"
)

// api is the handler over the in-memory store, and an issuer for its callers.
type api struct {
	t        *testing.T
	server   *server
	handler  http.Handler
	issuer   *tokenstest.Issuer
	registry *keys.Registry
	store    *keystest.Memory
	ring     *signing.Ring
}

func newAPI(t *testing.T, plan string) *api {
	t.Helper()
	store := keystest.NewMemory()
	logger := slog.New(slog.DiscardHandler)
	ring, err := signing.NewRing(t.Context(), signing.Config{Issuer: tokenstest.URL, KEK: tokens.Secret(make([]byte, 32)), Store: authz.SigningStore(store), Logger: logger})
	if err == nil {
		err = ring.Ensure(t.Context(), tokens.ES256)
	}
	store.Age(signing.Lead)
	if err != nil {
		t.Fatal(err)
	}
	registry, err := keys.New(keys.Config{Store: store, Relay: store, Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))}, CheckpointKey: keystest.CheckpointKey,
		SigningRing: authz.SigningRing(ring, nil)})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"org", "other"} {
		if _, err := registry.CreateOrganization(t.Context(), keys.Program("test"), keys.Organization{ID: id, Name: id, Plan: plan}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := registry.PutResource(t.Context(), keys.Program("test"), keys.Resource{Audience: "https://api.example.com", Name: "API",
		Scopes: []keys.Scope{{Name: "alerts:read"}, {Name: "alerts:write"}, {Name: "operator", Restricted: true}, {Name: "billing:all", GrantedBy: keys.Admin}, {Name: "owners:all", GrantedBy: keys.Owner}}}); err != nil {
		t.Fatal(err)
	}
	issuer := tokenstest.New(t)
	relay, err := authz.NewRelay(authz.RelayConfig{Log: store, Name: "test", Lease: time.Second, Alone: true, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(Config{Issuer: tokenstest.URL, Registry: registry, Verifier: issuer.Verifier(authz.ManagementAudience(tokenstest.URL)),
		Relay: relay, Ring: ring,
		CursorKey: tokens.Secret(make([]byte, 32)), Logger: logger})
	return &api{t, s, web.Log(logger, s.handler()), issuer, registry, store, ring}
}

// token is a caller of an organisation.
func (a *api) token(organization, scope string) string {
	return a.tokenOf(organization, scope, tokenstest.ClientID)
}

func (a *api) tokenOf(organization, scope, clientID string) string {
	return a.issuer.TokenWith(func(c *tokens.Claims) {
		c.ClientID, c.Subject = clientID, clientID
		c.Audience, c.Organization, c.Scope = tokens.Audience{authz.ManagementAudience(tokenstest.URL)}, organization, scope
	})
}

type reply struct {
	*httptest.ResponseRecorder
	json map[string]any
}

func (a *api) call(method, path, token, body string, headers ...string) reply {
	a.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	result := reply{ResponseRecorder: w}
	json.Unmarshal(w.Body.Bytes(), &result.json)
	return result
}

// problem checks that an reply is an RFC 9457 document with this code.
func (a *api) problem(what string, got reply, status int, code string) {
	a.t.Helper()
	if got.Code != status || got.json["code"] != code || got.json["status"] != float64(status) || got.json["request_id"] == "" ||
		got.Header().Get("Content-Type") != "application/problem+json" || got.Header().Get("Cache-Control") != "no-store" {
		a.t.Errorf("%s: %d %s %v\nwant %d %s", what, got.Code, got.Body, got.Header(), status, code)
	}
}

const both = "keys:read keys:write"

// TestStoryOfAKey: create, list, show, rotate, revoke and revoke again.
func TestStoryOfAKey(t *testing.T) {
	a := newAPI(t, "Professional")
	me := a.token("org", both)
	created := a.call("POST", "/v1/orgs/org/keys", me, `{"name":"CI","scopes":["alerts:read"],"expires_at":"2099-01-01T00:00:00Z"}`)
	if created.Code != 201 {
		t.Fatal(created.Body)
	}
	key, secret := created.json["key"].(map[string]any), created.json["secret"].(map[string]any)
	id, value := key["id"].(string), secret["value"].(string)
	if _, err := keys.ParseSecret(value); err != nil || created.json["limits"].(map[string]any)["active"] != 1.0 || key["expires_at"] != "2099-01-01T00:00:00Z" {
		t.Errorf("%s, %v", created.Body, err)
	}
	path := "/v1/orgs/org/keys/" + id
	shown := a.call("GET", path, me, "")
	if shown.Code != 200 || shown.json["client_id"] != key["client_id"] || shown.json["status"] != "active" || shown.json["last_used_at"] != nil || shown.json["receipt"] != nil {
		t.Errorf("%s", shown.Body)
	}
	rotated := a.call("POST", path+"/secrets", me, "")
	if rotated.Code != 201 || rotated.json["secret"].(map[string]any)["value"] == value {
		t.Errorf("%s", rotated.Body)
	}
	states := ""
	for _, s := range rotated.json["key"].(map[string]any)["secrets"].([]any) {
		states += s.(map[string]any)["state"].(string) + " "
	}
	if states != "active retiring " {
		t.Errorf("secrets are %s", states)
	}
	a.problem("a third secret", a.call("POST", path+"/secrets", me, ""), 409, "rotation_in_progress")
	now := a.call("POST", path+"/secrets", me, `{"old_ends":"now"}`)
	if now.Code != 201 {
		t.Errorf("%s", now.Body)
	}
	var receipts [2]any
	for i, call := range []reply{a.call("POST", path+"/revoke", me, `{"reason":"unused"}`), a.call("DELETE", path, me, "")} {
		if call.Code != 200 || call.json["key"].(map[string]any)["status"] != "revoked" || call.json["limits"].(map[string]any)["active"] != 0.0 {
			t.Fatalf("%s", call.Body)
		}
		receipt := call.json["receipt"].(map[string]any)
		for _, member := range []string{"client_id", "revoked_at", "position", "state", "confirmed", "total", "waited_ms"} {
			if _, there := receipt[member]; !there {
				t.Errorf("receipt without %s", member)
			}
		}
		receipts[i] = receipt["position"]
	}
	if receipts[0] != receipts[1] {
		t.Errorf("two receipts: %v", receipts)
	}
	kept := a.call("GET", path, me, "")
	if receipt, there := kept.json["receipt"].(map[string]any); !there || receipt["position"] != receipts[0] || receipt["state"] != "confirmed" || receipt["reason"] != "unused" || receipt["by"] == nil {
		t.Errorf("the key without its receipt: %s", kept.Body)
	}
	a.problem("rotate a revoked key", a.call("POST", path+"/secrets", me, ""), 409, "already_revoked")
	for _, text := range []string{shown.Body.String(), a.call("GET", path, me, "").Body.String(), a.call("GET", "/v1/orgs/org/keys", me, "").Body.String()} {
		for _, s := range []string{value, rotated.json["secret"].(map[string]any)["value"].(string)} {
			if strings.Contains(text, s[20:40]) {
				t.Errorf("a secret is shown twice: %s", text)
			}
		}
	}
}

// TestOtherOrganisationsAreNotThere is R-070: what is foreign is 404, like what
// does not exist; with the scope operator it is there.
func TestOtherOrganisationsAreNotThere(t *testing.T) {
	a := newAPI(t, "Professional")
	c, err := a.registry.Create(t.Context(), keys.Program("test"), "org", keys.NewKey{Name: "x", Access: keys.Access{Scopes: []string{"alerts:read"}}})
	if err != nil {
		t.Fatal(err)
	}
	stranger, operator := a.token("other", both), a.token("operator", both+" operator")
	for _, route := range []struct{ method, path, body string }{
		{"GET", "/v1/orgs/org/keys", ""},
		{"POST", "/v1/orgs/org/keys", `{"name":"y","scopes":["alerts:read"]}`},
		{"GET", "/v1/orgs/org/keys/" + c.Key.ID, ""},
		{"POST", "/v1/orgs/org/keys/" + c.Key.ID + "/secrets", ""},
		{"POST", "/v1/orgs/org/keys/" + c.Key.ID + "/revoke", ""},
		{"DELETE", "/v1/orgs/org/keys/" + c.Key.ID, ""},
	} {
		a.problem(route.method+" "+route.path, a.call(route.method, route.path, stranger, route.body), 404, "not_found")
		foreign := strings.Replace(route.path, "/org/", "/other/", 1)
		if strings.Contains(foreign, c.Key.ID) {
			a.problem("own organisation, foreign key", a.call(route.method, foreign, stranger, route.body), 404, "not_found")
		}
		nobody := strings.Replace(route.path, "/org/", "/nobody/", 1)
		a.problem("no organisation", a.call(route.method, nobody, operator, route.body), 404, "not_found")
		if w := a.call(route.method, route.path, "", route.body); w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s %s without a token: %d", route.method, route.path, w.Code)
		}
		if w := a.call(route.method, route.path, a.token("org", "alerts:read"), route.body); w.Code != 403 {
			t.Errorf("%s %s without the scope: %d", route.method, route.path, w.Code)
		}
		if w := a.call(route.method, route.path, a.token("org", "keys:read"), route.body); route.method != "GET" && w.Code != 403 {
			t.Errorf("%s %s for reading: %d", route.method, route.path, w.Code)
		}
	}
	k, err := a.registry.Key(t.Context(), "org", c.Key.ID)
	if err != nil || k.Status(time.Now()) != keys.Active || len(k.Credentials) != 1 {
		t.Errorf("a stranger changed something: %+v, %v", k, err)
	}
	if w := a.call("GET", "/v1/orgs/org/keys/"+c.Key.ID, operator, ""); w.Code != 200 {
		t.Errorf("operator: %d", w.Code)
	}
}

// TestBadInput: a clear problem, and nothing changed.
func TestBadInput(t *testing.T) {
	a := newAPI(t, "Professional")
	me := a.token("org", both)
	for name, row := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"not JSON":            {`{`, 400, "invalid_body"},
		"array":               {`[]`, 422, "invalid_field"},
		"member twice":        {`{"name":"a","name":"b","scopes":["alerts:read"]}`, 400, "invalid_body"},
		"another case":        {`{"Name":"a","scopes":["alerts:read"]}`, 400, "invalid_body"},
		"deep":                {`{"name":` + strings.Repeat("[", 100000) + `}`, 400, "invalid_body"},
		"two objects":         {`{"name":"a","scopes":["alerts:read"]}{}`, 400, "invalid_body"},
		"unknown member":      {`{"name":"a","scopes":["alerts:read"],"plan":"Enterprise"}`, 400, "invalid_body"},
		"read-only member":    {`{"name":"a","scopes":["alerts:read"],"id":"key_1"}`, 400, "invalid_body"},
		"wrong type":          {`{"name":7}`, 422, "invalid_field"},
		"nothing":             {``, 400, "invalid_body"},
		"no scopes":           {`{"name":"a"}`, 422, "invalid_field"},
		"unknown scope":       {`{"name":"a","scopes":["nothing"]}`, 422, "invalid_field"},
		"restricted scope":    {`{"name":"a","scopes":["operator"]}`, 403, "scope_not_grantable"},
		"long name":           {`{"name":"` + strings.Repeat("x", 81) + `","scopes":["alerts:read"]}`, 422, "invalid_field"},
		"past end":            {`{"name":"a","scopes":["alerts:read"],"expires_at":"2001-01-01T00:00:00Z"}`, 422, "invalid_field"},
		"end that is no time": {`{"name":"a","scopes":["alerts:read"],"expires_at":"tomorrow"}`, 400, "invalid_body"},
		"large body":          {`{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, "body_too_large"},
	} {
		a.problem(name, a.call("POST", "/v1/orgs/org/keys", me, row.body), row.status, row.code)
	}
	r := httptest.NewRequest("POST", "/v1/orgs/org/keys", strings.NewReader(`{"name":"a","scopes":["alerts:read"]}`))
	r.Header.Set("Authorization", "Bearer "+me)
	r.Header.Set("Content-Type", "text/plain")
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	if w.Code != 415 {
		t.Errorf("text/plain: %d %s", w.Code, w.Body)
	}
	for path, code := range map[string]string{"?limit=0": "invalid_field", "?limit=201": "invalid_field", "?limit=x": "invalid_field", "?status=dead": "invalid_field",
		"?cursor=x": "invalid_cursor", "?cursor=" + strings.Repeat("A", 80): "invalid_cursor"} {
		if got := a.call("GET", "/v1/orgs/org/keys"+path, me, ""); got.json["code"] != code {
			t.Errorf("%s: %s", path, got.Body)
		}
	}
	if active, _, err := a.registry.Limits(t.Context(), "org"); err != nil || active != 0 {
		t.Errorf("%d keys were made, %v", active, err)
	}
	a.problem("no such route", a.call("GET", "/v1/nothing", me, ""), 404, "not_found")
	a.problem("no such method", a.call("PUT", "/v1/orgs/org/keys", me, ""), 405, "method_not_allowed")
	good := a.call("POST", "/v1/orgs/org/keys", me, `{"name":"CI","scopes":["alerts:read"]}`)
	if good.Code != 201 {
		t.Fatal(good.Body)
	}
	a.problem("taken name", a.call("POST", "/v1/orgs/org/keys", me, `{"name":"ci","scopes":["alerts:read"]}`), 409, "name_taken")
	id := good.json["key"].(map[string]any)["id"].(string)
	for _, ends := range []string{"yesterday", "2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"} {
		a.problem("old_ends "+ends, a.call("POST", "/v1/orgs/org/keys/"+id+"/secrets", me, `{"old_ends":"`+ends+`"}`), 422, "invalid_field")
	}
	a.problem("long reason", a.call("POST", "/v1/orgs/org/keys/"+id+"/revoke", me, `{"reason":"`+strings.Repeat("x", 501)+`"}`), 422, "invalid_field")
}

// TestLimitSaysTheLimitAndThePlan: 64 at once for one slot, and what the others hear.
func TestLimitSaysTheLimitAndThePlan(t *testing.T) {
	a := newAPI(t, "Professional")
	me := a.token("org", both)
	for _, name := range []string{"a", "b", "c", "d"} {
		if w := a.call("POST", "/v1/orgs/org/keys", me, `{"name":"`+name+`","scopes":["alerts:read"]}`); w.Code != 201 {
			t.Fatal(w.Body)
		}
	}
	var made atomic.Int64
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			w := a.call("POST", "/v1/orgs/org/keys", me, `{"name":"n`+strings.Repeat("x", i)+`","scopes":["alerts:read"]}`)
			if w.Code == 201 {
				made.Add(1)
				return
			}
			if w.json["detail"] != "5 of 5 active keys (Professional)" || w.json["limit"] != 5.0 || w.json["active"] != 5.0 || w.json["fix"] == "" {
				t.Errorf("%s", w.Body)
			}
			a.problem("full", w, 409, "plan_limit_reached")
		})
	}
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("%d made, want 1", made.Load())
	}
	free := newAPI(t, "Free")
	free.problem("Free", free.call("POST", "/v1/orgs/org/keys", free.token("org", both), `{"name":"a","scopes":["alerts:read"]}`), 403, "api_access_not_in_plan")
}

// TestPagesAndForgedCursors: the pages join to the list; a cursor of another
// list, shortened or changed, is refused.
func TestPagesAndForgedCursors(t *testing.T) {
	a := newAPI(t, "Enterprise")
	me := a.token("org", both)
	for i := range 7 {
		if w := a.call("POST", "/v1/orgs/org/keys", me, `{"name":"n`+strings.Repeat("x", i)+`","scopes":["alerts:read"]}`); w.Code != 201 {
			t.Fatal(w.Body)
		}
	}
	var joined []string
	query, cursor := "?limit=3", ""
	for range 3 {
		w := a.call("GET", "/v1/orgs/org/keys"+query, me, "")
		for _, k := range w.json["data"].([]any) {
			joined = append(joined, k.(map[string]any)["id"].(string))
		}
		if w.json["has_more"] != true {
			break
		}
		cursor = w.json["next_cursor"].(string)
		query = "?limit=3&cursor=" + cursor
	}
	whole := a.call("GET", "/v1/orgs/org/keys", me, "")
	if len(joined) != 7 || len(whole.json["data"].([]any)) != 7 || whole.json["has_more"] != false {
		t.Errorf("%d joined; %s", len(joined), whole.Body)
	}
	for i, k := range whole.json["data"].([]any) {
		if k.(map[string]any)["id"] != joined[i] {
			t.Errorf("page order differs at %d", i)
		}
	}
	a.problem("another organisation's cursor", a.call("GET", "/v1/orgs/other/keys?cursor="+cursor, a.token("other", both), ""), 400, "invalid_cursor")
	for i := range len(cursor) {
		changed := []byte(cursor)
		changed[i] ^= 1
		if changed[i] == '%' || changed[i] == '&' || changed[i] == '#' || changed[i] == '+' {
			continue
		}
		if w := a.call("GET", "/v1/orgs/org/keys?cursor="+string(changed), me, ""); w.Code != 400 {
			t.Fatalf("changed at %d: %d", i, w.Code)
		}
	}
	if w := a.call("GET", "/v1/orgs/org/keys?cursor="+cursor[:len(cursor)-1], me, ""); w.Code != 400 {
		t.Errorf("shortened: %d", w.Code)
	}
}

// TestStoreTroubleIsNotTheCallersFault: 503 with Retry-After, and no detail.
func TestStoreTroubleIsNotTheCallersFault(t *testing.T) {
	for _, err := range []error{keys.ErrUnavailable, context.DeadlineExceeded} {
		if p := explain(errors.Join(errors.New("disk 7"), err)); p.Status != 503 || p.Code != "store_unavailable" || strings.Contains(p.Detail+p.Title, "disk") {
			t.Errorf("%+v", p)
		}
	}
	if p := explain(errors.New("pq: password authentication failed")); p.Status != 500 || strings.Contains(p.Detail+p.Title, "password") {
		t.Errorf("%+v", p)
	}
}
