package panel

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens/signing"
)

// newOperated is newAcme with the operator's organisation, whose staff are olga and sue,
// who is support.
func newOperated(t *testing.T) *site {
	s := newAcme(t)
	_, err := s.registry.CreateOrganization(t.Context(), tester, keys.Organization{ID: keys.OperatorOrganization, Name: "Operator", Plan: "Enterprise", Operator: true})
	s.must(err)
	s.memberOf(keys.OperatorOrganization, "olga", keys.Staff)
	s.memberOf(keys.OperatorOrganization, "sue", keys.Support)
	return s
}

// TestOperatorPages: what the stories do not reach: mistakes, conflicts, and each page
// for whoever sees and uses it otherwise.
func TestOperatorPages(t *testing.T) {
	s := newOperated(t)
	b := newBrowser(t, s.origin)
	b.enter(s.session("olga@example.com"))
	b.open("/panel/")
	if at := b.at(); at != "/panel/admin/orgs" {
		t.Errorf("the operator begins at %s", at)
	}
	b.accessible("orgs")
	b.do(chromedp.SetValue("#name", " "))
	b.goes(chromedp.Click("button.main"))
	b.says("Nothing was created.")
	b.accessible("orgs-problem")

	ann := keys.Actor{ClientID: "panel", MemberID: "mem_acme_ann", Role: keys.Owner}
	_, err := s.registry.RequestLimit(t.Context(), ann, "acme", 9, "more regions")
	s.must(err)
	b.open("/panel/admin/orgs")
	b.says("9 keys")
	b.open("/panel/admin/orgs/acme")
	b.says("It asks for another limit", "more regions", "ann")
	b.accessible("org")
	session := b.cookie()
	post := func(path string, form url.Values) *http.Response {
		return s.post("/panel/admin/"+path, session, "same-origin", form)
	}
	version := func(path string) string {
		t.Helper()
		_, page := s.get("/panel/admin/"+path, session)
		return hidden(page, "version")
	}
	stale := version("orgs/acme")
	b.do(chromedp.SetValue("#limit-reason", " x"))
	b.do(chromedp.SetValue("#max_keys", "many"))
	b.goes(chromedp.Click(`section[aria-labelledby="limit"] button`))
	b.says("Give a number of keys, or nothing.")
	b.accessible("org-problem")
	b.goes(chromedp.Click(`button[value="grant"]`))
	b.says("0 of 9")
	for name, row := range map[string]struct {
		form   url.Values
		status int
	}{
		"a page that is old":     {url.Values{"version": {stale}, "do": {"rename"}, "name": {"X"}}, 409},
		"without a version":      {url.Values{"do": {"rename"}, "name": {"X"}}, 400},
		"nothing in particular":  {url.Values{"version": {"x"}}, 400},
		"granted before":         {url.Values{"version": {version("orgs/acme")}, "do": {"grant"}, "max_keys": {"9"}}, 404},
		"granted for no number":  {url.Values{"version": {version("orgs/acme")}, "do": {"grant"}, "max_keys": {"x"}}, 400},
		"a plan that is not":     {url.Values{"version": {version("orgs/acme")}, "do": {"plan"}, "plan": {"Gold"}}, 422},
		"a name that is nothing": {url.Values{"version": {version("orgs/acme")}, "do": {"rename"}, "name": {""}}, 422},
		"a limit without reason": {url.Values{"version": {version("orgs/acme")}, "do": {"limit"}, "max_keys": {"3"}}, 422},
	} {
		if answer := post("orgs/acme", row.form); answer.StatusCode != row.status {
			t.Errorf("%s: %d, want %d", name, answer.StatusCode, row.status)
		}
	}
	if o, err := s.registry.Organization(t.Context(), "acme"); err != nil || o.Name != "Org acme" || o.CustomLimit.MaxKeys != 9 {
		t.Errorf("%+v, %v", o, err)
	}
	b.do(chromedp.SetValue("#plan", "Free"))
	b.goes(chromedp.Click(`section[aria-labelledby="plan-title"] button`))
	b.says("1 of 1 verifiers confirmed")
	b.accessible("org-cut")
	b.open("/panel/admin/orgs/acme")
	b.goes(chromedp.Click(`form[action$="/link"] button`))
	b.accessible("link-made")
	link := regexp.MustCompile(`/panel/link/\S+`).FindString(b.text("#link"))
	if status, page := s.get(link, ""); status != 200 || !strings.Contains(page, "ann@example.com") {
		t.Errorf("the link: %d", status)
	}
	if strings.Contains(s.log.String(), strings.TrimPrefix(link, "/panel/link/")) {
		t.Error("the log has the link")
	}

	b.open("/panel/admin/resources")
	b.accessible("resources")
	b.open("/panel/admin/resources/new")
	b.accessible("resource-new")
	for name, row := range map[string]struct{ field, value, says string }{
		"an audience that is no URL": {"audience", "deploy", "The audience must be a URL"},
		"one that is taken":          {"audience", "https://api.example.com", "There is an API with this audience already."},
		"a life that is too long":    {"token_ttl", "99999", "between 60 and 3600 seconds"},
		"a scope of another":         {"scope_name", "alerts:read", "A scope is not right."},
		"an algorithm that is not":   {"algorithm", "none", "There is no such algorithm."},
	} {
		form := url.Values{"audience": {"https://deploy.example.com"}, "name": {"Deploy"}, "algorithm": {"ES256"}, "token_ttl": {"600"}, "scope_name": {"d:write"}, "scope_description": {""},
			"scope_group": {""}, "scope_level": {""}, "scope_granted_by": {""}, "scope_restricted": {""}}
		form.Set(row.field, row.value)
		answer := post("resources/new", form)
		if page := body(t, answer); answer.StatusCode != 422 || !strings.Contains(page, row.says) {
			t.Errorf("%s: %d %s", name, answer.StatusCode, page)
		}
		form.Add("scope_name", "one:more")
		if answer := post("resources/new", form); answer.StatusCode != 400 {
			t.Errorf("%s, with columns of several lengths: %d", name, answer.StatusCode)
		}
	}
	catalogue, err := s.registry.Catalogue(t.Context())
	if s.must(err); len(catalogue) != 1 {
		t.Errorf("%+v", catalogue)
	}
	api := catalogue[0]
	b.open("/panel/admin/resources/" + api.ID)
	b.do(chromedp.SetValue("#scope-name-2", "alerts:close"))
	b.accessible("resource")
	old := version("resources/" + api.ID)
	b.goes(chromedp.Click("button.main"))
	b.says("alerts:close")
	if answer := post("resources/"+api.ID, url.Values{"version": {old}, "name": {"X"}, "algorithm": {"ES256"}, "token_ttl": {"600"}}); answer.StatusCode != 409 {
		t.Errorf("an old form: %d", answer.StatusCode)
	}
	_, err = s.registry.SetLimit(t.Context(), tester, "acme", nil, "as the plan")
	s.must(err)
	_, _, err = s.registry.SetPlan(t.Context(), tester, "acme", "Starter", "")
	s.must(err)
	s.key("acme", "Exporter", "mem_acme_ann")
	if answer := post("resources/"+api.ID+"/remove", url.Values{"version": {version("resources/" + api.ID)}, "sure": {"yes"}}); answer.StatusCode != 409 {
		t.Errorf("an API in use: %d", answer.StatusCode)
	}
	if answer := post("resources/"+api.ID+"/remove", url.Values{"version": {version("resources/" + api.ID)}}); answer.StatusCode != 400 {
		t.Errorf("nobody was sure: %d", answer.StatusCode)
	}

	b.open("/panel/admin/presets")
	b.do(chromedp.SetValue("#name-new", "CI"), chromedp.SetValue("#scopes-new", "nothing:read"))
	b.goes(chromedp.Click("button.main"))
	b.says("This preset is not right.")
	b.accessible("presets-problem")
	b.do(chromedp.SetValue("#scopes-new", "alerts:read"))
	b.goes(chromedp.Click("button.main"))
	b.do(chromedp.Click("details summary"))
	b.accessible("presets")
	presets, err := s.registry.Presets(t.Context())
	s.must(err)
	before := version("presets")
	if answer := post("presets", url.Values{"id": {presets[0].ID}, "version": {before}, "do": {"save"}, "name": {"CI/CD"}, "scopes": {"alerts:read"}}); answer.StatusCode != 303 {
		t.Errorf("renamed: %d", answer.StatusCode)
	}
	if answer := post("presets", url.Values{"id": {presets[0].ID}, "version": {before}, "do": {"remove"}}); answer.StatusCode != 409 {
		t.Errorf("an old form: %d", answer.StatusCode)
	}
	if answer := post("presets", url.Values{"id": {presets[0].ID}, "version": {version("presets")}, "do": {"remove"}}); answer.StatusCode != 303 {
		t.Errorf("removed: %d", answer.StatusCode)
	}

	b.open("/panel/admin/signing-keys")
	if answer := post("signing-keys", url.Values{"algorithm": {"none"}}); answer.StatusCode != 400 {
		t.Errorf("an algorithm that is none: %d", answer.StatusCode)
	}
	if answer := post("signing-keys", url.Values{"algorithm": {"ES256"}}); answer.StatusCode != 409 {
		t.Errorf("a next one that is too young: %d", answer.StatusCode)
	}
	s.age()
	b.open("/panel/admin/signing-keys")
	b.goes(chromedp.Click("section:first-of-type form button"))
	b.says("Saved.", "Next", "Signs", "Previous", "may sign from")
	b.accessible("signing-keys")
	stolen := s.signingKey(signing.Current)
	b.goes(chromedp.Click("li.current a"))
	b.says(stolen, "the next key signs at once", "next signing key signs", "How often")
	b.accessible("signing-key")
	b.do(chromedp.SetValue("#reason", "found in a core dump"))
	b.goes(chromedp.Click("button.danger"))
	b.says("Withdrawn", "1 of 1 verifiers confirmed", "found in a core dump", "signing key withdrawn")
	b.accessible("signing-key-withdrawn")
	if answer := post("signing-keys/"+s.signingKey(signing.Next), url.Values{"reason": {strings.Repeat("x", 501)}}); answer.StatusCode != 422 {
		t.Errorf("a reason that is too long: %d", answer.StatusCode)
	}
	if answer := post("signing-keys/2026-01-01-none", nil); answer.StatusCode != 404 {
		t.Errorf("a key that is not there: %d", answer.StatusCode)
	}
	for action, target := range map[keys.Action]string{"signing.rotate": stolen, "signing.withdraw": stolen} {
		events, err := s.registry.Events(t.Context(), "", keys.EventPage{Action: action})
		if err != nil || len(events) != 1 || events[0].MemberID != "mem_org_operator_olga" || events[0].Target != target {
			t.Errorf("%+v, %v", events, err)
		}
	}
	s.must(s.store.Join(t.Context(), keys.Session{ID: "ver_reports", Name: "reports", Via: "elsewhere", Lease: 10 * time.Second, AcceptStale: 5 * time.Minute, JoinedAt: time.Now()}, nil))
	b.open("/panel/admin/verifiers")
	b.says("reports", "over HTTP", "accepts for 5 minutes", "10 seconds", "passed")
	if strings.Contains(b.text("main"), "have not shown") {
		t.Error("all are proved")
	}
	s.must(s.store.Join(t.Context(), keys.Session{ID: "ver_node", Name: "node", Via: "elsewhere", Lease: time.Second, JoinedAt: time.Now(), Implementation: "node-api/1.4", Unproved: "client floor"}, nil))
	s.must(s.store.Join(t.Context(), keys.Session{ID: "ver_old", Name: "old", Via: "elsewhere", Lease: time.Minute, JoinedAt: time.Now(), Unproved: keys.NotExamined}, nil))
	b.open("/panel/admin/verifiers")
	b.says("have not shown", "node-api/1.4", "failed: client floor", "not examined")
	b.accessible("verifiers unproved")
	ends := keys.Session{ID: "ver_old"}
	b.goes(chromedp.Click(`form:has([value="` + ends.PublicID() + `"]) button`))
	b.says("Saved.", "ended")
	if strings.Contains(b.text("main"), "ver_old") {
		t.Error("the page shows with what a session polls")
	}
	events, err := s.registry.Events(t.Context(), "", keys.EventPage{Action: "verifier.end"})
	if err != nil || len(events) != 1 || events[0].MemberID != "mem_org_operator_olga" {
		t.Errorf("%+v, %v", events, err)
	}
	s.must(s.store.Leave(t.Context(), "ver_node"))
	s.must(s.store.Leave(t.Context(), "ver_old"))
	s.health = []authz.Check{{Name: "store"}, {Name: "log"}, {Name: "signing_keys"}, {Name: "redis", Err: errors.New("connection refused")}}
	b.open("/panel/admin/health")
	b.says("Wrong", "connection refused", "2 verifiers", "1 behind", "Nothing.")
	b.accessible("health")
}

