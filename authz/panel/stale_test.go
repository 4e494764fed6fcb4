package panel

import (
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

// hidden are the fields that the forms of a page send beside what is chosen.
func hidden(page, name string) string {
	_, rest, _ := strings.Cut(page, `name="`+name+`" value="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// TestStaleSecretForms: what a page offers to do with a secret is done only while the
// key is as the page shows it.
func TestStaleSecretForms(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	session := s.session("ann@example.com")
	k := s.key("acme", "Exporter", "mem_acme_ann")
	path := "/panel/o/acme/keys/" + k.ID
	rotated := func() (secrets []string, version string) {
		t.Helper()
		_, err := s.registry.Rotate(t.Context(), tester, "acme", k.ID, keys.DefaultOverlap)
		s.must(err)
		now, err := s.registry.Key(t.Context(), "acme", k.ID)
		s.must(err)
		for _, c := range now.Credentials {
			secrets = append(secrets, c.ID)
		}
		_, page := s.get(path, session)
		return secrets, hidden(page, "version")
	}
	secrets, version := rotated()
	_, _, err := s.registry.CancelRotation(t.Context(), tester, "acme", k.ID, secrets[0])
	s.must(err)
	for do, secret := range map[string]string{"keep": secrets[1], "end": secrets[1], "cancel": secrets[0]} {
		if answer := s.post(path+"/secrets/"+secret, session, "same-origin", url.Values{"do": {do}, "version": {version}, "sure": {"yes"}}); answer.StatusCode != 409 {
			t.Errorf("%s on an old page: %d", do, answer.StatusCode)
		}
		if answer := s.post(path+"/secrets/"+secret, session, "same-origin", url.Values{"do": {do}}); answer.StatusCode != 400 {
			t.Errorf("%s without a version: %d", do, answer.StatusCode)
		}
	}
	// The only one that works asks, though nobody has used it.
	_, page := s.get(path, session)
	if strings.Contains(page, `name="do" value="keep"`) || strings.Contains(page, `name="do" value="cancel"`) {
		t.Error("a page without a rotation offers to change one")
	}
	now, err := s.registry.Key(t.Context(), "acme", k.ID)
	s.must(err)
	if got := body(t, s.post(path+"/secrets/"+secrets[1], session, "same-origin", url.Values{"do": {"end"}, "version": {now.Version()}})); !strings.Contains(got, "It is the only one that works.") {
		t.Errorf("%s", got)
	}
	if now, err = s.registry.Key(t.Context(), "acme", k.ID); err != nil || now.Live(time.Now()) != 1 || !now.Credentials[1].EndsAt.IsZero() {
		t.Errorf("%+v, %v", now.Credentials, err)
	}
	// A rotation is cancelled by the secret that it made, and not in use without a question.
	secrets, version = rotated()
	if answer := s.post(path+"/secrets/"+secrets[len(secrets)-1], session, "same-origin", url.Values{"do": {"cancel"}, "version": {version}}); answer.StatusCode != 409 {
		t.Errorf("cancelled by the old secret: %d", answer.StatusCode)
	}
	s.must(s.registry.AddUsage(t.Context(), keys.Usage{Credentials: map[string]keys.Use{secrets[0]: {At: time.Now(), From: "203.0.113.9"}}}))
	if got := body(t, s.post(path+"/secrets/"+secrets[0], session, "same-origin", url.Values{"do": {"cancel"}, "version": {version}})); !strings.Contains(got, "203.0.113.9") || hidden(got, "do") != "cancel" {
		t.Errorf("%s", got)
	}
	if answer := s.post(path+"/secrets/"+secrets[0], session, "same-origin", url.Values{"do": {"cancel"}, "version": {version}, "sure": {"yes"}}); answer.StatusCode != 303 {
		t.Errorf("cancelled: %d", answer.StatusCode)
	}
}

// TestStaleEdit: looking at a form again, with a mistake in it or before it is sent,
// does not make it newer than it is.
func TestStaleEdit(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	session := s.session("ann@example.com")
	created, err := s.registry.Create(t.Context(), tester, "acme", keys.NewKey{Name: "Reports", OwnerID: "mem_acme_ann", Access: keys.Access{Scopes: []string{"alerts:read", "alerts:write"}}})
	s.must(err)
	path := "/panel/o/acme/keys/" + created.Key.ID + "/edit"
	_, page := s.get(path, session)
	form := url.Values{"version": {hidden(page, "version")}, "name": {"Reports"}, "owner": {"mem_acme_ann"}, "scope": {"alerts:read alerts:write"}, "expires": {"keep"}}
	_, _, err = s.registry.Edit(t.Context(), tester, "acme", created.Key.ID, func(e *keys.KeyEdit) { e.Scopes = []string{"alerts:read"} })
	s.must(err)
	for name, with := range map[string]url.Values{"review": {"do": {"review"}}, "a bad network": {"networks": {"here"}}, "a bad name": {"name": {strings.Repeat("x", 200)}}} {
		again := url.Values{}
		for field, values := range form {
			again[field] = values
		}
		for field, values := range with {
			again[field] = values
		}
		answer := s.post(path, session, "same-origin", again)
		if got := hidden(body(t, answer), "version"); got != form.Get("version") && answer.StatusCode != 409 {
			t.Errorf("%s: %d, and the form is newer", name, answer.StatusCode)
		}
	}
	if answer := s.post(path, session, "same-origin", form); answer.StatusCode != 409 {
		t.Errorf("saved over the other's: %d", answer.StatusCode)
	}
}

// TestStalePolicy: who saves over another's policy has seen it.
func TestStalePolicy(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/policy")
	_, err := s.registry.EditPolicy(t.Context(), tester, "acme", func(p *keys.Policy) { p.Approval, p.MaxLifetime = true, 10*time.Hour })
	s.must(err)
	b.do(chromedp.SendKeys("#networks", "203.0.113.0/24"))
	b.goes(chromedp.Click("button.main"))
	b.says("Somebody else changed the organisation meanwhile.", "Longest life of a key", "0.4166666666666667", "203.0.113.0/24")
	b.accessible("policy-conflict")
	b.goes(chromedp.Click("section a.button"))
	b.goes(chromedp.Click("button.main"))
	if o, err := s.registry.Organization(t.Context(), "acme"); err != nil || !o.Policy.Approval || o.Policy.MaxLifetime != 10*time.Hour {
		t.Errorf("saved as it is: %+v, %v", o.Policy, err)
	}
	o, err := s.registry.Organization(t.Context(), "acme")
	s.must(err)
	if answer := s.post("/panel/o/acme/policy", b.cookie(), "same-origin", url.Values{"version": {o.Version()}, "creator": {"owner"}, "days": {"1e-15"}, "do": {"save"}}); answer.StatusCode != 422 {
		t.Errorf("no time at all: %d", answer.StatusCode)
	}
}

// TestStepUpForWhatGivesPower: with a session of this morning, what lets a secret work
// for longer or hands keys over asks for the password; what only ends something does not.
func TestStepUpForWhatGivesPower(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.session("ann@example.com")
	bob := s.memberOf("acme", "bob", keys.Developer)
	k := s.key("acme", "Exporter", bob.ID)
	_, err := s.registry.Rotate(t.Context(), tester, "acme", k.ID, keys.DefaultOverlap)
	s.must(err)
	k, err = s.registry.Key(t.Context(), "acme", k.ID)
	s.must(err)
	session := s.aged(newBrowser(t, s.origin), "ann@example.com", 11*time.Hour)
	asks := func(path string, form url.Values) bool {
		t.Helper()
		answer := s.post("/panel/o/acme/"+path, session, "same-origin", form)
		return strings.Contains(body(t, answer), confirmField)
	}
	secret := func(i int) string { return "keys/" + k.ID + "/secrets/" + k.Credentials[i].ID }
	if !asks(secret(1), url.Values{"do": {"keep"}, "version": {k.Version()}}) || !asks(secret(0), url.Values{"do": {"cancel"}, "version": {k.Version()}}) ||
		!asks("members/"+bob.ID+"/remove", url.Values{"heir": {"mem_acme_ann"}}) {
		t.Error("power without the password")
	}
	if asks(secret(1), url.Values{"do": {"end"}, "version": {k.Version()}}) || asks("members/"+bob.ID+"/remove", url.Values{}) {
		t.Error("ending something asks for the password")
	}
}

// TestAScopeThatLeftTheCatalogue stays with the key that has it, until somebody takes it
// away.
func TestAScopeThatLeftTheCatalogue(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	created, err := s.registry.Create(t.Context(), tester, "acme", keys.NewKey{Name: "Reports", OwnerID: "mem_acme_ann", Access: keys.Access{Scopes: []string{"alerts:read", "alerts:write"}}})
	s.must(err)
	// The registry refuses this; a database of before may have it.
	api, _ := s.catalogue().Resource("https://api.example.com")
	api.Scopes = []keys.Scope{{Name: "alerts:read"}}
	touch := keys.Entry{Kind: tokens.Touch, Subject: tokens.Resource(api.ID)}
	_, err = s.store.PutResource(t.Context(), api, touch, func([]keys.KeyUse) error { return nil })
	s.must(err)
	b := s.signedIn("ann@example.com")
	for _, name := range []string{"Renamed", "Less"} {
		want := []string{"alerts:read", "alerts:write"}
		b.open("/panel/o/acme/keys/" + created.Key.ID + "/edit")
		b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('#field-name').value = ''`), chromedp.SendKeys("#field-name", name))
		if name == "Less" {
			want = want[:1]
			b.do(chromedp.Click(`[type=checkbox][value="alerts:write"]`))
		}
		b.goes(chromedp.Click("button.main"))
		if k, err := s.registry.Key(t.Context(), "acme", created.Key.ID); err != nil || k.Name != name || !slices.Equal(k.Scopes, want) {
			t.Errorf("%s: %v, %v", k.Name, k.Scopes, err)
		}
	}
}

