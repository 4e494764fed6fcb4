package panel

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// TestSecurityReview: what was found, the most urgent first, each with the page that
// settles it; and that there is nothing.
func TestSecurityReview(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/review")
	b.says("Nothing to do.", "One key per use case")
	b.accessible("review-clear")
	s.memberOf("acme", "bob", keys.Developer)
	k := s.key("acme", "Orphan", "mem_acme_bob")
	_, _, err := s.registry.Edit(t.Context(), tester, "acme", k.ID, func(e *keys.KeyEdit) { e.ExpiresAt = time.Now().Add(50 * time.Hour) })
	s.must(err)
	_, err = s.registry.RemoveMember(t.Context(), tester, "acme", "mem_acme_bob", "mem_acme_ann")
	s.must(err)
	b.open("/panel/o/acme/keys/review")
	b.says("Orphan", "It expires in 2 days")
	b.accessible("review")
	b.goes(chromedp.Click(".findings a.button"))
	if at := b.at(); at != "/panel/o/acme/keys/"+k.ID+"/edit#field-expires_at" {
		t.Error(at)
	}
}

// TestUsageOfTheOrganisation: the chart, each key, and the same as CSV.
func TestUsageOfTheOrganisation(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	k := s.key("acme", "=Busy()", "mem_acme_ann")
	hour := time.Now().UTC().Truncate(time.Hour)
	s.must(s.registry.AddUsage(t.Context(), keys.Usage{Counts: map[keys.Tally]int64{{KeyID: k.ID, Hour: hour, Outcome: keys.Issued}: 41, {KeyID: k.ID, Hour: hour, Outcome: keys.RefusedNetwork}: 2}}))
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/usage?window=7d")
	b.says("41 issued · 2 refused · network 2", "=Busy()")
	b.accessible("usage")
	_, csv := s.get("/panel/o/acme/keys/usage?window=24h&format=csv", b.cookie())
	if !strings.Contains(csv, hour.Format(time.RFC3339)+","+k.ID+",'=Busy(),issued,41\r\n") {
		t.Error(csv)
	}
}

// TestMembers: one is added, gets another role, and leaves, handing the keys over.
func TestMembers(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/members")
	b.accessible("members")
	add := func(name, email string) {
		t.Helper()
		b.do(chromedp.SetValue("#name", name), chromedp.SetValue("#email", email))
		b.goes(chromedp.Click("section button.main"))
	}
	add("Bob", "bob@example.com")
	b.says("Bob", "bob@example.com")
	add("Bob again", "BOB@example.com")
	b.says("There is a member with this address already.")
	if value, err := chromedp.Run(b.ctx, chromedp.Value("#name")); err != nil || value != "Bob again" {
		t.Errorf("the form has %q, %v", value, err)
	}
	b.accessible("members-problem")
	members, err := s.registry.Members(t.Context(), "acme")
	if err != nil || len(members) != 2 || members[1].Role != keys.Developer {
		t.Fatalf("%+v, %v", members, err)
	}
	bob := members[1].ID
	b.open("/panel/o/acme/members")
	b.do(chromedp.SetValue(`form[action="members/`+bob+`"] select`, "admin"))
	b.goes(chromedp.Click(`form[action="members/` + bob + `"] button`))
	if m, err := s.registry.Member(t.Context(), "acme", bob); err != nil || m.Role != keys.Admin {
		t.Errorf("%+v, %v", m, err)
	}
	b.do(chromedp.SetValue(`form[action="members/mem_acme_ann"] select`, "admin"))
	b.goes(chromedp.Click(`form[action="members/mem_acme_ann"] button`))
	b.says("The last owner stays.")
	b.says("invited")
	_, err = s.registry.Accept(t.Context(), tester, "bob@example.com", bob)
	s.must(err)
	k := s.key("acme", "Bob's export", bob)
	b.open("/panel/o/acme/members/" + bob + "/remove")
	b.says("They own 1 key.", "Bob's export")
	b.accessible("member-remove")
	if got := b.focused(); got != "Keep member" {
		t.Errorf("the focus is on %q", got)
	}
	if answer := s.post("/panel/o/acme/members/"+bob+"/remove", b.cookie(), "same-origin", nil); answer.StatusCode != 422 {
		t.Errorf("without an heir: %d", answer.StatusCode)
	}
	b.do(chromedp.SetValue("#heir", "mem_acme_ann"))
	b.goes(chromedp.Click("button.danger"))
	if k, err := s.registry.Key(t.Context(), "acme", k.ID); err != nil || k.OwnerID != "mem_acme_ann" {
		t.Errorf("%+v, %v", k, err)
	}
	if strings.Contains(b.text("tbody"), "Bob") {
		t.Error("Bob is still there")
	}
}

