//go:build linux

package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// raw sends bytes to a server, and returns the status of its answer; 0 for none.
func raw(t *testing.T, address, text string) int {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, text)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// TestRequirementsAtTheDoor asks a server as strangers do: rows of cmd/standards that show
// from outside.
func TestRequirementsAtTheDoor(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	env := server.env()
	id, secret := env["CLIENT_ID"], env["CLIENT_SECRET"]
	const form, grant = "application/x-www-form-urlencoded", "grant_type=client_credentials"
	pair := base64.StdEncoding.EncodeToString([]byte(id + ":" + secret))
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(method, path, body string, headers ...string) reply {
		t.Helper()
		r, err := http.NewRequest(method, server.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", form)
		for i := 0; i < len(headers); i += 2 {
			if r.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
				r.Host = headers[i+1]
			}
		}
		response, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply{response.StatusCode, response.Header, string(text)}
	}
	const token = "/oauth2/token"
	assertion := grant + "&client_assertion=e30.e30.AA&client_assertion_type="
	for _, row := range []struct {
		id, method, path, body string
		headers                []string
		status                 int
	}{
		{"S-001", "HEAD", token, "", []string{"Authorization", "Basic " + pair}, 405},
		{"S-001", "PATCH", token, grant, []string{"Authorization", "Basic " + pair}, 405},
		{"S-001", "DELETE", token, "", []string{"Authorization", "Basic " + pair}, 405},
		{"S-005", "POST", token, grant, []string{"Authorization", "Basic " + pair, "Content-Type", form + "; charset=UTF-8"}, 200},
		{"S-007", "POST", token, grant, []string{"Authorization", "bAsIc " + pair}, 200},
		{"S-007", "POST", token, grant, []string{"Authorization", "BASIC " + pair}, 200},
		{"S-034", "OPTIONS", token, "", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"}, 405},
		{"S-034", "POST", token, grant, []string{"Authorization", "Basic " + pair, "Origin", "https://evil.example"}, 200},
		{"S-088", "POST", token, assertion + "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", nil, 400},
		{"S-101", "POST", token, assertion + "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", nil, 400},
		{"S-101", "POST", token, "grant_type=urn:ietf:params:oauth:grant-type:saml2-bearer&assertion=x", []string{"Authorization", "Basic " + pair}, 400},
		{"R-047", "POST", token, grant + "&client_id=" + id, []string{"X-Client-Cert", "x", "X-Forwarded-Tls-Client-Cert", "x", "Ssl_client_cert", "x", "Client-Cert", ":AA==:"}, 401},
		{"S-117", "POST", token, grant, []string{"X-Forwarded-User", id, "X-Auth-Client-Id", id, "Forwarded", "for=127.0.0.1"}, 401},
		{"R-122", "POST", token, grant, []string{"Authorization", "Basic " + pair, "X-Long", strings.Repeat("x", 64<<10)}, 431},
		{"R-132", "GET", "/debug/pprof/", "", nil, 404},
		{"R-132", "GET", "/debug/vars", "", nil, 404},
		{"R-146", "POST", token, grant, []string{"Authorization", basic("imara_ci_*", secret)}, 401},
		{"R-146", "POST", token, grant, []string{"Authorization", basic("{x}:y\r\nFLUSHALL\r\n", secret)}, 401},
		{"R-131", "POST", token, grant + "&scope=a%0a%7B%22level%22%3A%22FORGED%22%7D", []string{"Authorization", "Basic " + pair, "User-Agent", "x\tFORGED"}, 400},
		{"R-131", "GET", "/%0a%7B%22level%22:%22FORGED%22%7D%0a%1b[31m", "", nil, 404},
	} {
		got := ask(row.method, row.path, row.body, row.headers...)
		if got.status != row.status {
			t.Errorf("%s: %s %.60s %.90q: %d %s, want %d", row.id, row.method, row.path, row.headers, got.status, got.body, row.status)
		}
		for name := range got.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s %s answers with %s", row.id, row.method, row.path, name)
			}
		}
	}
	var metadata struct {
		Issuer      string   `json:"issuer"`
		Token       string   `json:"token_endpoint"`
		Revoke      string   `json:"revocation_endpoint"`
		Introspect  string   `json:"introspection_endpoint"`
		AtToken     []string `json:"token_endpoint_auth_methods_supported"`
		AtRevoke    []string `json:"revocation_endpoint_auth_methods_supported"`
		AtIntrospct []string `json:"introspection_endpoint_auth_methods_supported"`
	}
	// what is published does not follow the Host of whoever asks.
	text := ask("GET", "/.well-known/oauth-authorization-server", "", "Host", "evil.example", "X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example").body
	if err := json.Unmarshal([]byte(text), &metadata); err != nil || metadata.Issuer != env["IMARA_ISSUER"] || strings.Contains(text, "evil") {
		t.Errorf("R-115: %s, %v", text, err)
	}
	// S-088, S-089: both methods, and no other, are published, and work wherever they are.
	for endpoint, methods := range map[string][]string{metadata.Token: metadata.AtToken, metadata.Revoke: metadata.AtRevoke, metadata.Introspect: metadata.AtIntrospct} {
		slices.Sort(methods)
		if !slices.Equal(methods, []string{"client_secret_basic", "client_secret_post"}) {
			t.Errorf("S-088: %s says %v", endpoint, methods)
		}
		if got := do("POST", endpoint, form, basic(id, secret), grant+"&token=x"); got.status != 200 {
			t.Errorf("S-088: Basic at %s: %d %s", endpoint, got.status, got.body)
		}
		if got := do("POST", endpoint, form, "", grant+"&token=x&client_id="+id+"&client_secret="+secret); got.status != 200 {
			t.Errorf("S-088: the body at %s: %d %s", endpoint, got.status, got.body)
		}
	}
	for _, path := range []string{"//evil.example/panel/", "/%5Cevil.example/panel/", "/panel//evil.example", "/panel/sign-in?next=//evil.example"} {
		if to := ask("GET", path, "").header.Get("Location"); strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) || strings.Contains(to, "://evil") {
			t.Errorf("R-116: %s leads to %q", path, to)
		}
	}
	for _, page := range []string{"/panel/sign-in", "/panel/nothing"} {
		got := ask("GET", page, "")
		if !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || !strings.Contains(got.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("S-119: %s: %d %v", page, got.status, got.header)
		}
	}
	server.stop()
	for line := range strings.Lines(server.stderr.String()) {
		if strings.Contains(line, "FORGED") && !json.Valid([]byte(line)) && !strings.HasPrefix(line, "time=") || strings.HasPrefix(line, `{"level":"FORGED`) || strings.Contains(line, "\x1b") {
			t.Errorf("R-131: the log has the line %q", line)
		}
	}
}