// TestASecretIsAskedForOnce: a second click does not take the answer to the first away.
func TestASecretIsAskedForOnce(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/new?name=Exporter&scope=alerts:read")
	b.goes(chromedp.Evaluate[chromedp.Void](`for (let i = 0; i < 3; i++) document.querySelector('button.main').click()`))
	b.says("“Exporter” is ready")
}

// TestADateBelongsToItsChoice: with a script they go together; without one, a date beside
// another choice is a question, and nothing is made.
func TestADateBelongsToItsChoice(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	k := s.key("acme", "Exporter", "mem_acme_ann")
	b := s.signedIn("ann@example.com")
	path := "/panel/o/acme/keys/" + k.ID + "/rotate"
	b.open(path)
	b.do(chromedp.SendKeys("#date", "12312099"))
	b.until(`document.querySelector('[value=date]').checked`)
	b.do(chromedp.Click("[value=after_use]"))
	b.until(`document.querySelector('#date').value === ''`)
	_, page := s.get(path, b.cookie())
	date := time.Now().Add(20 * day).Format(time.DateOnly)
	answer := s.post(path, b.cookie(), "same-origin", url.Values{"request": {hidden(page, "request")}, "ends": {"after_use"}, "date": {date}})
	if got := body(t, answer); answer.StatusCode != 422 || !strings.Contains(got, "There is a date, but something else is chosen.") {
		t.Errorf("%d %s", answer.StatusCode, got)
	}
	answer = s.post("/panel/o/acme/keys/new", b.cookie(), "same-origin", url.Values{"request": {hidden(page, "request")}, "name": {"Other"}, "scope": {"alerts:read"}, "expires": {"90d"}, "date": {date}})
	if got := body(t, answer); answer.StatusCode != 422 || !strings.Contains(got, "There is a date, but something else is chosen.") {
		t.Errorf("%d %s", answer.StatusCode, got)
	}
}