// TestAuditLog: who did what, a filter, more pages, the chain, and the export, which is
// an event itself; a role without the export finds no button.
func TestAuditLog(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	k := s.key("acme", "Old dashboard", "mem_acme_ann")
	for range 30 {
		for _, suspended := range []bool{true, false} {
			var err error
			if suspended {
				_, _, err = s.registry.Suspend(t.Context(), tester, "acme", k.ID, "a pause")
			} else {
				_, err = s.registry.Resume(t.Context(), tester, "acme", k.ID)
			}
			s.must(err)
		}
	}
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/audit")
	b.says("key.suspend", "Old dashboard", "test")
	b.accessible("audit")
	b.do(chromedp.Click("details summary"))
	b.says("Event", "Target", k.ID)
	b.goes(chromedp.Click(".buttons a"))
	b.says("key.create")
	b.goes(chromedp.Click(".buttons form:not([action]) button"))
	b.says("each chained to the one before, unbroken up to evt_")
	b.accessible("audit-verified")
	b.open("/panel/o/acme/audit?action=key.create&from=2020-01-01")
	if rows := b.text(".events"); !strings.Contains(rows, "key.create") || strings.Contains(rows, "key.suspend") {
		t.Errorf("%s", rows)
	}
	export := func(query, session string) (int, string) {
		t.Helper()
		answer := s.post("/panel/o/acme/audit/export"+query, session, "same-origin", nil)
		return answer.StatusCode, body(t, answer)
	}
	if status, _ := export("?from=yesterday", b.cookie()); status != 400 {
		t.Errorf("from a day that is none: %d", status)
	}
	if status, _ := s.get("/panel/o/acme/audit/export", b.cookie()); status != 405 {
		t.Errorf("a link exports: %d", status)
	}
	_, csv := export("?action=key.suspend", b.cookie())
	if !strings.HasPrefix(csv, "id,at,") || strings.Count(csv, "key.suspend") != 30 || strings.Contains(csv, "key.create") {
		t.Errorf("%s", csv)
	}
	if events, err := s.registry.Events(t.Context(), "acme", keys.EventPage{Action: "audit.export"}); err != nil || len(events) != 1 {
		t.Errorf("%d exports, %v", len(events), err)
	}
	s.memberOf("acme", "bob", keys.Admin)
	session := s.session("bob@example.com")
	if _, page := s.get("/panel/o/acme/audit", session); strings.Contains(page, "Export as CSV") {
		t.Error("an admin finds the export")
	}
	if status, _ := export("", session); status != 403 {
		t.Errorf("an admin exports: %d", status)
	}
}

// TestPolicy: it says what it would affect before it is saved, and who only looks finds
// no button.
func TestPolicy(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.key("acme", "For ever", "mem_acme_ann")
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/policy")
	b.accessible("policy")
	b.do(chromedp.SetValue("#days", "x"))
	b.goes(chromedp.Click("button.main"))
	b.says("“x” is not a number of days.")
	b.accessible("policy-problem")
	b.do(chromedp.SetValue("#days", "30"), chromedp.SetValue("#networks", "203.0.113.0/24"), chromedp.Click(`[value=developer]`))
	b.goes(chromedp.Click(`[value=check]`))
	b.says("1 active key would not be admitted:", "For ever", "Every active key complies.")
	b.accessible("policy-checked")
	if o, err := s.registry.Organization(t.Context(), "acme"); err != nil || o.Policy.MaxLifetime != 0 {
		t.Errorf("a check saved %+v, %v", o.Policy, err)
	}
	b.goes(chromedp.Click("button.main"))
	want := keys.Policy{MaxLifetime: 30 * day, Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, Creators: []keys.Role{keys.Owner, keys.Admin}}
	if o, err := s.registry.Organization(t.Context(), "acme"); err != nil || o.Policy.MaxLifetime != want.MaxLifetime || !slices.Equal(o.Policy.Networks, want.Networks) || !slices.Equal(o.Policy.Creators, want.Creators) {
		t.Errorf("%+v, %v", o.Policy, err)
	}
	b.open("/panel/o/acme/keys/new")
	b.says("The longest that a key of this organisation can live: 30 days.")
	s.memberOf("acme", "bob", keys.Admin)
	session := s.session("bob@example.com")
	if _, page := s.get("/panel/o/acme/policy", session); strings.Contains(page, `value="save"`) {
		t.Error("an admin may save")
	}
	form := url.Values{"version": {"x"}, "creator": {"owner"}, "do": {"save"}}
	if answer := s.post("/panel/o/acme/policy", session, "same-origin", form); answer.StatusCode != 403 {
		t.Errorf("an admin saves: %d", answer.StatusCode)
	}
	if answer := s.post("/panel/o/acme/policy", b.cookie(), "same-origin", form); answer.StatusCode != 409 {
		t.Errorf("an old version: %d", answer.StatusCode)
	}
}

