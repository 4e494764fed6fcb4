package management

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
)

// TestScopesAreACeilingOnEveryRoute: whoever a token acts for, it does nothing for which it
// lacks the scope: every route, with each scope alone, as the member who may most.
func TestScopesAreACeilingOnEveryRoute(t *testing.T) {
	w := newWorld(t)
	scopes := append(strings.Fields(everything), keys.OperatorScope)
	for _, rt := range w.server.routes {
		if rt.scope == "" {
			continue
		}
		for _, scope := range scopes {
			for _, as := range []struct{ org, member string }{
				{"org", "mem_org_owner"}, {"staff", "mem_staff_operator"},
			} {
				token := w.token(as.org, scope+" "+keys.ActScope)
				got := w.ask(rt, fill(rt.path, w.ids["org"]), token, as.member)
				if scope != rt.scope && got.Code != http.StatusForbidden {
					t.Errorf("%s %s with %s as %s: %d %s", rt.method, rt.path, scope, as.member, got.Code, got.Body)
				}
			}
		}
	}
}

// aKey makes a key of an organisation, as the program.
func (w *world) aKey(org, name, owner string, scopes ...string) keys.Key {
	w.t.Helper()
	c, err := w.registry.Create(w.t.Context(), keys.Program("test"), org,
		keys.NewKey{Name: name, OwnerID: owner, Access: keys.Access{Scopes: scopes}})
	if err != nil {
		w.t.Fatal(err)
	}
	return c.Key
}

// TestTokenGrantsNoMoreThanItHas: every act that gives a key a scope, or somebody the key,
// for an Owner, with the scope that the token needs in itself and without it.
func TestTokenGrantsNoMoreThanItHas(t *testing.T) {
	w := newWorld(t)
	ctx, by := t.Context(), keys.Program("test")
	weak := w.aKey("org", "weak", "", "alerts:read")
	ends := time.Now().Add(time.Hour)
	for _, scope := range []string{"billing:all", "owners:all"} {
		strong := w.aKey("org", "strong "+scope, "", scope, "alerts:read")
		own := w.aKey("org", "own "+scope, "mem_org_owner", scope)
		if _, _, err := w.registry.Edit(ctx, by, "org", strong.ID, func(e *keys.KeyEdit) { e.ExpiresAt = ends }); err != nil {
			t.Fatal(err)
		}
		preset, err := w.registry.PutPreset(ctx, by, keys.Preset{Name: scope, Scopes: []string{scope}})
		if err != nil {
			t.Fatal(err)
		}
		secret := strong.Credentials[0].ID
		extend := fmt.Sprintf(`{"ends_at":%q}`, time.Now().Add(2*time.Hour).Format(time.RFC3339))
		for name, row := range map[string][3]string{
			"create":                 {"POST", "", `{"name":"x","scopes":["` + scope + `"]}`},
			"create with a preset":   {"POST", "", `{"name":"x","preset":"` + preset.ID + `"}`},
			"give a key more":        {"PATCH", "/" + weak.ID, `{"scopes":["alerts:read","` + scope + `"]}`},
			"let a key live longer":  {"PATCH", "/" + strong.ID, `{"expires_at":null}`},
			"hand a key over":        {"PATCH", "/" + strong.ID, `{"owner":"mem_org_developer"}`},
			"rotate":                 {"POST", "/" + strong.ID + "/secrets", ``},
			"rotate the Owner's own": {"POST", "/" + own.ID + "/secrets", ``},
			"end the old one at once": {"POST", "/" + own.ID + "/secrets",
				`{"old_ends":"now"}`},
			"extend a secret": {"PATCH", "/" + strong.ID + "/secrets/sec_" + secret, extend},
		} {
			for _, token := range []struct {
				scopes string
				may    bool
			}{{everything, false}, {everything + " alerts:write", false}, {everything + " " + scope, true}} {
				got := w.call(row[0], "/v1/orgs/org/keys"+row[1]+"?dry_run=true", w.token("org", token.scopes), row[2],
					"Imara-Actor", "mem_org_owner", "If-Match", "*")
				if token.may && got.Code >= 300 || !token.may && got.json["code"] != "scope_not_grantable" {
					t.Errorf("%s %s with %s: %d %s", name, scope, token.scopes, got.Code, got.Body)
				}
			}
		}
	}
	w.problem("a key gives itself more for an Owner", w.call("PATCH", "/v1/orgs/org/keys/"+weak.ID,
		w.tokenOf("org", everything, weak.ClientID), `{"scopes":["alerts:read","alerts:write"]}`,
		"Imara-Actor", "mem_org_owner", "If-Match", "*"), 403, "forbidden")
}

