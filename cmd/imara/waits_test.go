//go:build linux

package main

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
)

// connection is one keep-alive connection, as a proxy pools them.
type connection struct {
	net.Conn
	read   *bufio.Reader
	header http.Header
}

// prefer and accept set a header of the requests that follow; empty takes it away.
func (c *connection) prefer(value string) *connection { return c.with("Prefer", value) }
func (c *connection) accept(value string) *connection { return c.with("Accept", value) }

func (c *connection) with(name, value string) *connection {
	if c.header.Del(name); value != "" {
		c.header.Set(name, value)
	}
	return c
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
	return &connection{c, bufio.NewReader(c), http.Header{}}
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
	maps.Copy(r.Header, c.header)
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

// silentGateways are some at once.
func silentGateways(t testing.TB, server *child, n int) {
	t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() { silentGateway(t, server) })
	}
	all.Wait()
}

// silentGateway joins as a verifier, with the default lease unless flags say another, and
// is killed: kill -9.
func silentGateway(t testing.TB, server *child, flags ...string) {
	t.Helper()
	listen := address(t)
	flags = append([]string{"gateway", "--listen", listen, "--resource", "alerts=" + server.env()["API_AUDIENCE"]}, flags...)
	gateway := exec.Command("imara", flags...)
	gateway.Env = append(gateway.Environ(), environ(server.env())...)
	if err := gateway.Start(); err != nil {
		t.Error(err)
		return
	}
	err := await("http://" + listen + "/readyz")
	gateway.Process.Kill()
	gateway.Wait()
	if err != nil {
		t.Error(err)
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

// A cut is a request of a cutting route, ready to be sent.
type cut struct{ name, method, path, authorization, contentType, body string }

// cuts makes a key for each cutting route, and the request that cuts what it has.
func (c *child) cuts() (list []cut) {
	t := c.t
	t.Helper()
	name, operator := rand.Text(), "Bearer "+c.operatorToken()
	if r := do("POST", c.url+"/v1/orgs/org_demo/limit", "application/json", operator, `{"max_keys":1000,"reason":"tests"}`); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	free := do("POST", c.url+"/v1/orgs", "application/json", operator, `{"name":"Free soon","plan":"Starter"}`)
	var organization management.Organization
	if err := json.Unmarshal([]byte(free.body), &organization); err != nil || free.status != 201 {
		t.Fatalf("%d %s", free.status, free.body)
	}
	for i, route := range cuttingRoutes {
		body := fmt.Sprintf(`{"name":"%s %d","scopes":["alerts:read","incidents:read"]}`, name, i)
		r := do("POST", c.url+"/v1/orgs/org_demo/keys", "application/json", operator, body)
		var created management.KeyWithSecret
		if err := json.Unmarshal([]byte(r.body), &created); err != nil || r.status != 201 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		token, _ := c.tokenFor(created.Key.ClientID, created.Secret.Value)
		fill := strings.NewReplacer("KEY", created.Key.ID, "CREDENTIAL", created.Secret.ID,
			"SECRET", created.Secret.Value, "TOKEN", token, "ORG", organization.ID).Replace
		q := cut{route.name, route.method, fill(route.path), operator, "application/json", fill(route.body)}
		if strings.HasPrefix(q.path, "/oauth2/") {
			q.authorization, q.contentType = basic(created.Key.ClientID, created.Secret.Value), "application/x-www-form-urlencoded"
		}
		list = append(list, q)
	}
	return list
}

// TestEveryCuttingRouteOutlastsSilentVerifiers: default lease, the real listener, one or
// ten verifiers that were killed. Each route that cuts answers with success, and its
// connection is good afterwards.
func TestEveryCuttingRouteOutlastsSilentVerifiers(t *testing.T) {
	t.Parallel()
	for _, silent := range []int{1, 10} {
		t.Run(fmt.Sprint(silent), func(t *testing.T) {
			t.Parallel()
			everyCuttingRoute(t, silent)
		})
	}
}

func everyCuttingRoute(t *testing.T, silent int) {
	server := serveDemo(t, t.TempDir(), address(t))
	operator := "Bearer " + server.operatorToken()
	requests := server.cuts()
	silentGateways(t, server, silent)
	var all sync.WaitGroup
	for _, q := range requests {
		line := dial(t, server.url)
		all.Go(func() {
			r := line.do(q.method, q.path, q.authorization, q.contentType, q.body)
			var answer struct{ Receipt *authz.Receipt }
			json.Unmarshal([]byte(r.body), &answer)
			receipt := answer.Receipt
			switch {
			case r.status != 200 && r.status != 204:
				t.Errorf("%s: %d %s", q.name, r.status, r.body)
			case strings.Contains(q.path, "leaks"), strings.HasPrefix(q.path, "/oauth2/"):
			case receipt == nil || receipt.State != "lease_ended" || *receipt.Confirmed != 1 || *receipt.Total != 1+silent:
				t.Errorf("%s: receipt %+v in %s", q.name, receipt, r.body)
			}
			if r := line.do("GET", "/readyz", operator, "", ""); r.status != 200 {
				t.Errorf("%s: the connection afterwards: %d %s", q.name, r.status, r.body)
			}
			if r := line.do("GET", "/v1/orgs/org_demo/keys", operator, "", ""); r.status != 200 {
				t.Errorf("%s: the connection afterwards: %d %s", q.name, r.status, r.body)
			}
		})
	}
	all.Wait()
}

// TestCallerDecidesHowLongToWait: with a lease longer than the twelve seconds of a call,
// each face says that it waits, promises nothing, and has the receipt for who asks again.
func TestCallerDecidesHowLongToWait(t *testing.T) {
	t.Parallel()
	server := serveDemo(t, t.TempDir(), address(t))
	operator := server.operatorToken()
	var made []management.KeyWithSecret
	for i := range 4 {
		created, r := server.create(operator, fmt.Sprint("waits ", i))
		if r.status != 201 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		made = append(made, created)
	}
	token, _ := server.tokenFor(made[1].Key.ClientID, made[1].Secret.Value)
	if code, _, talk := server.imara("", "keys", "edit", server.env()["IMARA_CLIENT_ID"], "--org", "org_operator", "--max-lease", "20s"); code != 0 {
		t.Fatalf("%d %s", code, talk)
	}
	silentGateway(t, server, "--lease", "20s")
	var all sync.WaitGroup
	all.Go(func() { server.waitsForAReceipt(operator, made[0].Key.ID) })
	all.Go(func() {
		ask := func() reply {
			return do("POST", server.url+"/oauth2/revoke", "application/x-www-form-urlencoded",
				basic(made[1].Key.ClientID, made[1].Secret.Value), "token=+"+token+"%0A")
		}
		if r := ask(); r.status != 503 || r.header.Get("Retry-After") == "" {
			t.Errorf("RFC 7009 while it waits: %d %s", r.status, r.body)
		}
		if r := ask(); r.status != 200 {
			t.Errorf("RFC 7009, asked again: %d %s", r.status, r.body)
		}
	})
	all.Go(func() {
		text := "export SECRET=\"" + made[2].Secret.Value + "\" # and " + made[2].Secret.Value
		body, err := json.Marshal(management.ReportLeak{Secret: text})
		if err != nil {
			t.Error(err)
		}
		r := do("POST", server.url+"/v1/leaks", "application/json", "", string(body))
		if r.status != 202 || r.header.Get("Location") != "" || !strings.Contains(r.body, `"ended":true`) {
			t.Errorf("a leak: %d %v %s", r.status, r.header, r.body)
		}
	})
	all.Go(func() {
		code, out, talk := server.imara("", "keys", "revoke", made[3].Key.ID, "--yes")
		if code != 0 || !strings.Contains(out, "1 of 2 verifiers confirmed") || !strings.Contains(talk, "Waiting for the receipt") {
			t.Errorf("the command: %d %s %s", code, out, talk)
		}
	})
	all.Wait()
	r := server.ask("GET", "/revocations", operator, "")
	var events management.List[authz.Event]
	if err := json.Unmarshal([]byte(r.body), &events); err != nil {
		t.Fatal(err)
	}
	if len(events.Data) != 4 {
		t.Errorf("%d entries for four revocations: %s", len(events.Data), r.body)
	}
	for _, e := range events.Data {
		if e.Receipt == nil || e.Receipt.State != "lease_ended" {
			t.Errorf("%+v", e)
		}
	}
}

// TestServerThatEndsLeavesItsWaitsToTheNext: a server is stopped, or killed, while a call
// waits for a silent verifier. A stopped one answers at once that it waits; the next one
// has the receipt, which says no more than was seen.
func TestServerThatEndsLeavesItsWaitsToTheNext(t *testing.T) {
	t.Parallel()
	for how, end := range map[string]func(*child) error{
		"stopped": (*child).stop,
		"killed":  func(c *child) error { c.kill(); return nil },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			server := serveDemo(t, dir, address(t))
			operator := "Bearer " + server.operatorToken()
			key, r := server.create(server.operatorToken(), "doomed")
			if r.status != 201 {
				t.Fatalf("%d %s", r.status, r.body)
			}
			silentGateway(t, server)
			answered := make(chan reply, 1)
			line := dial(t, server.url)
			go func() {
				answered <- line.do("POST", "/v1/orgs/org_demo/keys/"+key.Key.ID+"/revoke", operator, "", "")
			}()
			var waiting management.List[authz.Receipt]
			eventually(t, "what it knows is stored", func() bool {
				r := do("GET", server.url+"/v1/orgs/org_demo/receipts?state=waiting", "", operator, "")
				err := json.Unmarshal([]byte(r.body), &waiting)
				return err == nil && len(waiting.Data) == 1 && waiting.Data[0].Total != nil && *waiting.Data[0].Total == 2
			})
			if err := end(server); err != nil {
				t.Errorf("it ended with %v", err)
			}
			if r := <-answered; how == "stopped" && (r.status != 202 || r.header.Get("Location") == "") {
				t.Errorf("whoever waited is told: %d %s", r.status, r.body)
			}
			next := serveDemo(t, dir, strings.TrimPrefix(server.url, "http://"))
			at := fmt.Sprint("/v1/orgs/org_demo/receipts/", waiting.Data[0].Position)
			operator = "Bearer " + next.operatorToken()
			var receipt authz.Receipt
			r = dial(t, next.url).prefer("wait=60").do("GET", at, operator, "", "")
			err := json.Unmarshal([]byte(r.body), &receipt)
			if err != nil || receipt.State != "lease_ended" || *receipt.Confirmed != 1 || *receipt.Total != 2 || receipt.By == "recovered" {
				t.Errorf("the next server: %d %s", r.status, r.body)
			}
		})
	}
}

