package management

import (
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// TestAccountLinksAreShownOnce: the answer that made a link has it, no other answer
// and no event; nobody but the operator makes one, and only for a member.
func TestAccountLinksAreShownOnce(t *testing.T) {
	w := newWorld(t)
	token := w.token("staff", "operator")
	const body = `{"email":"Mem_org_owner@example.com"}`
	made := w.call("POST", "/v1/account-links", token, body, "Idempotency-Key", "one")
	again := w.call("POST", "/v1/account-links", token, body, "Idempotency-Key", "one")
	url, _ := made.json["url"].(string)
	link, ok := strings.CutPrefix(url, strings.TrimSuffix(authz.ManagementAudience(w.server.config.Issuer), "/v1")+"/panel/link/")
	if made.Code != 201 || !ok {
		t.Fatalf("%s", made.Body)
	}
	if again.Code != 201 || again.json["url"] != nil || again.json["email"] != "mem_org_owner@example.com" || again.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s", again.Body)
	}
	l, err := w.registry.Link(t.Context(), link)
	if err != nil || l.Email != "mem_org_owner@example.com" || time.Until(l.ExpiresAt) > keys.LinkLife {
		t.Errorf("%+v, %v", l, err)
	}
	n, err := w.registry.CountEvents(t.Context(), "", keys.EventPage{Action: "account.link"})
	if err != nil || n != 1 {
		t.Errorf("%d events, %v", n, err)
	}
	w.problem("nobody's address", w.call("POST", "/v1/account-links", token, `{"email":"eve@example.com"}`), 422, "invalid_field")
	w.problem("a customer", w.call("POST", "/v1/account-links", w.token("org", everything), body), 403, "insufficient_scope")
	w.problem("support", w.call("POST", "/v1/account-links", w.token("staff", "operator members:act"), body, "Imara-Actor", "mem_staff_support"), 403, "forbidden")
}

// TestALinkForAnAccountNamesWhatItOpens: an address that has a password or another
// organization gets no link, but a problem with all that one would open; named, a link is
// made, which shows them. A dry run says the same and makes nothing.
func TestALinkForAnAccountNamesWhatItOpens(t *testing.T) {
	w := newWorld(t)
	token := w.token("staff", "operator")
	add := `{"name":"Olaf","email":"mem_org_owner@example.com","role":"developer"}`
	if got := w.call("POST", "/v1/orgs/other/members", w.token("other", everything), add); got.Code != 201 || got.json["status"] != "invited" || got.json["accepted_at"] != nil {
		t.Fatalf("%s", got.Body)
	}
	for _, path := range []string{"/v1/account-links", "/v1/account-links?dry_run=true"} {
		for name, body := range map[string]string{
			"a link": `{"email":"Mem_org_owner@example.com"}`,
			"half":   `{"email":"mem_org_owner@example.com","reset":["other"]}`,
		} {
			got := w.call("POST", path, token, body)
			w.problem(name, got, 409, "account_exists")
			if opens, _ := got.json["opens"].([]any); len(opens) != 2 || opens[0] != "org" || opens[1] != "other" {
				t.Errorf("%s: %s", name, got.Body)
			}
		}
	}
	w.problem("none", w.call("POST", "/v1/account-links", token, `{"email":"mem_org_owner@example.com","reset":[]}`), 422, "invalid_field")
	body := `{"email":"mem_org_owner@example.com","reset":["other","org"]}`
	if got := w.call("POST", "/v1/account-links?dry_run=true", token, body); got.Code != 201 || got.json["url"] != nil {
		t.Errorf("%s", got.Body)
	}
	if n, err := w.registry.CountEvents(t.Context(), "other", keys.EventPage{Action: "account.reset"}); err != nil || n != 0 {
		t.Errorf("%d events of a dry run, %v", n, err)
	}
	got := w.call("POST", "/v1/account-links", token, body)
	if opens, _ := got.json["opens"].([]any); got.Code != 201 || got.json["url"] == nil || len(opens) != 2 {
		t.Errorf("%s", got.Body)
	}
}

// TestAnInvitedMemberIsNotActedFor: nor does a customer say that somebody accepted.
func TestAnInvitedMemberIsNotActedFor(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	body := `{"name":"Ivy","email":"ivy@example.com","role":"owner"}`
	made := w.call("POST", "/v1/orgs/org/members", token, body)
	id, _ := made.json["id"].(string)
	if made.Code != 201 || made.json["status"] != "invited" {
		t.Fatalf("%s", made.Body)
	}
	w.problem("invited", w.call("GET", "/v1/orgs/org/keys", token, "", "Imara-Actor", id), 403, "actor_not_allowed")
	accepted := `{"name":"Ivy","email":"eva@example.com","role":"owner","accepted":true}`
	w.problem("by a customer", w.call("POST", "/v1/orgs/org/members", token, accepted), 403, "forbidden")
	made = w.call("POST", "/v1/orgs/org/members", w.token("staff", "operator org:write"), accepted)
	id, _ = made.json["id"].(string)
	if made.Code != 201 || made.json["status"] != "active" || made.json["accepted_at"] == nil {
		t.Fatalf("%s", made.Body)
	}
	if got := w.call("GET", "/v1/orgs/org/keys", token, "", "Imara-Actor", id); got.Code != 200 {
		t.Errorf("%s", got.Body)
	}
}