// TestShortLives: a policy of hours still lets somebody create a key as the form is.
func TestShortLives(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	_, err := s.registry.EditPolicy(t.Context(), tester, "acme", func(p *keys.Policy) { p.MaxLifetime = 4 * time.Hour })
	s.must(err)
	b := s.signedIn("ann@example.com")
	b.open("/panel/o/acme/keys/new?preset=none")
	b.says("The longest that a key of this organisation can live: 4 hours.", "As late as your policy allows")
	b.do(chromedp.SendKeys("#field-name", "Short"), chromedp.Click(`[value="alerts:read"]`))
	b.goes(chromedp.KeyEvent(kb.Enter))
	b.says("“Short” is ready")
	list, err := s.registry.Keys(t.Context(), "acme", keys.Page{})
	if left := time.Until(list[0].ExpiresAt); err != nil || left > 4*time.Hour || left < 3*time.Hour {
		t.Errorf("%v, %v", left, err)
	}
}

// TestManyRevokedKeys do not make the list long.
func TestManyRevokedKeys(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.key("acme", "Oldest of all", "mem_acme_ann")
	for i := range goneShown + 10 {
		k := s.key("acme", fmt.Sprint("Short-lived ", i), "mem_acme_ann")
		_, _, err := s.registry.Revoke(t.Context(), tester, "acme", k.ID, "done")
		s.must(err)
	}
	_, page := s.get("/panel/o/acme/keys", s.session("ann@example.com"))
	if got := strings.Count(page, "Short-lived"); !strings.Contains(page, "Oldest of all") || got > 4*goneShown || strings.Contains(page, "Short-lived 9<") || !strings.Contains(page, "Short-lived 10<") || !strings.Contains(page, "The newest are here.") {
		t.Errorf("%d times a revoked key", got)
	}
}