// TestDatabaseAwayDuringTheWait: it goes while a call waits for a silent verifier, and comes
// back. The call is told what is known, never more, and the receipt is there afterwards.
func TestDatabaseAwayDuringTheWait(t *testing.T) {
	database := sqlstoretest.New(t)
	listen := address(t)
	server := replicas(t, database.Database(t, "away"), "http://"+listen)(listen)
	operator := server.operatorToken()
	created, r := server.create(operator, "doomed")
	if r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	silentGateway(t, server)
	answered := make(chan reply, 1)
	go func() { answered <- server.revoke(operator, created.Key.ID) }()
	eventually(t, "it is committed", func() bool {
		return database.Count("away", `SELECT count(*) FROM keys WHERE revoked_at > 0 AND id = '`+created.Key.ID+`'`) == 1
	})
	database.Kill()
	eventually(t, "the server says so", func() bool { return do("GET", server.url+"/readyz", "", "", "").status == 503 })
	database.Start()
	r = <-answered
	var told management.ChangedKey
	if err := json.Unmarshal([]byte(r.body), &told); r.status == 200 && (err != nil || told.Receipt.State != "lease_ended") ||
		r.status != 200 && r.status != 202 && r.status != 503 {
		t.Errorf("%d %s", r.status, r.body)
	}
	var again management.ChangedKey
	eventually(t, "whoever asks again has the receipt", func() bool {
		r = server.revoke(operator, created.Key.ID)
		return r.status == 200 && json.Unmarshal([]byte(r.body), &again) == nil
	})
	if got := again.Receipt; got == nil || got.State != "lease_ended" || got.Confirmed != nil && *got.Confirmed > 1 {
		t.Errorf("%s", r.body)
	}
	if entries := database.Count("away", `SELECT count(*) FROM log WHERE kind = 'cut' AND target = '`+created.Key.ID+`'`); entries != 1 {
		t.Errorf("%d entries for one revocation", entries)
	}
}

