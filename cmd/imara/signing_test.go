//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
	"github.com/imara/apikeys/tokens"
)

// gateway starts one at a server, and returns where it verifies.
func (c *child) gateway() (url string) {
	c.t.Helper()
	env, listen := c.env(), address(c.t)
	cmd := exec.Command("imara", "gateway", "--listen", listen, "--url", c.url,
		"--resource", "alerts="+env["API_AUDIENCE"], "--name", "gateway at "+c.url)
	cmd.Env = os.Environ()
	for name, value := range env {
		if name != "IMARA_URL" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if err := await("http://" + listen + "/readyz"); err != nil {
		c.t.Fatalf("%v\n%s", err, log.String())
	}
	return "http://" + listen + "/verify/alerts"
}

func kidOf(t *testing.T, token string) string {
	t.Helper()
	seen, err := tokens.Inspect(token)
	if err != nil {
		t.Fatal(err)
	}
	return seen.Header.KeyID
}

// accepted tells whether a token is, where it should be.
func accepted(t *testing.T, url, token string, want bool) {
	t.Helper()
	status, body, err := request(url, token)
	if err != nil || want && status != 200 || !want && status != 401 {
		t.Errorf("%s: %d %s %v", url, status, body, err)
	}
}

// TestWithdrawWithATokenOfThatKey: the call returns its receipt, by the API and by the
// command, which then reads on with another token.
func TestWithdrawWithATokenOfThatKey(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	everywhere := []string{server.url + "/demo/alerts", server.gateway()}
	operator, demo := server.operatorToken(), server.demoToken()
	stolen := kidOf(t, operator)
	for _, url := range everywhere {
		accepted(t, url, demo, true)
	}
	withdraw := func(token string) (done management.WithdrawnSigningKey) {
		t.Helper()
		r := do("POST", server.url+"/v1/signing-keys/"+stolen+"/withdraw", "application/json",
			"Bearer "+token, `{"reason":"a test"}`)
		if err := json.Unmarshal([]byte(r.body), &done); err != nil || r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		return done
	}
	done := withdraw(operator)
	if done.Receipt.State != "confirmed" || *done.Receipt.Confirmed != 2 || *done.Receipt.Total != 2 {
		t.Errorf("%+v", done.Receipt)
	}
	for _, url := range everywhere {
		accepted(t, url, demo, false)
		accepted(t, url, server.demoToken(), true)
	}
	if r := do("GET", server.url+"/v1/signing-keys", "", "Bearer "+operator, ""); r.status != 401 {
		t.Errorf("the caller's token: %d %s", r.status, r.body)
	}
	again := withdraw(server.operatorToken())
	if again.Receipt.Position != done.Receipt.Position || again.Receipt.Reason != "a test" {
		t.Errorf("%+v", again.Receipt)
	}
	// The command's own token is of the key that it withdraws.
	current := kidOf(t, server.operatorToken())
	code, out, talk := server.imara("", "signing-keys", "withdraw", current, "--yes")
	if code != 0 || talk != "" {
		t.Fatalf("%d %s %s", code, out, talk)
	}
	inOrder(t, out, "Withdrawn "+current+" · 2 of 2 verifiers confirmed", "current",
		"Done since it was made", "signing.withdraw")
	if now := kidOf(t, server.operatorToken()); now == current || now == stolen {
		t.Errorf("%s signs", now)
	}
	code, _, talk = server.imara("", "signing-keys", "rotate", "ES256")
	if code != exitConflict || !strings.Contains(talk, "may sign from") {
		t.Errorf("%d %s", code, talk)
	}
	code, out, _ = server.imara("", "signing-keys", "withdraw", "none", "--yes", "--json")
	if code != exitNotFound || !strings.Contains(out, "not_found") {
		t.Errorf("%d %s", code, out)
	}
}

// TestWithdrawBesideRunningServers: with the database and the master key alone, while two
// servers run on it. The receipt counts them, their verifiers, and the command.
func TestWithdrawBesideRunningServers(t *testing.T) {
	first, second := address(t), address(t)
	start := replicas(t, sqlstoretest.URL(t), "http://"+first)
	one, two := start(first), start(second)
	store := one.cmd.Args[1:3] // IMARA_DATABASE_URL_FILE and IMARA_MASTER_KEY_FILE
	everywhere := []string{one.url + "/demo/alerts", two.url + "/demo/alerts", one.gateway(), two.gateway()}
	token := one.demoToken()
	for _, url := range everywhere {
		accepted(t, url, token, true)
	}
	withdraw := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("imara", append([]string{"signing-keys"}, args...)...)
		cmd.Env = append(os.Environ(), store...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if out := withdraw("list"); !strings.Contains(out, kidOf(t, token)) {
		t.Errorf("%s", out)
	}
	out := withdraw("withdraw", kidOf(t, token), "--yes")
	if !strings.Contains(out, "· 5 of 5 verifiers confirmed") {
		t.Errorf("%s", out)
	}
	for _, url := range everywhere {
		accepted(t, url, token, false)
	}
	for _, server := range []*child{one, two} {
		fresh, _ := server.tokenFor(server.env()["CLIENT_ID"], server.env()["CLIENT_SECRET"])
		if kidOf(t, fresh) == kidOf(t, token) {
			t.Errorf("%s signs with it", server.url)
		}
		for _, url := range everywhere {
			accepted(t, url, fresh, true)
		}
	}
	eventually(t, "the command has left", func() bool {
		_, out, _ := two.imara("", "verifiers", "list")
		return !strings.Contains(out, "command on") && strings.Contains(out, "gateway at")
	})
}

// TestWithdrawWithoutAServerWaitsForLeases: verifiers follow a server that was stopped;
// none of them accepts anything when the command returns.
func TestWithdrawWithoutAServerWaitsForLeases(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	gate, token := server.gateway(), server.demoToken()
	accepted(t, gate, token, true)
	if err := server.stop(); err != nil {
		t.Fatal(err)
	}
	code, out, talk := server.imara("", "signing-keys", "withdraw", kidOf(t, token), "--data", server.dir, "--yes")
	if code != 0 || !strings.Contains(out, "1 of 2 verifiers confirmed") || !strings.Contains(out, "the leases of the others have ended") {
		t.Errorf("%d %s %s", code, out, talk)
	}
	if status, body, err := request(gate, token); err != nil || status != 503 {
		t.Errorf("%d %s %v", status, body, err)
	}
}
