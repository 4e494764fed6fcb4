package panel

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/imara/apikeys/keys"
)

// TestNoTenantTakesAnAccountOver: a tenant that adds a stranger's address gets nothing of
// the stranger's. Who is added sees an invitation, and no page of that organization; the
// operator is told what a link would open, and is asked again; accepted, the organization
// is there, and declined it is gone.
func TestNoTenantTakesAnAccountOver(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.organization("evil", "Professional")
	s.organization("other", "Professional")
	s.memberOf("other", "olga", keys.Owner)
	ann := s.session("ann@example.com")
	invite := func(org string) string {
		m, err := s.registry.AddMember(t.Context(), tester, keys.Member{OrganizationID: org, Name: "Ann", Email: "ann@example.com", Role: keys.Developer})
		s.must(err)
		return m.ID
	}
	first, second := invite("evil"), invite("other")
	if status, _ := s.get("/panel/o/evil/keys", ann); status != 404 {
		t.Errorf("a page of who invites: %d", status)
	}
	status, page := s.get("/panel/", ann)
	if status != 200 || !strings.Contains(page, "Org evil invites you") || !strings.Contains(page, "Org acme") {
		t.Errorf("%d %s", status, page)
	}
	answer := func(session, id, do string) int {
		return s.post("/panel/invitations/"+id, session, "same-origin", url.Values{"do": {do}}).StatusCode
	}
	olga := s.session("olga@example.com")
	answer(olga, first, "accept")
	if _, page := s.get("/panel/o/evil/keys", olga); !strings.Contains(page, "not found") && !strings.Contains(page, "nothing here") {
		t.Errorf("somebody else's invitation: %s", page)
	}
	if status, page := s.get("/panel/o/other/members", olga); status != 200 || !strings.Contains(page, "invited") {
		t.Errorf("%d, the members do not show who is invited: %s", status, page)
	}
	if got := answer(ann, first, "else"); got != 400 {
		t.Error(got)
	}
	if got := answer(ann, second, "accept"); got != http.StatusSeeOther {
		t.Error(got)
	}
	answer(ann, first, "decline")
	if status, _ := s.get("/panel/o/other/keys", ann); status != 200 {
		t.Errorf("accepted: %d", status)
	}
	if status, page := s.get("/panel/", ann); status != 200 || strings.Contains(page, "evil") {
		t.Errorf("declined: %d %s", status, page)
	}
}

// TestTheOperatorIsAskedAgainBeforeAReset: the page of a tenant makes no link for an
// account before the operator has seen every organization that it opens.
func TestTheOperatorIsAskedAgainBeforeAReset(t *testing.T) {
	t.Parallel()
	s := newOperated(t)
	s.organization("evil", "Professional")
	operator := s.session("olga@example.com")
	s.session("ann@example.com")
	m, err := s.registry.AddMember(t.Context(), tester, keys.Member{OrganizationID: "evil", Name: "Bob", Email: "ann@example.com", Role: keys.Developer})
	s.must(err)
	path := "/panel/admin/orgs/evil/members/" + m.ID + "/link"
	make := func(form url.Values) (int, string) {
		answer := s.post(path, operator, "same-origin", form)
		return answer.StatusCode, body(t, answer)
	}
	for _, opens := range [][]string{nil, {"evil"}} {
		status, page := make(url.Values{"opens": opens})
		if status != 409 || strings.Contains(page, "/panel/link/") || !strings.Contains(page, "Org acme") || !strings.Contains(page, "has a password already") {
			t.Errorf("%q: %d %s", opens, status, page)
		}
	}
	if status, page := make(url.Values{"opens": {"acme", "evil"}}); status != 200 || !strings.Contains(page, "/panel/link/") {
		t.Errorf("named: %d %s", status, page)
	}
	for _, id := range []string{"acme", "evil"} {
		events, err := s.registry.Events(t.Context(), id, keys.EventPage{Action: "account.reset"})
		if err != nil || len(events) != 1 {
			t.Errorf("%s: %v %v", id, events, err)
		}
	}
}

// TestTheOperatorSeesWhoSignsIn: the page of the operator's audit log leads to the
// server's own, with sign-ins and failures; a customer's page has no such log.
func TestTheOperatorSeesWhoSignsIn(t *testing.T) {
	t.Parallel()
	s := newOperated(t)
	operator, ann := s.session("olga@example.com"), s.session("ann@example.com")
	wrong := url.Values{"email": {"ann@example.com"}, "password": {"wrong"}}
	s.post("/panel/sign-in", "", "same-origin", wrong)
	s.post("/panel/sign-in", "", "same-origin", url.Values{"email": {"ann@example.com"}, "password": {password}})
	s.must(s.registry.FlushSignIns(t.Context()))
	path := "/panel/o/" + keys.OperatorOrganization + "/audit"
	if _, page := s.get(path, operator); !strings.Contains(page, `href="audit?server"`) || strings.Contains(page, "signed in</summary>") {
		t.Errorf("%s", page)
	}
	_, page := s.get(path+"?server", operator)
	for _, want := range []string{"account.sign_in<", "account.sign_in_failed<", "ann@example.com", "127.0.0.1", "Go"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in %s", want, page)
		}
	}
	if _, page := s.get("/panel/o/acme/audit?server", ann); strings.Contains(page, "account.sign_in<") || strings.Contains(page, `href="audit?server"`) {
		t.Errorf("a customer sees the server's log: %s", page)
	}
}
