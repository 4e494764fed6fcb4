//go:build linux

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/imara/apikeys/authz/management"
)

// TestALinkLeadsIntoThePanel: imara accounts link, a password, and the list of keys;
// the server started again still knows both the session and the password.
func TestALinkLeadsIntoThePanel(t *testing.T) {
	dir, listen := t.TempDir(), address(t)
	server := serveDemo(t, dir, listen)
	code, out, talk := server.imara("", "accounts", "link", demoOwner)
	if code != exitConflict || !strings.Contains(talk, "a link would open all of them") {
		t.Errorf("a link for an account in two organizations: %d %s %s", code, out, talk)
	}
	code, out, talk = server.imara("", "accounts", "link", demoOwner, "--reset")
	if code != exitUsage || !strings.Contains(talk, "all of org_demo, org_operator") {
		t.Errorf("a reset that nobody confirmed: %d %s %s", code, out, talk)
	}
	code, out, talk = server.imara("", "accounts", "link", demoOwner, "--reset", "--yes", "--json")
	var link management.AccountLink
	if err := json.Unmarshal([]byte(out), &link); err != nil || code != 0 {
		t.Fatalf("%d %s %s", code, out, talk)
	}
	if code, _, talk := server.imara("", "accounts", "link", "eve@acme.example"); code != exitUsage || !strings.Contains(talk, "no member has it") {
		t.Errorf("%d %s", code, talk)
	}
	secure := strings.Replace(server.url, "http:", "https:", 1)
	page := webBrowser(t)
	const password = "correct horse battery staple"
	if got := page("POST", link.URL, url.Values{"password": {password}, "again": {password}}); !strings.Contains(got, "Demo integration") || !strings.Contains(got, "Amal Ortiz") {
		t.Errorf("%s", got)
	}
	server.kill()
	first := server
	server = serveDemo(t, dir, listen)
	if got := page("GET", secure+"/panel/", nil); !strings.Contains(got, "Demo integration") {
		t.Errorf("the session after a start: %s", got)
	}
	check := func(token, want string) {
		t.Helper()
		got := page("POST", secure+"/panel/o/org_demo/token", url.Values{"token": {token}})
		if !strings.Contains(got, want) || strings.Contains(got, token) {
			t.Errorf("no %q, or the token itself: %s", want, got)
		}
	}
	operator := server.operatorToken()
	made, _ := server.create(operator, "To be checked")
	token, _ := server.tokenFor(made.Key.ClientID, made.Secret.Value)
	check(token, "Accepted")
	server.revoke(operator, made.Key.ID)
	check(token, "it was revoked")
	check(operator, "A token of another organisation")
	page("POST", secure+"/panel/sign-out", nil)
	if got := page("GET", secure+"/panel/o/org_demo/keys", nil); strings.Contains(got, "Demo integration") {
		t.Errorf("signed out: %s", got)
	}
	if got := page("POST", secure+"/panel/sign-in", url.Values{"email": {"amal@acme.example"}, "password": {password}}); !strings.Contains(got, "Demo integration") {
		t.Errorf("the password after a start: %s", got)
	}
	server.kill()
	for _, s := range []*child{first, server} {
		if log := s.stderr.String(); strings.Contains(log, "battery") || strings.Contains(log, link.URL[strings.LastIndex(link.URL, "/"):]) || !strings.Contains(log, "panel") {
			t.Error("the log has a password or a link, or nothing")
		}
	}
}

// webBrowser sends requests, and keeps the session.
func webBrowser(t *testing.T) (page func(method, to string, form url.Values) string) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	// The cookie is for https, and for this machine; a cookie jar knows only the first.
	client := &http.Client{Jar: jar, Transport: overHTTP{}}
	return func(method, to string, form url.Values) string {
		t.Helper()
		r, err := http.NewRequest(method, strings.Replace(to, "http:", "https:", 1), strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
}

// overHTTP asks for https URLs as what stands behind a proxy is asked.
type overHTTP struct{}

func (overHTTP) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "http"
	return http.DefaultTransport.RoundTrip(r)
}
