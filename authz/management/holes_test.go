package management

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
)

// TestNobodyGetsMoreThroughAKey: to rotate a key, or to give it more, is to grant all
// that it has; a key does not give itself more.
func TestNobodyGetsMoreThroughAKey(t *testing.T) {
	w := newWorld(t)
	ctx, by := t.Context(), keys.Program("test")
	strong := func(org, name string, a keys.Access) keys.Key {
		t.Helper()
		c, err := w.registry.Create(ctx, by, org, keys.NewKey{Name: name, Access: a})
		if err != nil {
			t.Fatal(err)
		}
		return c.Key
	}
	ends := time.Now().Add(time.Hour)
	operator := strong("staff", "operator", keys.Access{Scopes: []string{"operator"}})
	billing := strong("org", "billing", keys.Access{Scopes: []string{"billing:all"}, ExpiresAt: ends})
	owners := strong("org", "owners", keys.Access{Scopes: []string{"owners:all"}})
	mine := strong("org", "mine", keys.Access{Scopes: []string{"alerts:read"}, ExpiresAt: ends})
	staff, customer := w.token("staff", "keys:read keys:write"), w.token("org", "keys:read keys:write")
	panel, low := w.token("org", everything+" billing:all owners:all"), w.token("org", everything)
	self := w.tokenOf("org", "keys:read keys:write", mine.ClientID)
	for name, row := range map[string]struct {
		method, path, token, body, actor, code string
	}{
		"rotate a key of the operator's":  {"POST", "/orgs/staff/keys/" + operator.ID + "/secrets", staff, "", "", "scope_not_grantable"},
		"rotate a stronger key":           {"POST", "/orgs/org/keys/" + billing.ID + "/secrets", customer, "", "", "scope_not_grantable"},
		"let a stronger key live longer":  {"PATCH", "/orgs/org/keys/" + billing.ID, customer, `{"expires_at":null}`, "", "scope_not_grantable"},
		"an Admin, an Owner's key":        {"POST", "/orgs/org/keys/" + owners.ID + "/secrets", panel, "", "mem_org_admin", "scope_not_grantable"},
		"an Admin grants what Owners do":  {"POST", "/orgs/org/keys", panel, `{"name":"x","scopes":["owners:all"]}`, "mem_org_admin", "scope_not_grantable"},
		"an Admin takes an Owner's key":   {"PATCH", "/orgs/org/keys/" + owners.ID, panel, `{"owner":"mem_org_admin"}`, "mem_org_admin", "scope_not_grantable"},
		"a key hands over a stronger one": {"PATCH", "/orgs/org/keys/" + billing.ID, customer, `{"owner":"mem_org_developer"}`, "", "scope_not_grantable"},
		"a key lets itself live longer":   {"PATCH", "/orgs/org/keys/" + mine.ID, self, `{"expires_at":null}`, "", "forbidden"},
		"a token for an Owner":            {"POST", "/orgs/org/keys/" + owners.ID + "/secrets", low, "", "mem_org_owner", "scope_not_grantable"},
		"a token for an Admin":            {"POST", "/orgs/org/keys/" + billing.ID + "/secrets", low, "", "mem_org_admin", "scope_not_grantable"},
	} {
		w.problem(name, w.call(row.method, "/v1"+row.path, row.token, row.body, "Imara-Actor", row.actor, "If-Match", "*"), 403, row.code)
	}
	for name, row := range map[string]struct{ method, path, token, body, actor string }{
		"a stronger key is given less": {"PATCH", "/orgs/org/keys/" + billing.ID, customer, `{"networks":["203.0.113.0/24"]}`, ""},
		"an Admin":                     {"POST", "/orgs/org/keys/" + billing.ID + "/secrets", panel, "", "mem_org_admin"},
		"an Owner":                     {"POST", "/orgs/org/keys/" + owners.ID + "/secrets", panel, "", "mem_org_owner"},
	} {
		if got := w.call(row.method, "/v1"+row.path, row.token, row.body, "Imara-Actor", row.actor, "If-Match", "*"); got.Code >= 300 {
			t.Errorf("%s: %s", name, got.Body)
		}
	}
}

