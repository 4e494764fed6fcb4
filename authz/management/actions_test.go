package management

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// request is a call that must succeed, of the operator's.
func (w *world) request(method, path, body string) func() error {
	return func() error {
		token := w.token("staff", everything+" "+keys.OperatorScope)
		if got := w.call(method, "/v1"+path, token, body); got.Code >= 300 {
			return fmt.Errorf("%d %s", got.Code, got.Body)
		}
		return nil
	}
}

// last is the newest event of all organisations.
func (w *world) last() (newest keys.Event) {
	w.t.Helper()
	all, err := w.registry.Organizations(w.t.Context(), "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, org := range append(all, keys.Organization{}) {
		events, err := w.registry.Events(w.t.Context(), org.ID, keys.EventPage{Newest: true, Limit: 1})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(events) > 0 && events[0].Position > newest.Position {
			newest = events[0]
		}
	}
	return newest
}

// rotating makes a key of org with two secrets.
func (w *world) rotating(name string) (key, old, fresh string) {
	w.t.Helper()
	made := w.aKey("org", name, "", "alerts:read")
	rotated, err := w.registry.Rotate(w.t.Context(), keys.Program("test"), "org", made.ID, keys.DefaultOverlap)
	if err != nil {
		w.t.Fatal(err)
	}
	key = "/orgs/org/keys/" + made.ID
	return key, key + "/secrets/sec_" + made.Credentials[0].ID, key + "/secrets/sec_" + rotated.Secret.CredentialID()
}

// pending makes a key that an Admin asked for and nobody has approved, and leaves the
// policy as it was.
func (w *world) pending() string {
	w.t.Helper()
	approval := func(want bool) {
		by := keys.Program("test")
		if _, err := w.registry.EditPolicy(w.t.Context(), by, "org", func(p *keys.Policy) { p.Approval = want }); err != nil {
			w.t.Fatal(err)
		}
	}
	approval(true)
	admin := keys.Actor{ClientID: "panel", MemberID: "mem_org_admin", Role: keys.Admin}
	c, err := w.registry.Create(w.t.Context(), admin, "org",
		keys.NewKey{Name: "asked for", Access: keys.Access{Scopes: []string{"alerts:write"}}})
	if err != nil {
		w.t.Fatal(err)
	}
	approval(false)
	return "/orgs/org/keys/" + c.Key.ID
}

func endsIn(d time.Duration) string {
	return fmt.Sprintf(`{"ends_at":%q}`, time.Now().Add(d).UTC().Format(time.RFC3339))
}