// TestStaffNeedsTheOperatorsScope: for the operator's staff, too, a token without the scope
// operator does only what any customer's does in its own organisation.
func TestStaffNeedsTheOperatorsScope(t *testing.T) {
	w := newWorld(t)
	key := w.aKey("staff", "verifier", "", "alerts:read")
	restricted := w.aKey("staff", "desk", "", keys.OperatorScope)
	low, high := w.token("staff", everything), w.token("staff", everything+" "+keys.OperatorScope)
	call := func(token, method, path, body string) reply {
		return w.call(method, "/v1/orgs/staff/keys/"+path, token, body, "Imara-Actor", "mem_staff_operator", "If-Match", "*")
	}
	w.problem("rotate a key with the scope", call(low, "POST", restricted.ID+"/secrets", ""), 403, "scope_not_grantable")
	if got := call(low, "POST", key.ID+"/suspend", ""); got.Code != 200 {
		t.Fatal(got.Body)
	}
	k, err := w.registry.Key(t.Context(), "staff", key.ID)
	if err != nil || k.SuspendedAt.IsZero() || k.StaffHold {
		t.Errorf("a token without the operator's scope suspends as a customer does: %+v, %v", k, err)
	}
	if got := call(low, "POST", key.ID+"/resume", ""); got.Code != 200 {
		t.Errorf("its own suspension is resumed: %d %s", got.Code, got.Body)
	}
	if got := call(high, "POST", key.ID+"/suspend", ""); got.Code != 200 {
		t.Fatal(got.Body)
	}
	w.problem("what the operator suspended", call(low, "POST", key.ID+"/resume", ""), 403, "forbidden")
	if got := call(low, "PATCH", key.ID, `{"max_lease_ms":20000}`); got.Code != 403 {
		t.Errorf("limits of verifiers: %d %s", got.Code, got.Body)
	}
}

// TestWhoAskedDoesNotSwitchApprovalOff: neither the client that acted for who asked, for
// whichever member it acts now, nor the member over another client; switching approval off
// approves nothing that waits; a request that is taken back is in nobody's way.
func TestWhoAskedDoesNotSwitchApprovalOff(t *testing.T) {
	w := newWorld(t)
	one, two := w.token("org", everything), w.tokenOf("org", everything, "another client")
	policy := func(token, actor, body string) reply {
		return w.call("PATCH", "/v1/orgs/org/policy", token, body, "Imara-Actor", actor, "If-Match", "*")
	}
	if got := policy(one, "mem_org_owner", `{"approval":true}`); got.Code != 200 {
		t.Fatal(got.Body)
	}
	asked := w.call("POST", "/v1/orgs/org/keys", one, `{"name":"x","scopes":["alerts:write"]}`, "Imara-Actor", "mem_org_owner")
	id := asked.json["key"].(map[string]any)["id"].(string)
	for name, row := range map[string]struct{ token, actor string }{
		"the client, for another Owner":   {one, "mem_org_owner2"},
		"the client, for itself":          {one, ""},
		"the member, over another client": {two, "mem_org_owner"},
	} {
		w.problem(name, policy(row.token, row.actor, `{"approval":false}`), 403, "forbidden")
		w.problem(name+", tried", w.call("PATCH", "/v1/orgs/org/policy?dry_run=true", row.token, `{"approval":false}`,
			"Imara-Actor", row.actor, "If-Match", "*"), 403, "forbidden")
		if got := policy(row.token, row.actor, `{"approval":true,"max_lifetime_seconds":0}`); got.Code != 200 {
			t.Errorf("%s, what does not loosen approval: %s", name, got.Body)
		}
	}
	if got := policy(two, "mem_org_owner2", `{"approval":false}`); got.Code != 200 {
		t.Errorf("another member over another client: %s", got.Body)
	}
	w.problem("the request still waits", w.call("POST", "/v1/orgs/org/keys/"+id+"/secrets", one, "", "Imara-Actor", "mem_org_owner"), 409, "key_pending")
	if got := policy(two, "mem_org_owner2", `{"approval":true}`); got.Code != 200 {
		t.Fatal(got.Body)
	}
	if got := w.call("POST", "/v1/orgs/org/keys/"+id+"/revoke", one, "", "Imara-Actor", "mem_org_owner"); got.Code != 200 {
		t.Fatal(got.Body)
	}
	if got := policy(one, "mem_org_owner", `{"approval":false}`); got.Code != 200 {
		t.Errorf("nothing waits: %s", got.Body)
	}
}

// TestApprovalNeedsTheTokensScopes: to approve a key is to grant it.
func TestApprovalNeedsTheTokensScopes(t *testing.T) {
	w := newWorld(t)
	if got := w.call("PATCH", "/v1/orgs/org/policy", w.token("org", everything), `{"approval":true}`); got.Code != 200 {
		t.Fatal(got.Body)
	}
	asked := w.call("POST", "/v1/orgs/org/keys", w.token("org", everything+" billing:all"), `{"name":"x","scopes":["billing:all"]}`,
		"Imara-Actor", "mem_org_admin")
	path := "/v1/orgs/org/keys/" + asked.json["key"].(map[string]any)["id"].(string) + "/approve"
	w.problem("without the scope", w.call("POST", path, w.tokenOf("org", everything, "another"), "", "Imara-Actor", "mem_org_owner"),
		403, "scope_not_grantable")
	if got := w.call("POST", path, w.tokenOf("org", everything+" billing:all", "another"), "", "Imara-Actor", "mem_org_owner"); got.Code != 200 {
		t.Errorf("with it: %s", got.Body)
	}
}