// TestOrdinaryRestartOfEverything: the server first, so that no verifier can take leave. The
// revocations of the first moments meet the sessions that were left behind, and each has its
// receipt; once these are retired nobody waits for them.
func TestOrdinaryRestartOfEverything(t *testing.T) {
	t.Parallel()
	dir, listen := t.TempDir(), address(t)
	server := serveDemo(t, dir, listen)
	left := liveGateway(t, server)
	if err := server.stop(); err != nil {
		t.Error(err)
	}
	left.Process.Signal(syscall.SIGTERM)
	left.Wait()
	server = serveDemo(t, dir, listen)
	liveGateway(t, server)
	operator := server.operatorToken()
	revoke := func(name string) authz.Receipt {
		created, r := server.create(operator, name)
		if r.status != 201 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		r = server.revoke(operator, created.Key.ID)
		var answer management.ChangedKey
		if err := json.Unmarshal([]byte(r.body), &answer); err != nil || r.status != 200 || answer.Receipt == nil {
			t.Fatalf("%s: %d %s", name, r.status, r.body)
		}
		return *answer.Receipt
	}
	for i := range 3 {
		r := revoke(fmt.Sprint("early ", i))
		if r.State != "confirmed" && r.State != "lease_ended" || *r.Confirmed < 2 {
			t.Errorf("early %d: %+v", i, r)
		}
	}
	eventually(t, "the sessions left behind are retired", func() bool {
		r := do("GET", server.url+"/v1/verifiers", "", "Bearer "+operator, "")
		var list management.List[management.Verifier]
		return json.Unmarshal([]byte(r.body), &list) == nil && len(list.Data) == 2
	})
	if r := revoke("late"); r.State != "confirmed" || *r.Total != 2 {
		t.Errorf("late: %+v", r)
	}
}