// TestPlan: the table, and a request for another limit with what became of it.
func TestPlan(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/plan")
	b.says("Professional yours", "Enterprise")
	b.accessible("plan")
	b.do(chromedp.SendKeys("#wanted", "many"), chromedp.SendKeys("#reason", "more regions"))
	b.goes(chromedp.Click("section button"))
	b.says("Give a number of keys")
	b.accessible("plan-problem")
	b.do(chromedp.SetValue("#wanted", "9"))
	b.goes(chromedp.SendKeys("#reason", kb.Enter))
	b.says("9 keys", "more regions", "Sent; not answered yet.")
	_, err := s.registry.AnswerLimit(t.Context(), tester, "acme", 9, "fine")
	s.must(err)
	b.open("/panel/o/acme/plan")
	b.says("Granted", "You have a limit of your own: 9 keys.", "0 of 9 active keys")
	b.accessible("plan-granted")
}

// TestEveryPageForEveryRole: the panel forbids what the role does, and the navigation
// leads to nothing forbidden.
func TestEveryPageForEveryRole(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	pages := map[string]keys.Action{"keys": "key.read", "keys/new": "key.create", "keys/review": "usage.read", "keys/usage": "usage.read", "members": "member.read", "audit": "audit.read",
		"policy": "organization.read", "plan": "organization.read", "members/mem_acme_ann/remove": "member.remove"}
	for _, role := range keys.CustomerRoles() {
		s.memberOf("acme", "r"+string(role), role)
		session := s.session("r" + string(role) + "@example.com")
		by := keys.Actor{MemberID: "m", Role: role}
		for path, action := range pages {
			want := 200
			if by.May(action) != nil {
				want = 403
			}
			if status, _ := s.get("/panel/o/acme/"+path, session); status != want {
				t.Errorf("%s %s: %d, want %d", role, path, status, want)
			}
			if status, _ := s.get("/panel/o/elsewhere/"+path, session); status != 404 {
				t.Errorf("%s %s of another: %d", role, path, status)
			}
		}
		_, page := s.get("/panel/o/acme/plan", session)
		for _, section := range sections {
			if strings.Contains(page, `href="/panel/o/acme/`+section.Path+`"`) != (by.May(section.action) == nil) {
				t.Errorf("%s finds %s", role, section.Path)
			}
		}
		for path, action := range map[string]keys.Action{"members": "member.add", "members/mem_acme_ann": "member.edit", "members/mem_acme_ann/remove": "member.remove", "plan": "limit.request", "audit": "audit.read", "audit/export": "audit.export"} {
			answer := s.post("/panel/o/acme/"+path, session, "same-origin", url.Values{"role": {"nothing"}, "version": {"old"}})
			if forbidden := by.May(action) != nil; (answer.StatusCode == 403) != forbidden {
				t.Errorf("%s posts %s: %d", role, path, answer.StatusCode)
			}
		}
	}
}

