//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// raw sends a request whose path nothing has cleaned.
func (c *child) raw(method, path string, headers ...string) (*http.Response, []byte) {
	c.t.Helper()
	host := strings.TrimPrefix(c.url, "http://")
	connection, err := net.Dial("tcp", host)
	if err != nil {
		c.t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprintf(connection, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: 0\r\n%s\r\n",
		method, path, host, strings.Join(append(headers, ""), "\r\n"))
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response, body
}

// unclean are spellings of a path that lead to the same one when they are cleaned.
func unclean(path string) (list []string) {
	at := strings.LastIndex(path, "/")
	dir, name := path[:at], path[at+1:]
	for _, between := range []string{"//", "/./", "/x/../", "/x/%2e%2e/", "/%2E/", "%2f", "/%2f", `\`, "/x/..;/", "/;/"} {
		list = append(list, dir+between+name)
	}
	if dir == "" { // without a slash at its begin it is no request
		list = slices.DeleteFunc(list, func(path string) bool { return path[0] != '/' })
	}
	return append(list, "/"+path, path+"//", path+"/.", path+"/..", path+"/%2e", path+";x=y", path+"%00", path+".")
}

// TestNothingIsRedirected is S-118: whatever face a path leads to, another spelling of
// it is not there, with any method, and says so as that face does.
func TestNothingIsRedirected(t *testing.T) {
	s := serveDemo(t, t.TempDir(), address(t))
	for _, path := range []string{"/oauth2/token", "/oauth2/revoke", "/.well-known/jwks.json", "/livez", "/v1/me", "/v1/openapi.json",
		"/v1/errors/not_found", "/feed/sessions", "/demo/alerts", "/panel/sign-in", "/panel/assets/panel.css"} {
		for _, spelling := range unclean(path) {
			for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS"} {
				response, body := s.raw(method, spelling)
				html := response.Header.Get("Content-Type") == "text/html; charset=utf-8" && strings.Contains(spelling, "panel")
				if response.StatusCode != 404 || method != "HEAD" && !html && !json.Valid(body) {
					t.Errorf("%s %s: %d %v %s", method, spelling, response.StatusCode, response.Header, body)
				}
			}
		}
	}
	if response, _ := s.raw("GET", "http://"+strings.TrimPrefix(s.url, "http://")); response.StatusCode != 404 {
		t.Errorf("no path at all: %d", response.StatusCode)
	}
}

// TestWhatIsNotServedIsJSON: what is not there is 404, and 405 with its methods where
// the path is. Only the panel's pages are not JSON.
func TestWhatIsNotServedIsJSON(t *testing.T) {
	s := serveDemo(t, t.TempDir(), address(t))
	for _, row := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/", 404, ""}, {"GET", "/nothing", 404, ""}, {"POST", "/oauth2/token/", 404, ""}, {"GET", "/oauth2", 404, ""},
		{"GET", "/oauth2/token", 405, "POST"}, {"PUT", "/oauth2/introspect", 405, "POST"}, {"HEAD", "/oauth2/revoke", 405, "POST"},
		{"OPTIONS", "/oauth2/token", 405, "POST"}, {"POST", "/livez", 405, "GET, HEAD"}, {"DELETE", "/readyz", 405, "GET, HEAD"},
		{"GET", "/feed/sessions", 405, "POST"}, {"GET", "/v1", 404, ""}, {"POST", "/v1", 404, ""}, {"GET", "/v1/", 404, ""},
		{"GET", "/v1/nothing", 404, ""}, {"GET", "/v1/me/", 404, ""}, {"POST", "/v1/me", 405, "GET, HEAD"}, {"PATCH", "/v1/orgs", 405, "GET, HEAD, POST"},
		{"OPTIONS", "/v1/orgs", 405, "GET, HEAD, POST"}, {"GET", "/v1/errors/none", 404, ""}, {"GET", "/v1/errors", 404, ""},
		{"GET", "/demo", 404, ""}, {"GET", "/demo/", 404, ""}, {"GET", "/demo/none", 404, ""}, {"POST", "/demo/alerts", 405, "GET, HEAD"},
		{"GET", "/panel/none", 404, ""}, {"GET", "/panel/assets", 404, ""}, {"GET", "/panel/assets/", 404, ""}, {"GET", "/panel/assets/none", 404, ""},
		{"DELETE", "/panel/sign-in", 405, "GET, HEAD, POST"}, {"BREW", "/panel/account", 405, "GET, HEAD"},
	} {
		response, body := s.raw(row.method, row.path)
		html := strings.HasPrefix(row.path, "/panel") && response.Header.Get("Content-Type") == "text/html; charset=utf-8"
		if response.StatusCode != row.status || response.Header.Get("Allow") != row.allow || row.method != "HEAD" && !html && !json.Valid(body) {
			t.Errorf("%s %s: %d %v %s\nwant %d, %q", row.method, row.path, response.StatusCode, response.Header, body, row.status, row.allow)
		}
	}
}