// liveGateway starts a verifier that lives until the test ends.
func liveGateway(t testing.TB, server *child) *exec.Cmd {
	t.Helper()
	listen := address(t)
	cmd := exec.Command("imara", "gateway", "--listen", listen, "--resource", "alerts="+server.env()["API_AUDIENCE"])
	cmd.Env = append(cmd.Environ(), environ(server.env())...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if err := await("http://" + listen + "/readyz"); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// waitsForAReceipt revokes a key with a preference, and follows the receipt to its end.
func (c *child) waitsForAReceipt(operator, keyID string) {
	t, bearer := c.t, "Bearer "+operator
	line := dial(t, c.url)
	r := line.prefer("wait=1").do("POST", "/v1/orgs/org_demo/keys/"+keyID+"/revoke", bearer, "", "")
	location := r.header.Get("Location")
	var revoked management.ChangedKey
	if err := json.Unmarshal([]byte(r.body), &revoked); err != nil || r.status != 202 || location == "" ||
		revoked.Receipt.State != "waiting" || revoked.Receipt.Latest == nil || revoked.Key.Status != "revoked" {
		t.Errorf("%d %s %s", r.status, location, r.body)
		return
	}
	if r := line.do("GET", location, bearer, "", ""); r.status != 200 || !strings.Contains(r.body, `"state":"waiting"`) {
		t.Errorf("at once: %d %s", r.status, r.body)
	}
	if r := line.accept("application/jose").do("GET", location, bearer, "", ""); r.status != 409 || !strings.Contains(r.body, "receipt_waiting") {
		t.Errorf("signed, while it waits: %d %s", r.status, r.body)
	}
	var receipt authz.Receipt
	r = line.accept("").prefer("wait=60").do("GET", location, bearer, "", "")
	if err := json.Unmarshal([]byte(r.body), &receipt); err != nil || receipt.State != "lease_ended" || *receipt.Confirmed != 1 ||
		*receipt.Total != 2 || len(receipt.Members) != 2 || receipt.SettledAt == nil || receipt.WaitedMS < 20000 {
		t.Errorf("settled: %d %s", r.status, r.body)
	}
	code, signed, talk := c.imara("", "receipt", "show", fmt.Sprint(receipt.Position), "--signed")
	if code != 0 || strings.Count(signed, ".") != 2 {
		t.Errorf("signed: %d %q %s", code, signed, talk)
		return
	}
	if code, out, talk := c.imara(signed, "receipt", "verify", "-"); code != 0 || !strings.Contains(out, receipt.Subject) {
		t.Errorf("verified: %d %s %s", code, out, talk)
	}
	if code, _, _ := c.imara(signed[:len(signed)-10]+"AAAAAAAAA\n", "receipt", "verify", "-"); code != exitRefused {
		t.Errorf("changed: %d", code)
	}
	if code, out, _ := c.imara("", "receipt", "list"); code != 0 || !strings.Contains(out, fmt.Sprint(receipt.Position)) {
		t.Errorf("list: %d %s", code, out)
	}
}