// TestTasteIsKept: a theme and a language stay with the browser, and lead back.
func TestTasteIsKept(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/plan")
	b.do(chromedp.SetValue("#theme", "dark"))
	b.goes(chromedp.Click("footer button"))
	if at := b.at(); at != "/panel/o/acme/plan" {
		t.Error(at)
	}
	dark, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.documentElement.className + getComputedStyle(document.documentElement).colorScheme"))
	if err != nil || dark != "darkdark" {
		t.Errorf("%q, %v", dark, err)
	}
	for _, back := range []string{"https://evil.example/", "//evil.example/", "/panel//evil.example", "/panel/../x", "/elsewhere", `/panel/\evil`} {
		if to := s.post("/panel/preferences", "", "same-origin", url.Values{"back": {back}, "theme": {"light"}}).Header.Get("Location"); to != "/panel/" {
			t.Errorf("%q leads to %q", back, to)
		}
	}
}

// TestTokenCheck: what a token says of itself is shown without asking; what a verifier
// thinks of it in words for each of its errors, and nothing of a foreign one.
func TestTokenCheck(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := s.signedIn("ann@example.com")
	claims := &tokens.Claims{Issuer: s.origin, ClientID: "client_1", Organization: "acme", Scope: "alerts:read", Audience: tokens.Audience{"https://api.example.com"}, ID: "tok_1", IssuedAt: time.Now().Unix(), ExpiresAt: time.Now().Add(time.Hour).Unix(), Position: 7}
	foreign := *claims
	foreign.Organization = "globex"
	payload, err := json.Marshal(claims)
	s.must(err)
	raw := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload) + ".c2ln"
	b.open("/panel/o/acme/token")
	b.do(chromedp.WaitReady("#token:focus"))
	b.paste(raw)
	b.until(`document.querySelector('.decoded').textContent.includes('"jti": "tok_1"')`)
	b.accessible("token-decoded")
	for _, test := range []struct {
		claims *tokens.Claims
		err    error
		says   string
	}{
		{claims, nil, "Accepted: signature, time and revocation are right"},
		{nil, tokens.ErrMalformed, "this is not an access token"},
		{nil, tokens.ErrUnknownKey, "no signing key of this server made it"},
		{nil, tokens.ErrSignature, "the signature is wrong"},
		{claims, fmt.Errorf("for alerts: %w", tokens.ErrExpired), "it has expired"},
		{claims, tokens.ErrNotForUs, "for another server or API"},
		{claims, tokens.ErrRevoked, "it was revoked"},
		{nil, tokens.ErrStale, "Not known"},
		{&foreign, nil, "A token of another organisation"},
		{&foreign, tokens.ErrRevoked, "A token of another organisation"},
	} {
		s.check = func() (*tokens.Claims, error) { return test.claims, test.err }
		b.open("/panel/o/acme/token")
		b.do(chromedp.WaitReady("#token:focus"))
		b.paste(raw)
		b.goes(chromedp.Click("main button"))
		b.says(test.says)
		shown, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`document.querySelector('main').textContent.includes('tok_1')`))
		if s.must(err); shown != (test.claims == claims) {
			t.Errorf("%q: the claims are shown: %t", test.says, shown)
		}
	}
	b.accessible("token-foreign")
	s.check = func() (*tokens.Claims, error) { return claims, nil }
	b.do(chromedp.Focus("#token"))
	b.paste(raw)
	b.goes(chromedp.Click("main button"))
	b.accessible("token-accepted")
	if strings.Contains(s.log.String(), raw) {
		t.Error("the log has the token")
	}
}

// TestExportOfTheAuditLogAsksForThePasswordAgain: it takes everything away at once.
func TestExportOfTheAuditLogAsksForThePasswordAgain(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := s.signedIn("ann@example.com")
	old := s.aged(b, "ann@example.com", 20*time.Minute)
	export := func(form url.Values) (int, string) {
		answer := s.post("/panel/o/acme/audit/export", old, "same-origin", form)
		return answer.StatusCode, body(t, answer)
	}
	if status, page := export(url.Values{"format": {"ndjson"}}); status != 403 ||
		!strings.Contains(page, "confirm_password") || strings.Contains(page, `"action"`) {
		t.Errorf("without a fresh proof: %d %s", status, page)
	}
	confirmed := url.Values{"format": {"ndjson"}, "confirm_password": {password}}
	if status, events := export(confirmed); status != 200 || !strings.Contains(events, `"action"`) {
		t.Errorf("with the password: %d %s", status, events)
	}
}
