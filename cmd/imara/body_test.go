//go:build linux

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestStalledBodyIsARequestTimeout: on every face, whoever asks, 408 and a line that is no
// error of ours. The gateway reads no body, and answers at once.
func TestStalledBodyIsARequestTimeout(t *testing.T) {
	t.Parallel()
	server := serveDemo(t, t.TempDir(), address(t))
	operator := "Bearer " + server.operatorToken()
	host := strings.TrimPrefix(server.url, "http://")
	const form, json = "application/x-www-form-urlencoded", "application/json"
	var all sync.WaitGroup
	for _, row := range []struct{ method, path, kind, authorization, more string }{
		{"POST", "/oauth2/token", form, "", ""},
		{"POST", "/oauth2/introspect", form, "", ""},
		{"POST", "/oauth2/revoke", form, "", ""},
		{"POST", "/feed/sessions", json, operator, ""},
		{"POST", "/v1/leaks", json, "", ""},
		{"POST", "/v1/orgs/org_demo/keys", json, operator, ""},
		{"POST", "/v1/orgs", json, operator, ""},
		{"PATCH", "/v1/orgs/org_demo", json, operator, "If-Match: *\r\n"},
		{"POST", "/panel/sign-in", form, "", "Sec-Fetch-Site: same-origin\r\n"},
		{"POST", "/panel/csp-report", "application/csp-report", "", "Sec-Fetch-Site: same-origin\r\n"},
	} {
		all.Go(func() {
			conn, err := net.Dial("tcp", host)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: 100\r\nAuthorization: %s\r\n%s\r\n{",
				row.method, row.path, host, row.kind, row.authorization, row.more)
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Errorf("%s: %v", row.path, err)
				return
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusRequestTimeout || !answer.Close {
				t.Errorf("%s: %d, close %v", row.path, answer.StatusCode, answer.Close)
			}
		})
	}
	all.Wait()
	server.stop()
	if log := server.stderr.String(); strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("an error of ours:\n%s", log)
	}
}