// TestApprovalIsAnotherPersons: a key that acts for itself approves nothing, nor does
// who asked, under whichever name; and what was approved does not grow.
func TestApprovalIsAnotherPersons(t *testing.T) {
	w := newWorld(t)
	panel, other := w.token("org", everything), w.tokenOf("org", everything, "another client")
	if got := w.call("PATCH", "/v1/orgs/org/policy", panel, `{"approval":true}`); got.Code != 200 {
		t.Fatal(got.Body)
	}
	ask := func(name, actor string) string {
		t.Helper()
		got := w.call("POST", "/v1/orgs/org/keys", panel, `{"name":"`+name+`","scopes":["alerts:write"],"networks":["203.0.113.0/24"]}`, "Imara-Actor", actor)
		if got.Code != 201 || got.json["secret"] != nil {
			t.Fatalf("%s", got.Body)
		}
		return "/v1/orgs/org/keys/" + got.json["key"].(map[string]any)["id"].(string)
	}
	developers := ask("developer's", "mem_org_developer")
	machines := w.call("POST", "/v1/orgs/org/keys", panel, `{"name":"machine's","scopes":["alerts:write"]}`)
	w.problem("a key asks for a key that writes", machines, 403, "forbidden")
	w.problem("a key approves", w.call("POST", developers+"/approve", panel, ""), 403, "forbidden")
	admins := ask("admin's", "mem_org_admin")
	w.problem("who asked", w.call("POST", admins+"/approve", panel, "", "Imara-Actor", "mem_org_admin"), 403, "forbidden")
	w.problem("who asked, over another client", w.call("POST", admins+"/approve", other, "", "Imara-Actor", "mem_org_admin"), 403, "forbidden")
	w.problem("the client that asked", w.call("POST", admins+"/approve", panel, "", "Imara-Actor", "mem_org_owner"), 403, "forbidden")
	w.problem("tried", w.call("POST", admins+"/approve?dry_run=true", panel, "", "Imara-Actor", "mem_org_owner"), 403, "forbidden")
	if got := w.call("POST", admins+"/approve", other, "", "Imara-Actor", "mem_org_owner"); got.Code != 200 {
		t.Errorf("another: %s", got.Body)
	}
	w.problem("twice", w.call("POST", admins+"/approve", panel, "", "Imara-Actor", "mem_org_owner"), 409, "key_not_pending")
	if got := w.call("POST", developers+"/suspend", panel, "", "Imara-Actor", "mem_org_admin"); got.Code != 200 {
		t.Fatal(got.Body)
	}
	w.problem("collected while it is suspended", w.call("POST", developers+"/secrets", panel, "", "Imara-Actor", "mem_org_developer"), 409, "key_pending")
	w.problem("grows while it waits", w.call("PATCH", developers, panel, `{"networks":[]}`, "Imara-Actor", "mem_org_developer", "If-Match", "*"), 403, "forbidden")
	for _, path := range []string{"/approve", "/resume"} {
		if got := w.call("POST", developers+path, other, "", "Imara-Actor", "mem_org_admin"); got.Code != 200 {
			t.Errorf("%s: %s", path, got.Body)
		}
	}
	w.problem("grows afterwards", w.call("PATCH", developers, panel, `{"expires_at":null,"networks":[]}`, "Imara-Actor", "mem_org_developer", "If-Match", "*"), 403, "forbidden")
}

