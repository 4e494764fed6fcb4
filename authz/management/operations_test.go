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
	link, ok := strings.CutPrefix(url, strings.TrimSuffix(authz.ManagementAudience(w.server.Issuer), "/v1")+"/panel/link/")
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
