package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/management"
)

// connection is one keep-alive connection, as a proxy pools them.
type connection struct {
	net.Conn
	read *bufio.Reader
}

func dial(t testing.TB, server string) *connection {
	t.Helper()
	at, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", at.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &connection{c, bufio.NewReader(c)}
}

// do sends a request over this connection and no other. A status of 0 is no answer.
func (c *connection) do(method, path, authorization, contentType, body string) reply {
	r, err := http.NewRequest(method, "http://"+c.RemoteAddr().String()+path, strings.NewReader(body))
	if err != nil {
		return reply{body: err.Error()}
	}
	if body != "" {
		r.Header.Set("Content-Type", contentType)
	}
	r.Header.Set("Authorization", authorization)
	if err := r.Write(c); err != nil {
		return reply{body: err.Error()}
	}
	answer, err := http.ReadResponse(c.read, r)
	if err != nil {
		return reply{body: err.Error()}
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return reply{body: err.Error()}
	}
	return reply{answer.StatusCode, answer.Header, string(data)}
}

// silentGateway joins as a verifier with the default lease and is killed: kill -9.
func silentGateway(t testing.TB, server *child) {
	t.Helper()
	listen := address(t)
	gateway := exec.Command("imara", "gateway", "--listen", listen, "--resource", "alerts="+server.env()["API_AUDIENCE"])
	gateway.Env = append(gateway.Environ(), environ(server.env())...)
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	err := await("http://" + listen + "/readyz")
	gateway.Process.Kill()
	gateway.Wait()
	if err != nil {
		t.Fatal(err)
	}
}

func environ(values map[string]string) (list []string) {
	for name, value := range values {
		list = append(list, name+"="+value)
	}
	return list
}

// cuttingRoutes are all requests that cut tokens, for a key of their own each.
var cuttingRoutes = []struct {
	name, method, path, body string
}{
	{"revoke", "POST", "/v1/orgs/org_demo/keys/KEY/revoke", `{"reason":"no longer used"}`},
	{"revoke without a body", "POST", "/v1/orgs/org_demo/keys/KEY/revoke", ""},
	{"delete", "DELETE", "/v1/orgs/org_demo/keys/KEY", ""},
	{"suspend", "POST", "/v1/orgs/org_demo/keys/KEY/suspend", "{}"},
	{"narrow", "PATCH", "/v1/orgs/org_demo/keys/KEY", `{"scopes":["alerts:read"]}`},
	{"end a secret that leaked", "DELETE", "/v1/orgs/org_demo/keys/KEY/secrets/CREDENTIAL?leaked=true", ""},
	{"report a leak", "POST", "/v1/leaks", `{"secret":"SECRET"}`},
	{"RFC 7009", "POST", "/oauth2/revoke", "token=TOKEN"},
	{"plan without access", "POST", "/v1/orgs/ORG/plan", `{"plan":"Free"}`},
}

// TestEveryCuttingRouteOutlastsASilentVerifier: default lease, the real listener, one
// verifier that was killed. Each route that cuts answers with success, and its
// connection is good afterwards.
func TestEveryCuttingRouteOutlastsASilentVerifier(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	operator := "Bearer " + server.operatorToken()
	free := do("POST", server.url+"/v1/orgs", "application/json", operator, `{"name":"Free soon","plan":"Starter"}`)
	var organization management.Organization
	if err := json.Unmarshal([]byte(free.body), &organization); err != nil || free.status != 201 {
		t.Fatalf("%d %s", free.status, free.body)
	}
	type request struct{ path, authorization, contentType, body string }
	var requests []request
	for i, route := range cuttingRoutes {
		body := fmt.Sprintf(`{"name":"cut %d","scopes":["alerts:read","incidents:read"]}`, i)
		r := do("POST", server.url+"/v1/orgs/org_demo/keys", "application/json", operator, body)
		var created management.KeyWithSecret
		if err := json.Unmarshal([]byte(r.body), &created); err != nil || r.status != 201 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		token, _ := server.tokenFor(created.Key.ClientID, created.Secret.Value)
		fill := strings.NewReplacer("KEY", created.Key.ID, "CREDENTIAL", created.Secret.ID,
			"SECRET", created.Secret.Value, "TOKEN", token, "ORG", organization.ID).Replace
		q := request{fill(route.path), operator, "application/json", fill(route.body)}
		if strings.HasPrefix(q.path, "/oauth2/") {
			q.authorization, q.contentType = basic(created.Key.ClientID, created.Secret.Value), "application/x-www-form-urlencoded"
		}
		requests = append(requests, q)
	}
	silentGateway(t, server)
	var all sync.WaitGroup
	for i, route := range cuttingRoutes {
		q, line := requests[i], dial(t, server.url)
		all.Go(func() {
			r := line.do(route.method, q.path, q.authorization, q.contentType, q.body)
			var answer struct{ Receipt *authz.Receipt }
			json.Unmarshal([]byte(r.body), &answer)
			receipt := answer.Receipt
			switch {
			case r.status != 200 && r.status != 204:
				t.Errorf("%s: %d %s", route.name, r.status, r.body)
			case strings.Contains(q.path, "leaks"), strings.HasPrefix(q.path, "/oauth2/"):
			case receipt == nil || receipt.State != "lease_ended" || receipt.Confirmed != 1 || receipt.Total != 2:
				t.Errorf("%s: receipt %+v in %s", route.name, receipt, r.body)
			}
			if r := line.do("GET", "/readyz", operator, "", ""); r.status != 200 {
				t.Errorf("%s: the connection afterwards: %d %s", route.name, r.status, r.body)
			}
			if r := line.do("GET", "/v1/orgs/org_demo/keys", operator, "", ""); r.status != 200 {
				t.Errorf("%s: the connection afterwards: %d %s", route.name, r.status, r.body)
			}
		})
	}
	all.Wait()
}