// TestTermsAreReadOneWay: whatever is not exactly a dry run, or a version, is refused
// and not guessed.
func TestTermsAreReadOneWay(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	path := "/v1/orgs/org/keys/" + w.ids["org"]["key"]
	for _, query := range []string{"dry_run=1", "dry_run=TRUE", "dry_run=t", "dry_run", "dry_run=", "dry_run=false&dry_run=true", "dry_run=true&dry_run=true"} {
		w.problem(query, w.call("POST", path+"/revoke?"+query, token, ""), 422, "invalid_field")
	}
	tag := w.call("GET", path, token, "").Header().Get("ETag")
	for _, name := range []string{"If-Match", "Idempotency-Key", "Imara-Actor"} {
		for _, values := range [][]string{{""}, {"*", "x"}, {"mem_org_owner", ""}} {
			r := httptest.NewRequest("POST", path+"/suspend", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header[name] = values
			got := httptest.NewRecorder()
			w.handler.ServeHTTP(got, r)
			if got.Code != 400 || !strings.Contains(got.Body.String(), "invalid_header") {
				t.Errorf("%s %q: %d %s", name, values, got.Code, got.Body)
			}
		}
	}
	for _, match := range []string{`""`, `W/""`, `"`, `"x", W/"y"`, `"*"`, " ", tag[:len(tag)-2] + `"`} {
		w.problem("If-Match "+match, w.call("PATCH", path, token, `{"name":"x"}`, "If-Match", match), 412, "precondition_failed")
	}
	w.problem("a member's policy", w.call("PATCH", "/v1/orgs/org/policy", token, `{}`, "Imara-Actor", "mem_org_owner"), 428, "precondition_required")
	for _, row := range []struct{ method, path, body string }{
		{"PATCH", "/v1/orgs/org/policy", `{"max_lifetime_seconds":-5}`},
		{"PATCH", path, `{"token_ttl_seconds":36028797018963968}`},
		{"POST", path + "/secrets", `{"old_ends":"after_first_use+0h"}`},
		{"POST", path + "/secrets", `{"old_ends":"after_first_use+1m"}`},
	} {
		w.problem(row.body, w.call(row.method, row.path, token, row.body), 422, "invalid_field")
	}
	if got := w.call("PATCH", "/v1/orgs/org/policy", token, `{"max_lifetime_seconds":36028797018963968}`); got.json["policy"].(map[string]any)["max_lifetime_seconds"].(float64) < 1e9 {
		t.Errorf("a large number became a small one: %s", got.Body)
	}
	w.problem("a name that folds", w.call("POST", "/v1/orgs/org/keys", token, `{"name":"x","ſcopes":["alerts:read"]}`), 400, "invalid_body")
	if k, _ := w.registry.Key(t.Context(), "org", w.ids["org"]["key"]); k.Status(time.Now()) != keys.Active || k.Name != "key" || len(k.Credentials) != 1 {
		t.Errorf("something was changed: %+v", k)
	}
}

// TestTextHoldsNoSecret: what is written for people stands in the audit log for ever.
func TestTextHoldsNoSecret(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	made := w.call("POST", "/v1/orgs/org/keys", token, `{"name":"CI","scopes":["alerts:read"]}`)
	secret := made.json["secret"].(map[string]any)["value"].(string)
	path := "/v1/orgs/org/keys/" + made.json["key"].(map[string]any)["id"].(string)
	for name, row := range map[string][3]string{
		"reason":      {"POST", path + "/revoke", `{"reason":"it leaked: ` + secret + `"}`},
		"name":        {"PATCH", path, `{"name":"` + secret + `"}`},
		"description": {"PATCH", path, `{"description":"see ` + secret[:40] + `"}`},
		"turned":      {"PATCH", path, `{"name":"a\u202eb"}`},
	} {
		w.problem(name, w.call(row[0], row[1], token, row[2]), 422, "invalid_field")
	}
	for i, where := range []string{"https://paste.example/?q=" + secret, "a\nb", strings.Repeat("x", 300)} {
		leaked := w.call("POST", "/v1/orgs/org/keys", token, fmt.Sprintf(`{"name":"n%d","scopes":["alerts:read"]}`, i)).json["secret"].(map[string]any)["value"].(string)
		if got := w.call("POST", "/v1/leaks", "", fmt.Sprintf(`{"secret":%q,"where":%q}`, leaked, where), "Idempotency-Key", "1"); got.json["ended"] != true {
			t.Errorf("%s", got.Body)
		}
	}
	if text := w.call("GET", "/v1/orgs/org/audit-events/export", token, "").Body.String(); strings.Contains(text, "imara_cs_") || strings.Contains(text, secret[20:40]) {
		t.Error("the audit log has a secret")
	}
}
