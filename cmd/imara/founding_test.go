//go:build linux

package main

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// TestFirstOwner: a new server prints a link; who uses it owns the server and has the
// key that runs it; the link, and every start from then on, does nothing more.
func TestFirstOwner(t *testing.T) {
	dir, listen := t.TempDir(), address(t)
	links := func(c *child) []string {
		return regexp.MustCompile(`http://\S+/panel/link/\S+`).FindAllString(c.stdout.String(), -1)
	}
	server := serveWith(t, dir, listen, "imara", "serve")
	server.stop()
	again := serveWith(t, dir, listen, "imara", "serve")
	again.stop()
	list := append(links(server), links(again)...)
	if len(list) != 2 || list[0] == list[1] {
		t.Fatalf("links of two starts: %q", list)
	}
	server = serveWith(t, dir, listen, "imara", "serve")
	const password = "correct horse battery staple"
	form := url.Values{"organization": {"Acme"}, "name": {"Ann"}, "email": {"ann@example.com"}, "password": {password}, "again": {password}}
	page := webBrowser(t)
	got := page("POST", list[0], form)
	found := regexp.MustCompile(`id="(client-id|client-secret)">([^<]+)<`).FindAllStringSubmatch(got, -1)
	if len(found) != 2 {
		t.Fatalf("no key: %s", got)
	}
	token, r := server.tokenFor(html.UnescapeString(found[0][2]), html.UnescapeString(found[1][2]))
	if token == "" {
		t.Fatalf("%+v", r)
	}
	if r := do("GET", server.url+"/v1/orgs", "", "Bearer "+token, ""); r.status != 200 || !strings.Contains(r.body, `"Acme"`) {
		t.Errorf("%+v", r)
	}
	if got := page("GET", server.url+"/panel/", nil); !strings.Contains(got, "Acme") || !strings.Contains(got, "Operator") {
		t.Errorf("not signed in to both: %s", got)
	}
	for _, link := range list {
		if got := page("POST", link, form); !strings.Contains(got, "does not work any more") {
			t.Errorf("a second founding: %s", got)
		}
	}
	server.stop()
	if log := server.stderr.String(); strings.Contains(log, "battery") || strings.Contains(log, list[0][strings.LastIndex(list[0], "/"):]) || strings.Contains(log, found[1][2]) {
		t.Error("the log has the password, the link or the secret")
	}
	server = serveWith(t, dir, listen, "imara", "serve")
	server.stop()
	if list := links(server); list != nil {
		t.Errorf("an owned server prints %q", list)
	}
}