// age makes the next signing keys old enough to sign.
func (s *site) age() {
	s.t.Helper()
	s.store.(*keystest.Memory).Age(signing.Lead)
	s.must(s.ring.Load(s.t.Context()))
}

// signingKey is the kid of the one that is in a state.
func (s *site) signingKey(state signing.KeyState) string {
	s.t.Helper()
	for _, k := range s.ring.Keys() {
		if k.State == state {
			return k.ID
		}
	}
	s.t.Fatalf("no %s key", state)
	return ""
}

// TestOperatorPagesForEveryRole: staff see them and do what their role allows; for
// everybody else they are not there, nor does their navigation lead there.
func TestOperatorPagesForEveryRole(t *testing.T) {
	s := newOperated(t)
	sessions := map[string]string{"": ""}
	for _, name := range []string{"olga", "sue", "ann"} {
		sessions[name] = s.session(name + "@example.com")
	}
	catalogue, err := s.registry.Catalogue(t.Context())
	s.must(err)
	of := map[string]keys.Role{"olga": keys.Staff, "sue": keys.Support}
	want := func(name string, action keys.Action, good int) int {
		switch role, staff := of[name]; {
		case name == "":
			return 303
		case !staff:
			return 404
		case keys.Actor{MemberID: "m", Role: role}.May(action) != nil:
			return 403
		}
		return good
	}
	posted := func(name string, action keys.Action, good int) int {
		if name == "" {
			return 401 // with the form to sign in, and what was typed
		}
		return want(name, action, good)
	}
	s.memberOf("acme", "newcomer", keys.Developer)
	s.age()
	for name, session := range sessions {
		for path, action := range map[string]keys.Action{"orgs": "organization.list", "orgs/acme": "organization.list", "resources": "catalogue.read", "resources/new": "resource.set",
			"resources/" + catalogue[0].ID: "resource.set", "presets": "catalogue.read", "signing-keys": "signing.read", "signing-keys/" + s.signingKey(signing.Current): "signing.read", "verifiers": "verifier.read", "health": "verifier.read"} {
			if status, _ := s.get("/panel/admin/"+path, session); status != want(name, action, 200) {
				t.Errorf("%s %s: %d", name, path, status)
			}
		}
		for _, row := range []struct {
			path   string
			action keys.Action
			form   url.Values
			good   int
		}{
			{"orgs", "organization.create", url.Values{"name": {"By " + name}, "plan": {"Starter"}, "request": {"AAAAAAAAAAAAAAAAAAAA" + strings.ToUpper(name)}}, 303},
			{"orgs/acme/members", "member.add", url.Values{"name": {"New"}, "email": {name + "-new@example.com"}, "role": {"owner"}}, 303},
			{"orgs/acme/members/mem_acme_newcomer/link", "account.link", nil, 200},
			{"presets", "preset.set", url.Values{"name": {"By " + name}, "scopes": {"alerts:read"}}, 303},
			{"signing-keys", "signing.rotate", url.Values{"algorithm": {"ES256"}}, 303},
			{"signing-keys/" + s.signingKey(signing.Next), "signing.withdraw", nil, 303},
		} {
			if answer := s.post("/panel/admin/"+row.path, session, "same-origin", row.form); answer.StatusCode != posted(name, row.action, row.good) {
				t.Errorf("%s posts %s: %d", name, row.path, answer.StatusCode)
			}
		}
		for do, action := range map[string]keys.Action{"rename": "organization.rename", "plan": "plan.set", "limit": "limit.set"} {
			o, err := s.registry.Organization(t.Context(), "acme")
			s.must(err)
			form := url.Values{"version": {o.Version()}, "do": {do}, "name": {"By " + name}, "plan": {"Enterprise"}, "max_keys": {"7"}, "reason": {"a reason"}}
			if answer := s.post("/panel/admin/orgs/acme", session, "same-origin", form); answer.StatusCode != posted(name, action, 303) {
				t.Errorf("%s does %s: %d", name, do, answer.StatusCode)
			}
		}
	}
	if _, page := s.get("/panel/o/acme/keys", sessions["ann"]); strings.Contains(page, "/panel/admin") {
		t.Error("a customer finds the operator's pages")
	}
	if _, page := s.get("/panel/admin/resources", sessions["sue"]); strings.Contains(page, "resources/new") || !strings.Contains(page, "/panel/admin/health") {
		t.Error("support finds what it may not, or not what it may")
	}
}

