package management

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// rows are everything that the store has, but for the log, which is its tip.
func (w *world) rows() string {
	w.t.Helper()
	ctx := w.t.Context()
	var all []any
	add := func(list any, err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, list)
	}
	page, err := w.store.Read(ctx, 0, 1)
	add(page.Tip, err)
	organizations, err := w.store.Organizations(ctx, "", 100)
	add(organizations, err)
	for _, o := range organizations {
		list, err := w.store.Keys(ctx, o.ID, keys.Page{})
		add(list, err)
		members, err := w.store.Members(ctx, o.ID)
		add(members, err)
		hooks, err := w.store.Webhooks(ctx, o.ID)
		add(hooks, err)
		for _, hook := range hooks {
			deliveries, err := w.store.Deliveries(ctx, hook.ID, "", 100)
			add(deliveries, err)
		}
	}
	resources, err := w.store.Resources(ctx)
	add(resources, err)
	presets, err := w.store.Presets(ctx)
	add(presets, err)
	signing, err := w.store.SigningKeys(ctx)
	add(signing, err)
	sessions, err := w.store.Sessions(ctx)
	add(sessions, err)
	return fmt.Sprintf("%+v", all)
}

// ready is a world in which no route has nothing to do: a key waits, a rotation goes on, a
// request is open.
func (w *world) ready() map[string]map[string]string {
	w.t.Helper()
	asked := w.pending()
	_, _, fresh := w.rotating("rotating")
	if _, err := w.registry.RequestLimit(w.t.Context(), keys.Program("test"), "org", 30, "more"); err != nil {
		w.t.Fatal(err)
	}
	path := func(at string) map[string]string {
		part := strings.Split(at, "/")
		ids := map[string]string{"org": "org", "key": part[4]}
		if len(part) > 6 {
			ids["secret"] = part[6]
		}
		return ids
	}
	return map[string]map[string]string{"/orgs/{org}/keys/{key}/approve": path(asked), "/orgs/{org}/keys/{key}/secrets/{secret}/cancel": path(fresh)}
}

// made are ids, secrets and links as they look once something is made.
var made = regexp.MustCompile(`(key|mem|org|whk|res|pre|sec|imara_ci|imara_cs_live|whsec)_[0-9A-Za-z]{12,}|/panel/link`)

// TestDryRunChangesNothing: every route that changes something can be tried, however that is
// asked for. The answer says that nothing was done, and has neither an id nor a secret nor a
// version that is not there; log and rows are as they were.
func TestDryRunChangesNothing(t *testing.T) {
	w := newWorld(t)
	special := w.ready()
	ran := 0
	for _, rt := range w.server.routes {
		if rt.method == http.MethodGet || rt.scope == "" || strings.Contains(rt.path, "inspect") {
			continue
		}
		ids := special[rt.path]
		if ids == nil {
			ids = w.ids["org"]
		}
		// Another client's than asked; who approves is a member.
		token, actor := w.tokenOf("staff", everything+" operator", "caller"), ""
		if rt.action == "key.approve" {
			token, actor = w.tokenOf("org", everything, "another"), "mem_org_owner"
		}
		for _, ask := range []struct{ query, header, value string }{
			{"?dry_run=true", "", ""},
			{"?dry_run=true", "Idempotency-Key", "idempotent"},
			{"", "Prefer", "dry-run"},
			{"", "Prefer", "wait=3, Dry-Run"},
			{"?dry_run=true", "Prefer", "dry-run"},
		} {
			before := w.rows()
			got := w.call(rt.method, fill(rt.path, ids)+ask.query, token, bodies[rt.method+" "+rt.path],
				"Imara-Actor", actor, "If-Match", map[bool]string{true: "*"}[actor != ""], ask.header, ask.value)
			name := fmt.Sprint(rt.method, " ", rt.path, " ", ask)
			if got.Code >= 300 || got.json["dry_run"] != true || got.Header().Get("ETag") != "" {
				t.Errorf("%s: %d %v %s", name, got.Code, got.Header(), got.Body)
			}
			if now := w.rows(); now != before {
				t.Errorf("%s changed the store:\n%s\n%s", name, before, now)
			}
			for _, id := range made.FindAllString(got.Body.String(), -1) {
				if !strings.Contains(before, strings.TrimPrefix(id, "sec_")) {
					t.Errorf("%s invented %s: %s", name, id, got.Body)
				}
			}
			ran++
		}
	}
	if ran < 150 {
		t.Errorf("only %d ran", ran)
	}
	w.problem("a name that is taken", w.call("POST", "/v1/orgs/org/keys?dry_run=true", w.token("org", everything), `{"name":"KEY","scopes":["alerts:read"]}`), 409, "name_taken")
	w.problem("an address that is taken", w.call("POST", "/v1/orgs/org/members?dry_run=true", w.token("org", everything), `{"name":"x","email":"mem_org_admin@example.com","role":"auditor"}`), 409, "already_exists")
	hook := "/v1/orgs/org/webhooks/" + w.ids["org"]["webhook"]
	w.problem("a delivery that is not there", w.call("POST", hook+"/deliveries/none/redeliver?dry_run=true", w.token("org", everything), ""), 404, "not_found")
}

// TestTrialIsRefusedWhereItMeansNothing: what reads, or cannot be tried, does not go through
// as if it were a trial, nor does a request that says both.
func TestTrialIsRefusedWhereItMeansNothing(t *testing.T) {
	w := newWorld(t)
	token := w.token("staff", everything+" operator")
	for _, rt := range w.server.routes {
		if rt.tries {
			continue
		}
		body := bodies[rt.method+" "+rt.path]
		path := fill(rt.path, w.ids["org"])
		for name, got := range map[string]reply{
			"query":  w.call(rt.method, path+"?dry_run=true", token, body),
			"Prefer": w.call(rt.method, path, token, body, "Prefer", "dry-run"),
		} {
			if got.Code != 422 && got.Code != 400 && got.Code != 401 {
				t.Errorf("%s %s by %s: %d %s", rt.method, rt.path, name, got.Code, got.Body)
			}
		}
	}
	before := w.rows()
	key := "/v1/orgs/org/keys/" + w.ids["org"]["key"]
	w.problem("both", w.call("POST", key+"/revoke?dry_run=false", token, "", "Prefer", "dry-run"), 400, "invalid_header")
	w.problem("a value", w.call("POST", key+"/revoke", token, "", "Prefer", "dry-run=maybe"), 400, "invalid_header")
	if w.rows() != before {
		t.Error("something was changed")
	}
}

// TestTryingToRotateMakesNoSigningKey: of an algorithm without keys neither.
func TestTryingToRotateMakesNoSigningKey(t *testing.T) {
	w := newWorld(t)
	before := w.rows()
	got := w.call("POST", "/v1/signing-keys?dry_run=true", w.token("staff", "operator"), `{"algorithm":"`+tokens.RS256+`"}`)
	w.problem("an algorithm without keys", got, 404, "not_found")
	if w.rows() != before {
		t.Error("a key was made")
	}
}

// TestEmptyObjectIsNoBody: many clients send it with a POST that takes none; nothing else is.
func TestEmptyObjectIsNoBody(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	key := "/v1/orgs/org/keys/" + w.ids["org"]["key"]
	if got := w.call("POST", key+"/resume", token, " {}\n"); got.Code != 200 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	for _, body := range []string{`{"x":1}`, "null", "[]", "{", "{}{}"} {
		w.problem(body, w.call("POST", key+"/resume", token, body), 400, "invalid_body")
	}
}