// TestManyBadNetworks are one problem.
func TestManyBadNetworks(t *testing.T) {
	f := keyForm{Expires: "never", Networks: strings.Repeat("here ", 10000)}
	if f.access(time.Now(), time.Time{}, 0); len(f.Problems) != 1 {
		t.Errorf("%d problems", len(f.Problems))
	}
	f = keyForm{Expires: "never", Networks: "203.0.113.0/24, 2001:db8::/32"}
	if a := f.access(time.Now(), time.Time{}, 0); len(f.Problems) != 0 || !slices.Equal(a.Networks, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}) {
		t.Errorf("%v %v", a.Networks, f.Problems)
	}
}

// TestPreferencesOnAnAnswer lead to a page that can be asked for.
func TestPreferencesOnAnAnswer(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	session := s.session("ann@example.com")
	k := s.key("acme", "Exporter", "mem_acme_ann")
	for path, want := range map[string]string{"/secrets/" + k.Credentials[0].ID: "", "/approve": "", "/revoke": "/revoke", "/edit": "/edit"} {
		got := hidden(body(t, s.post("/panel/o/acme/keys/"+k.ID+path, session, "same-origin", url.Values{"do": {"nothing"}})), "back")
		if got != "/panel/o/acme/keys/"+k.ID+want && path != "/revoke" {
			t.Errorf("%s leads to %q", path, got)
		}
	}
}

func (s *site) catalogue() keys.Catalogue {
	s.t.Helper()
	catalogue, err := s.registry.Catalogue(s.t.Context())
	s.must(err)
	return catalogue
}

// TestADateMayBeTheLastDayOfALimit: that day ends with the limit, every other one at
// 23:59:59 UTC, and the day after it is left to the domain to refuse.
func TestADateMayBeTheLastDayOfALimit(t *testing.T) {
	now := time.Date(2026, 11, 27, 15, 30, 0, 0, time.FixedZone("", -8*3600)) // 23:30 UTC
	const limit = 90 * day
	for date, want := range map[string]string{
		"2027-02-24": "2027-02-24T23:59:59Z", "2027-02-25": "2027-02-25T23:30:00Z", "2027-02-26": "2027-02-26T23:59:59Z",
	} {
		f := keyForm{Expires: "date", Date: date}
		if got := f.access(now, time.Time{}, limit).ExpiresAt.Format(time.RFC3339); got != want {
			t.Errorf("%s ends at %s, want %s", date, got, want)
		}
	}
	f := keyForm{Expires: "date", Date: "2027-02-25"}
	if got := f.access(now, time.Time{}, 0).ExpiresAt.Format(time.RFC3339); got != "2027-02-25T23:59:59Z" {
		t.Errorf("without a limit: %s", got)
	}
}

// TestTheLastDaysAreTaken: by the form of a key and by that of a new secret; the key's
// page says when it ends, and in which zone.
func TestTheLastDaysAreTaken(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	ann := s.session("ann@example.com")
	_, err := s.registry.EditPolicy(t.Context(), tester, "acme", func(p *keys.Policy) { p.MaxLifetime = 90 * day })
	s.must(err)
	last := func(days int) string { return time.Now().UTC().Add(time.Duration(days) * day).Format(time.DateOnly) }
	make := func(name string, days int) int {
		return s.post("/panel/o/acme/keys/new", ann, "same-origin", url.Values{"name": {name}, "scope": {"alerts:read"}, "expires": {"date"},
			"date": {last(days)}, "request": {strings.Repeat("A", 24)}}).StatusCode
	}
	if late := make("Late", 91); late != 422 {
		t.Errorf("a day too late: %d", late)
	}
	if status := make("Last day", 90); status != 200 {
		t.Fatalf("the last day: %d", status)
	}
	list, err := s.registry.Keys(t.Context(), "acme", keys.Page{})
	s.must(err)
	if _, page := s.get("/panel/o/acme/keys/"+list[0].ID, ann); !strings.Contains(page, date(list[0].ExpiresAt)) {
		t.Errorf("no time in %s", page)
	}
	if _, page := s.get("/panel/o/acme/keys/new", ann); !strings.Contains(page, "23:59 UTC") {
		t.Errorf("the form does not say when a day ends: %s", page)
	}
	rotated := s.post("/panel/o/acme/keys/"+list[0].ID+"/rotate", ann, "same-origin", url.Values{"ends": {"date"}, "date": {last(30)}, "request": {strings.Repeat("B", 24)}})
	if rotated.StatusCode != 200 {
		t.Errorf("the last day of an old secret: %d %s", rotated.StatusCode, body(t, rotated))
	}
}