// TestAmbiguousRequestsAreRefused is R-100: requests whose end two servers may see in two
// places.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	at := strings.TrimPrefix(server.url, "http://")
	head := "POST /oauth2/token HTTP/1.1\r\nHost: " + at + "\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	for name, text := range map[string]string{
		"two lengths":              head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
		"a length with a sign":     head + "Content-Length: +5\r\n\r\nabcde",
		"a bad chunk size":         head + "Transfer-Encoding: chunked\r\n\r\n5;\nabcde\r\nxyz\r\n\r\n",
		"an unknown encoding":      head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"two encodings":            head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a space before the colon": head + "Content-Length : 5\r\n\r\nabcde",
		"two hosts":                head + "Host: evil.example\r\n\r\n",
		"no host":                  "POST /oauth2/token HTTP/1.1\r\n\r\n",
		"a fragment":               "GET /livez#x HTTP/1.1\r\nHost: a b\r\n\r\n",
	} {
		if got := raw(t, at, text); got != 0 && (got < 400 || got == 401) {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// TestHalfOpenConnectionsHoldNobodyUp is R-122: who begins requests and does not end them
// takes nobody's place.
func TestHalfOpenConnectionsHoldNobodyUp(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	env := server.env()
	for i := range 300 {
		c, err := net.Dial("tcp", strings.TrimPrefix(server.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nX-%d: ", i)
	}
	for range 20 {
		if token, r := server.tokenFor(env["CLIENT_ID"], env["CLIENT_SECRET"]); token == "" {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
}