// TestManyOrganisations are shown page by page.
func TestManyOrganisations(t *testing.T) {
	s := newOperated(t)
	for i := range organizationsPerPage {
		s.organization("org-"+strings.Repeat("x", i+1), "Starter")
	}
	session := s.session("olga@example.com")
	_, first := s.get("/panel/admin/orgs", session)
	next := regexp.MustCompile(`href="(\?after=[^"]+)"`).FindStringSubmatch(first)
	if strings.Count(first, "<tr><th scope=\"row\">") != organizationsPerPage || next == nil {
		t.Fatalf("%s", first)
	}
	if _, second := s.get("/panel/admin/orgs"+next[1], session); strings.Count(second, "<tr><th scope=\"row\">") != 2 || strings.Contains(second, "?after=") {
		t.Errorf("%s", second)
	}
}

// TestReportsOfThePolicy: what a browser keeps out of a page is seen by the operator; what
// is no report is refused, and many do not grow.
func TestReportsOfThePolicy(t *testing.T) {
	s := newOperated(t)
	b := newBrowser(t, s.origin)
	b.enter(s.session("olga@example.com"))
	b.open("/panel/admin/health")
	b.do(chromedp.Evaluate[chromedp.Void](`document.body.append(Object.assign(document.createElement('img'), {src: 'https://evil.example/secret-path'}))`))
	b.noticed("Content Security Policy")
	deadline := time.After(30 * time.Second)
	for text := ""; !strings.Contains(text, "img-src"); {
		select {
		case <-deadline:
			t.Fatal("no report arrived")
		case <-time.After(20 * time.Millisecond):
		}
		b.open("/panel/admin/health")
		text = b.text("main")
	}
	b.says("https://evil.example")
	if strings.Contains(b.text("main"), "secret-path") {
		t.Error("the report has the whole address")
	}
	b.accessible("health-report")
	send := func(kind, text string) int {
		r, err := http.NewRequest("POST", s.origin+"/panel/csp-report", strings.NewReader(text))
		s.must(err)
		r.Header.Set("Content-Type", kind)
		answer, err := http.DefaultTransport.RoundTrip(r)
		s.must(err)
		answer.Body.Close()
		return answer.StatusCode
	}
	const good = "application/csp-report"
	for _, bad := range [][2]string{{"text/plain", "{}"}, {good, "["}, {good, `{"csp-report":{"blocked-uri":"` + strings.Repeat("x", maxReportBody) + `"}}`}, {"", ""}} {
		if status := send(bad[0], bad[1]); status != 400 {
			t.Errorf("%.60q: %d", bad, status)
		}
	}
	for i := range 3 * maxReports {
		send(good, fmt.Sprintf(`{"csp-report":{"effective-directive":"%d%s"}}`, i, strings.Repeat("é", maxReportText)))
	}
	_, page := s.get("/panel/admin/health", b.cookie())
	if n := strings.Count(page, "<li><time"); n != maxReports {
		t.Errorf("%d reports are kept", n)
	}
	if strings.Contains(page, strings.Repeat("é", maxReportText)) {
		t.Error("a long one is kept whole")
	}
}

