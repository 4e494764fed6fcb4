package management

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens/signing"
)

// world has two organisations that are alike, and the operator's.
type world struct {
	*api
	server *server
	ids    map[string]map[string]string // organisation -> path parameter -> id
}

func newWorld(t *testing.T) *world {
	a := newAPI(t, "Enterprise")
	w := &world{api: a, server: a.server, ids: map[string]map[string]string{}}
	ctx, by := t.Context(), keys.Program("test")
	if _, err := a.registry.CreateOrganization(ctx, by, keys.Organization{ID: "staff", Name: "Staff", Plan: "Enterprise", Operator: true}); err != nil {
		t.Fatal(err)
	}
	for _, org := range []string{"org", "other"} {
		for _, role := range []keys.Role{keys.Owner, keys.Admin, keys.Developer, keys.Auditor, keys.Billing} {
			w.member(org, role)
		}
		w.member(org, keys.Owner+"2")
		c, err := a.registry.Create(ctx, by, org, keys.NewKey{Name: "key", OwnerID: "mem_" + org + "_admin", Access: keys.Access{Scopes: []string{"alerts:read"}}})
		if err != nil {
			t.Fatal(err)
		}
		hook, err := a.registry.AddWebhook(ctx, by, keys.Webhook{OrganizationID: org, URL: "https://hooks.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.registry.TestWebhook(ctx, by, org, hook.ID); err != nil {
			t.Fatal(err)
		}
		deliveries, err := a.registry.Deliveries(ctx, org, hook.ID, "", 1)
		if err != nil || len(deliveries) != 1 {
			t.Fatalf("%d deliveries, %v", len(deliveries), err)
		}
		cut, err := a.registry.RevokeToken(ctx, by, org, "jti of "+org)
		if err != nil {
			t.Fatal(err)
		}
		w.ids[org] = map[string]string{"position": fmt.Sprint(cut.Position), "webhook": hook.ID, "delivery": deliveries[0].ID, "org": org, "key": c.Key.ID, "secret": "sec_" + c.Secret.CredentialID(), "member": "mem_" + org + "_owner2"}
	}
	w.member("staff", keys.Support)
	w.member("staff", keys.Staff)
	preset, err := a.registry.PutPreset(ctx, by, keys.Preset{Name: "CI", Scopes: []string{"alerts:read"}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := a.registry.PutResource(ctx, by, keys.Resource{Audience: "https://spare.example.com", Name: "Spare"})
	if err != nil {
		t.Fatal(err)
	}
	session := keys.Session{ID: "ver_silent", Name: "silent", Via: "ver_elsewhere", Lease: time.Second, JoinedAt: time.Now()}
	if err := a.store.Join(ctx, session, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.store.BindAccount(ctx, "bound@example.com", "https://idp.example.com", "1"); err != nil {
		t.Fatal(err)
	}
	for _, org := range []string{"org", "other"} {
		w.ids[org]["email"] = "bound@example.com"
		w.ids[org]["verifier"] = session.PublicID()
		w.ids[org]["preset"], w.ids[org]["resource"] = preset.ID, res.ID
		w.ids[org]["kid"] = a.signingKey(signing.Current)
	}
	return w
}

func (w *world) member(org string, role keys.Role) {
	w.t.Helper()
	id := "mem_" + org + "_" + string(role)
	if _, err := w.registry.AddMember(w.t.Context(), keys.Program("test"), keys.Member{ID: id, OrganizationID: org, Name: id, Email: id + "@example.com",
		Role: keys.Role(strings.TrimSuffix(string(role), "2")), AcceptedAt: time.Now()}); err != nil {
		w.t.Fatal(err)
	}
}

// everything is every scope that a customer's panel may have.
const everything = "keys:read keys:write org:read org:write audit:read members:act"

// fill puts ids into a route's path.
func fill(path string, ids map[string]string) string {
	for name, id := range ids {
		path = strings.ReplaceAll(path, "{"+name+"}", id)
	}
	return "/v1" + path
}

// ask calls a route as a member, in a dry run where the route changes something.
func (w *world) ask(rt route, path, token, actor string, headers ...string) reply {
	w.t.Helper()
	if rt.method != http.MethodGet && !strings.Contains(rt.path, "inspect") {
		path += "?dry_run=true"
	}
	if actor != "" {
		headers = append(headers, "Imara-Actor", actor, "If-Match", "*")
	}
	return w.call(rt.method, path, token, bodies[rt.method+" "+rt.path], headers...)
}

// bodies are good requests, so that nothing but the role decides.
var bodies = map[string]string{
	"POST /orgs": `{"name":"New","plan":"Starter"}`, "PATCH /orgs/{org}": `{"name":"Renamed"}`, "POST /orgs/{org}/plan": `{"plan":"Starter"}`,
	"POST /orgs/{org}/limit-requests": `{"max_keys":30,"reason":"more"}`, "POST /orgs/{org}/limit-requests/answer": `{"grant":30}`,
	"PATCH /orgs/{org}/policy": `{"approval":true}`, "POST /orgs/{org}/members": `{"name":"Ann","email":"ann@example.com","role":"auditor"}`,
	"PATCH /orgs/{org}/members/{member}": `{"name":"Ann"}`, "POST /orgs/{org}/keys": `{"name":"New","scopes":["alerts:read"]}`,
	"PATCH /orgs/{org}/keys/{key}": `{"name":"Renamed"}`, "PATCH /orgs/{org}/keys/{key}/secrets/{secret}": `{"ends_at":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`,
	"POST /resources": `{"audience":"https://new.example.com","name":"New"}`, "POST /presets": `{"name":"P","scopes":["alerts:read"]}`,
	"PUT /presets/{preset}": `{"name":"P","scopes":["alerts:read"]}`, "POST /signing-keys": `{"algorithm":"ES256"}`, "POST /tokens/inspect": `{"token":"x"}`, "POST /orgs/{org}/limit": `{"max_keys":7,"reason":"x"}`, "POST /orgs/{org}/webhooks": `{"url":"https://hooks.example.com"}`,
	"POST /account-links": `{"email":"mem_org_owner@example.com"}`,
}

// unready routes have nothing to do in this world: no key waits, no request is open, no
// rotation goes on.
var unready = map[string]bool{"/orgs/{org}/keys/{key}/approve": true, "/orgs/{org}/limit-requests/answer": true, "/orgs/{org}/keys/{key}/secrets/{secret}/cancel": true}

// TestEveryRouteForEveryRole is: every route, as every role, on what
// is its own, another organisation's, not there any more, and malformed. What is
// not theirs is 404 for everybody whose role could see it at home.
func TestEveryRouteForEveryRole(t *testing.T) {
	w := newWorld(t)
	allowed := map[string]int{}
	for _, rt := range w.server.routes {
		if rt.scope == "" {
			continue
		}
		if !slices.Contains(keys.Actions(), rt.action) {
			t.Errorf("%s %s asks for %s, which no role may", rt.method, rt.path, rt.action)
		}
		for _, role := range []keys.Role{keys.Owner, keys.Admin, keys.Developer, keys.Auditor, keys.Billing} {
			name := fmt.Sprintf("%s %s as %s", rt.method, rt.path, role)
			actor := "mem_org_" + string(role)
			may := keys.Actor{MemberID: actor, Role: role}.May(rt.action) == nil
			// A customer's panel, and the operator's: what the member may not, neither may.
			panels := []string{w.token("org", everything)}
			if strings.Contains(rt.path, "{org}") {
				panels = append(panels, w.token("staff", everything+" operator"))
			}
			for _, token := range panels {
				switch own := w.ask(rt, fill(rt.path, w.ids["org"]), token, actor); {
				case strings.Contains(own.Header().Get("WWW-Authenticate"), "insufficient_scope") && rt.scope == "operator":
				case !may:
					w.problem(name, own, 403, "forbidden")
				case own.Code < 300 || unready[rt.path] || role == keys.Developer && own.json["code"] == "forbidden":
					allowed[name]++
				default:
					t.Errorf("%s: %d %s", name, own.Code, own.Body)
				}
			}
			token := w.token("org", everything)
			if !strings.Contains(rt.path, "{org}") || rt.scope == "operator" {
				continue
			}
			foreign := w.ask(rt, fill(rt.path, w.ids["other"]), token, actor)
			w.problem(name+", another organisation", foreign, 404, "not_found")
			if strings.Count(rt.path, "{") < 2 || !may {
				continue
			}
			for what, id := range map[string]string{"another organisation's": "", "deleted": "key_AAAAAAAAAAAAAAAAAAAAAAAAAA", "malformed": "%2e%2e%2f", "of another type": "org"} {
				ids := maps.Clone(w.ids["other"])
				for name := range ids {
					if id != "" {
						ids[name] = id
					}
				}
				ids["org"] = "org"
				w.problem(name+", id "+what, w.ask(rt, fill(rt.path, ids), token, actor), 404, "not_found")
			}
		}
		for _, role := range []keys.Role{keys.Support, keys.Staff} {
			got := w.ask(rt, fill(rt.path, w.ids["org"]), w.token("staff", everything+" operator"), "mem_staff_"+string(role))
			may := keys.Actor{MemberID: "x", Role: role}.May(rt.action) == nil && rt.action != "key.rotate" // which is for the operator's own keys
			if may == (got.Code == 403) && got.json["code"] != "scope_not_grantable" {
				t.Errorf("%s %s as %s: %d %s", rt.method, rt.path, role, got.Code, got.Body)
			}
		}
		if got := w.ask(rt, fill(rt.path, w.ids["org"]), "", ""); got.Code != 401 {
			t.Errorf("%s %s without a token: %d", rt.method, rt.path, got.Code)
		}
		if got := w.ask(rt, fill(rt.path, w.ids["org"]), w.token("org", "alerts:read"), ""); got.Code != 403 {
			t.Errorf("%s %s without the scope: %d", rt.method, rt.path, got.Code)
		}
	}
	if len(allowed) < 60 {
		t.Errorf("only %d of the rows were allowed", len(allowed))
	}
}

// TestActorsAreMembers: a panel names who it acts for, needs the scope for it, and
// cannot name anybody else.
func TestActorsAreMembers(t *testing.T) {
	w := newWorld(t)
	create := func(token, actor string) reply {
		return w.call("POST", "/v1/orgs/org/keys", token, `{"name":"n`+fmt.Sprint(time.Now().UnixNano())+`","scopes":["alerts:read"]}`, "Imara-Actor", actor)
	}
	w.problem("without the scope", create(w.token("org", "keys:write"), "mem_org_owner"), 403, "actor_not_allowed")
	for name, actor := range map[string]string{"another organisation's": "mem_other_owner", "unknown": "mem_x", "staff": "mem_staff_operator"} {
		w.problem(name, create(w.token("org", everything), actor), 403, "actor_not_allowed")
	}
	made := create(w.token("org", everything), "mem_org_developer")
	if made.Code != 201 || made.json["key"].(map[string]any)["owner"] != "mem_org_developer" {
		t.Fatalf("%s", made.Body)
	}
	// The operator's panel acts for a customer's member with that member's role only.
	restricted := w.call("POST", "/v1/orgs/org/keys", w.token("staff", everything+" operator"), `{"name":"x","scopes":["operator"]}`, "Imara-Actor", "mem_org_owner")
	w.problem("restricted scope", restricted, 403, "scope_not_grantable")
	events := w.call("GET", "/v1/orgs/org/audit-events?limit=1", w.token("org", everything), "")
	event := events.json["data"].([]any)[0].(map[string]any)
	if event["member"] != "mem_org_developer" || event["action"] != "key.create" || event["client_id"] == "" || event["request_id"] == nil || event["address"] == nil {
		t.Errorf("%v", event)
	}
	if _, err := w.registry.RemoveMember(t.Context(), keys.Program("test"), "org", "mem_org_developer", "mem_org_admin"); err != nil {
		t.Fatal(err)
	}
	w.problem("removed member", create(w.token("org", everything), "mem_org_developer"), 403, "actor_not_allowed")
}

// TestDeveloperChangesOwnKeysOnly: the rest is another member's.
func TestDeveloperChangesOwnKeysOnly(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	made := w.call("POST", "/v1/orgs/org/keys", token, `{"name":"mine","scopes":["alerts:read"]}`, "Imara-Actor", "mem_org_developer")
	own := made.json["key"].(map[string]any)["id"].(string)
	for _, row := range []struct{ method, path, body string }{
		{"PATCH", "", `{"name":"renamed"}`}, {"POST", "/secrets", ""}, {"POST", "/revoke", ""},
	} {
		got := w.call(row.method, "/v1/orgs/org/keys/"+w.ids["org"]["key"]+row.path, token, row.body, "Imara-Actor", "mem_org_developer", "If-Match", "*")
		w.problem(row.method+" "+row.path+" of another's key", got, 403, "forbidden")
		if got := w.call(row.method, "/v1/orgs/org/keys/"+own+row.path, token, row.body, "Imara-Actor", "mem_org_developer", "If-Match", "*"); got.Code >= 300 {
			t.Errorf("%s %s of its own key: %s", row.method, row.path, got.Body)
		}
	}
	w.problem("suspend", w.call("POST", "/v1/orgs/org/keys/"+own+"/suspend", token, "", "Imara-Actor", "mem_org_developer"), 403, "forbidden")
	w.problem("for another owner", w.call("POST", "/v1/orgs/org/keys", token, `{"name":"x","owner":"mem_org_admin","scopes":["alerts:read"]}`, "Imara-Actor", "mem_org_developer"), 403, "forbidden")
	w.problem("a dangerous scope", w.call("POST", "/v1/orgs/org/keys", token, `{"name":"x","scopes":["billing:all"]}`, "Imara-Actor", "mem_org_developer"), 403, "scope_not_grantable")
	if got := w.call("POST", "/v1/orgs/org/keys", w.token("org", everything+" billing:all"), `{"name":"x","scopes":["billing:all"]}`, "Imara-Actor", "mem_org_admin"); got.Code != 201 {
		t.Errorf("an admin: %s", got.Body)
	}
	w.problem("by a key without it", w.call("POST", "/v1/orgs/org/keys", token, `{"name":"y","scopes":["billing:all"]}`), 403, "scope_not_grantable")
}