// TestEveryActIsLoggedAsWhatItDid: after each act its own action stands in the log, and
// webhooks are told what happened; no action is without its act.
func TestEveryActIsLoggedAsWhatItDid(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	key, old, fresh := w.rotating("rotating")
	_, _, unwanted := w.rotating("to be canceled")
	single := "/orgs/org/keys/" + w.aKey("org", "single", "", "alerts:read").ID
	asked := w.pending()
	found, err := w.registry.Create(ctx, keys.Program("test"), "org",
		keys.NewKey{Name: "found", Access: keys.Access{Scopes: []string{"alerts:read"}}})
	if err != nil {
		t.Fatal(err)
	}
	link, _, err := w.registry.NewLink(ctx, keys.Program("test"), "mem_org_owner@example.com", "org")
	if err != nil {
		t.Fatal(err)
	}
	hook := "/orgs/org/webhooks/" + w.ids["org"]["webhook"]
	day := 24 * time.Hour
	seen := map[keys.Action]bool{}
	for _, act := range []struct {
		do     func() error
		action keys.Action
		told   string // to webhooks
	}{
		{w.request("POST", "/orgs", `{"name":"New","plan":"Starter"}`), "organization.create", ""},
		{w.request("PATCH", "/orgs/org", `{"name":"Renamed"}`), "organization.rename", ""},
		{w.request("POST", "/orgs/org/limit", `{"max_keys":50,"reason":"x"}`), "limit.set", ""},
		{w.request("POST", "/orgs/org/limit-requests", `{"max_keys":60,"reason":"x"}`), "limit.request", ""},
		{w.request("POST", "/orgs/org/limit-requests/answer", `{"grant":60}`), "limit.answer", ""},
		{w.request("POST", "/orgs/org/plan", `{"plan":"Professional"}`), "plan.set", ""},
		{w.request("PATCH", "/orgs/org/policy", `{"max_lifetime_seconds":0}`), "policy.set", ""},
		{w.request("POST", "/orgs/org/members", `{"name":"Eve","email":"eve@example.com","role":"auditor"}`), "member.add", ""},
		{w.request("PATCH", "/orgs/org/members/mem_org_auditor", `{"name":"Eve"}`), "member.edit", ""},
		{w.request("DELETE", "/orgs/org/members/mem_org_billing", ""), "member.remove", ""},
		{w.request("POST", "/orgs/org/keys", `{"name":"New","scopes":["alerts:read"]}`), "key.create", "key.created"},
		{func() error {
			owner := keys.Actor{ClientID: "panel", MemberID: "mem_org_owner", Role: keys.Owner}
			_, err := w.registry.Approve(ctx, owner, "org", asked[strings.LastIndex(asked, "/")+1:])
			return err
		}, "key.approve", "key.approved"},
		{w.request("PATCH", single, `{"name":"another"}`), "key.edit", "key.updated"},
		{w.request("POST", single+"/secrets", ""), "key.rotate", "key.rotated"},
		{w.request("PATCH", old, endsIn(20*day)), "secret.extend", "key.secret_extended"},
		{w.request("PATCH", old, endsIn(2*day)), "secret.shorten", "key.secret_shortened"},
		{w.request("PATCH", fresh, endsIn(day)), "secret.shorten", "key.secret_shortened"},
		{w.request("PATCH", fresh, endsIn(3*day)), "secret.extend", "key.secret_extended"},
		{w.request("DELETE", old, ""), "secret.end", "key.secret_ended"},
		{w.request("DELETE", old+"?leaked=true", ""), "secret.leaked", "key.exposed"},
		{w.request("DELETE", fresh+"?leaked=true", ""), "secret.end", "key.secret_ended"},
		{w.request("POST", unwanted+"/cancel", ""), "key.cancel_rotation", "key.rotation_canceled"},
		{w.request("POST", "/leaks", fmt.Sprintf(`{"secret":%q}`, found.Secret.Reveal())), "secret.leaked", "key.exposed"},
		{w.request("POST", single+"/suspend", ""), "key.suspend", "key.suspended"},
		{w.request("POST", single+"/resume", ""), "key.resume", "key.resumed"},
		{w.request("POST", single+"/revoke", ""), "key.revoke", "key.revoked"},
		{w.request("DELETE", key, ""), "key.revoke", "key.revoked"},
		{w.request("POST", "/orgs/org/webhooks", `{"url":"https://hooks.example.com/2"}`), "webhook.add", ""},
		{w.request("POST", hook+"/test", ""), "webhook.test", "webhook.test"},
		{w.request("POST", hook+"/deliveries/"+w.ids["org"]["delivery"]+"/redeliver", ""), "webhook.redeliver", ""},
		{w.request("DELETE", hook, ""), "webhook.remove", ""},
		{w.request("GET", "/orgs/org/audit-events/export", ""), "audit.export", ""},
		{w.request("POST", "/resources", `{"audience":"https://new.example.com","name":"New"}`), "resource.set", ""},
		{w.request("DELETE", "/resources/"+w.ids["org"]["resource"], ""), "resource.remove", ""},
		{w.request("POST", "/presets", `{"name":"P","scopes":["alerts:read"]}`), "preset.set", ""},
		{w.request("DELETE", "/presets/"+w.ids["org"]["preset"], ""), "preset.remove", ""},
		{w.request("POST", "/account-links", `{"email":"mem_org_admin@example.com"}`), "account.link", ""},
		{func() error {
			_, err := w.registry.UseLink(ctx, keys.Program("test"), link, "a wreck of gulls at noon")
			return err
		}, "account.password", ""},
		{w.request("DELETE", "/verifiers/"+w.ids["org"]["verifier"], ""), "verifier.end", ""},
		{w.request("POST", "/signing-keys", `{"algorithm":"ES256"}`), "signing.rotate", ""},
		{w.request("POST", "/signing-keys/"+w.ids["org"]["kid"]+"/withdraw", ""), "signing.withdraw", ""},
		{func() error {
			key := keys.SigningKey{ID: "kid", Algorithm: tokens.RS256, CreatedAt: time.Now()}
			return keys.AddSigningKey(ctx, w.store, key)
		}, "signing.make", ""},
		{func() error {
			_, err := w.registry.RevokeToken(ctx, keys.Program("test"), "org", "another jti")
			return err
		}, "token.revoke", ""},
	} {
		before := w.last()
		if err := act.do(); err != nil {
			t.Errorf("%s: %v", act.action, err)
			continue
		}
		after := w.last()
		told := (&keys.Entry{Action: after.Action}).Types()
		if after.Position == before.Position || after.Action != act.action || strings.Join(told, " ") != act.told {
			t.Errorf("%s: the log says %s, and webhooks are told %q, want %q", act.action, after.Action, told, act.told)
		}
		seen[act.action] = true
	}
	// What the program does by itself, what people do when they sign in, and what is in logs
	// of before.
	elsewhere := []keys.Action{"key.expiring", "key.expired", "secret.first_use", "verifier.retire", "verifier.unproved", "store.restored", "webhook.edit",
		"account.sign_in", "account.sign_in_failed", "account.sign_out", "account.step_up", "account.reset", "account.unbind",
		"member.accept", "member.decline"}
	for _, action := range keys.Actions() {
		reads := strings.HasSuffix(string(action), ".read") || strings.HasSuffix(string(action), ".list")
		if !reads && !seen[action] && !slices.Contains(elsewhere, action) {
			t.Errorf("nothing here does %s", action)
		}
	}
}

// TestSecretMovedToItsOwnEndChangesNothing: the request came before, and a cut that it made
// has its receipt.
func TestSecretMovedToItsOwnEndChangesNothing(t *testing.T) {
	w := newWorld(t)
	_, old, _ := w.rotating("rotating")
	token, soon := w.token("org", everything), endsIn(10*time.Minute)
	first := w.call("PATCH", "/v1"+old, token, soon)
	before := w.last()
	again := w.call("PATCH", "/v1"+old, token, soon)
	receipt := func(r reply) any { m, _ := r.json["receipt"].(map[string]any); return m["position"] }
	if first.Code != 200 || again.Code != 200 || receipt(first) == nil || receipt(first) != receipt(again) {
		t.Errorf("%s\n%s", first.Body, again.Body)
	}
	if after := w.last(); after.Position != before.Position {
		t.Errorf("the second one is in the log: %+v", after)
	}
}