// TestReportsKeepNoLink: a report names the route of its page, for its path can be a link
// that signs somebody in.
func TestReportsKeepNoLink(t *testing.T) {
	s := newOperated(t)
	link := s.link("ann@example.com")
	r, err := http.NewRequest("POST", s.origin+"/panel/csp-report", strings.NewReader(`{"csp-report":{"effective-directive":"img-src","document-uri":"`+s.origin+link+`"}}`))
	s.must(err)
	r.Header.Set("Content-Type", "application/csp-report")
	answer, err := http.DefaultTransport.RoundTrip(r)
	s.must(err)
	answer.Body.Close()
	_, page := s.get("/panel/admin/health", s.session("sue@example.com"))
	if !strings.Contains(page, "/panel/link/{token}") || strings.Contains(page, strings.TrimPrefix(link, "/panel/link/")) {
		t.Error(page)
	}
}

// TestStaffReplacesTheOperatorsSecret, which may be lost, and no customer's.
func TestStaffReplacesTheOperatorsSecret(t *testing.T) {
	s := newOperated(t)
	first, err := s.registry.Create(t.Context(), tester, keys.OperatorOrganization, keys.NewKey{Name: "First operator", Access: keys.Access{Scopes: []string{"alerts:read"}}})
	s.must(err)
	theirs := s.key("acme", "Exporter", "mem_acme_ann")
	_, err = s.registry.AddMember(t.Context(), tester, keys.Member{ID: "mem_both", OrganizationID: "acme", Name: "olga", Email: "olga@example.com", Role: keys.Auditor, AcceptedAt: time.Now()})
	s.must(err)
	for name, want := range map[string]int{"olga": 200, "sue": 403} {
		answer := s.post("/panel/o/"+keys.OperatorOrganization+"/keys/"+first.Key.ID+"/rotate", s.session(name+"@example.com"), "same-origin", url.Values{"ends": {"now"}, "request": {strings.Repeat("A", 20) + strings.ToUpper(name)}})
		if answer.StatusCode != want {
			t.Errorf("%s: %d, want %d", name, answer.StatusCode, want)
		}
	}
	staff := keys.Actor{ClientID: "panel", MemberID: "mem_org_operator_olga", Role: keys.Staff, Operator: true}
	if _, err := s.registry.Rotate(t.Context(), staff, "acme", theirs.ID, keys.Overlap{}); !errors.Is(err, keys.ErrForbidden) {
		t.Errorf("a customer's: %v", err)
	}
}

// TestPresetsAreNotTwice: a name that is taken is said to be.
func TestPresetsAreNotTwice(t *testing.T) {
	s := newOperated(t)
	session := s.session("olga@example.com")
	form := url.Values{"name": {"CI"}, "scopes": {"alerts:read"}}
	if answer := s.post("/panel/admin/presets", session, "same-origin", form); answer.StatusCode != 303 {
		t.Errorf("%d", answer.StatusCode)
	}
	answer := s.post("/panel/admin/presets", session, "same-origin", form)
	if page := body(t, answer); answer.StatusCode != 422 || !strings.Contains(page, "There is a preset with this name already.") {
		t.Errorf("%d %s", answer.StatusCode, page)
	}
}

// TestARoleIsChangedOnceSeen: a page on which the member is not as now changes nothing.
func TestARoleIsChangedOnceSeen(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	bob := s.memberOf("acme", "bob", keys.Owner)
	session := s.session("ann@example.com")
	old := bob.Version()
	_, err := s.registry.EditMember(t.Context(), tester, "acme", bob.ID, func(m *keys.Member) { m.Role = keys.Auditor })
	s.must(err)
	for version, want := range map[string]int{old: 409, "": 400} {
		if answer := s.post("/panel/o/acme/members/"+bob.ID, session, "same-origin", url.Values{"role": {"owner"}, "version": {version}}); answer.StatusCode != want {
			t.Errorf("%q: %d", version, answer.StatusCode)
		}
	}
	if m, err := s.registry.Member(t.Context(), "acme", bob.ID); err != nil || m.Role != keys.Auditor {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestWhatIsDoneIsSaid: a change that cut tokens was carried out, even when nobody has
// confirmed it, or somebody may go on accepting.
func TestWhatIsDoneIsSaid(t *testing.T) {
	s := newOperated(t)
	ann, olga := s.session("ann@example.com"), s.session("olga@example.com")
	type change struct {
		path, session string
		form          url.Values
		done          func() bool
	}
	changes := func() map[string]change {
		k := s.key("acme", "Exporter", "mem_acme_ann")
		_, _, err := s.registry.Edit(t.Context(), tester, "acme", k.ID, func(e *keys.KeyEdit) { e.Scopes = []string{"alerts:read", "alerts:write"} })
		s.must(err)
		k, err = s.registry.Key(t.Context(), "acme", k.ID)
		s.must(err)
		o, err := s.registry.Organization(t.Context(), "acme")
		s.must(err)
		key := func() keys.Key { k, err := s.registry.Key(t.Context(), "acme", k.ID); s.must(err); return k }
		return map[string]change{
			"edit": {"/panel/o/acme/keys/" + k.ID + "/edit", ann, url.Values{"version": {k.Version()}, "name": {"Exporter"}, "owner": {"mem_acme_ann"}, "scope": {"alerts:read"}, "expires": {"keep"}, "was_resources": {"https://api.example.com"}},
				func() bool { return len(key().Scopes) == 1 }},
			"suspend": {"/panel/o/acme/keys/" + k.ID + "/suspend", ann, url.Values{}, func() bool { return !key().SuspendedAt.IsZero() }},
			"plan": {"/panel/admin/orgs/acme", olga, url.Values{"version": {o.Version()}, "do": {"plan"}, "plan": {"Free"}}, func() bool {
				o, err := s.registry.Organization(t.Context(), "acme")
				s.must(err)
				return o.Plan == "Free"
			}},
		}
	}
	reset := func() {
		_, _, err := s.registry.SetPlan(t.Context(), tester, "acme", "Professional", "")
		s.must(err)
		list, err := s.registry.Keys(t.Context(), "acme", keys.Page{Counting: true})
		s.must(err)
		for _, k := range list {
			_, _, err := s.registry.Revoke(t.Context(), tester, "acme", k.ID, "")
			s.must(err)
		}
	}
	for _, name := range []string{"edit", "suspend", "plan"} {
		c := changes()[name]
		s.relay.silent.Store(true)
		answer := s.post(c.path, c.session, "same-origin", c.form)
		s.relay.silent.Store(false)
		to := answer.Header.Get("Location")
		if !c.done() || answer.StatusCode != 303 || !strings.HasSuffix(to, "?unconfirmed") {
			t.Errorf("%s: done %t, %d to %s", name, c.done(), answer.StatusCode, to)
		}
		if _, page := s.get(to, c.session); !strings.Contains(page, "It is not confirmed yet") {
			t.Errorf("%s says nothing", name)
		}
		reset()
	}
	c := changes()["suspend"]
	s.must(s.store.Join(t.Context(), keys.Session{ID: "ver_reports", Name: "reports", Via: "elsewhere", Lease: time.Second, AcceptStale: 5 * time.Minute, JoinedAt: time.Now()}, nil))
	answer := s.post(c.path, c.session, "same-origin", c.form)
	if _, page := s.get(answer.Header.Get("Location"), c.session); !strings.Contains(page, "for as long as their owners let them") {
		t.Errorf("a waiver is hidden: %s", answer.Header.Get("Location"))
	}
}
