package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
)

// TestTwoServersOneDatabase: the same story over Postgres, with two processes, a
// gateway at each, and one of the servers killed in between.
func TestTwoServersOneDatabase(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "master.key")
	secret := make([]byte, 32)
	rand.Read(secret)
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
		t.Fatal(err)
	}
	url := filepath.Join(dir, "url")
	if err := os.WriteFile(url, []byte(sqlstoretest.URL(t)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, second := address(t), address(t)
	issuer := "http://" + first
	start := func(listen string) *child {
		return serveDemo(t, dir, listen, "env", "IMARA_DATABASE_URL_FILE="+url, "IMARA_MASTER_KEY_FILE="+key,
			"sh", "-c", `exec "$@" --issuer `+issuer, "--")
	}
	one := start(first)
	two := start(second)
	env := one.env()
	gates := map[*child]string{one: address(t), two: address(t)}
	for server, gate := range gates {
		cmd := exec.Command("imara", "gateway", "--listen", gate, "--url", server.url, "--resource", "alerts="+env["API_AUDIENCE"], "--name", "gateway at "+server.url)
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
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		if err := await("http://" + gate + "/readyz"); err != nil {
			t.Fatalf("%v\n%s", err, log.String())
		}
	}
	token := one.demoToken()
	everywhere := []string{one.url + "/demo/alerts", two.url + "/demo/alerts", "http://" + gates[one] + "/verify/alerts", "http://" + gates[two] + "/verify/alerts"}
	for _, url := range everywhere {
		if status, body, err := request(url, token); status != 200 {
			t.Errorf("%s: %d %s %v", url, status, body, err)
		}
	}
	if code, out, talk := two.imara("", "keys", "revoke", env["CLIENT_ID"], "--url", two.url, "--yes"); code != 0 || !strings.Contains(out, "4 of 4 verifiers confirmed") {
		t.Errorf("%d %s %s", code, out, talk)
	}
	for _, url := range everywhere {
		if status, body, err := request(url, token); status != 401 {
			t.Errorf("after the revoke, %s: %d %s %v", url, status, body, err)
		}
	}
	out, err := exec.Command("imara", "serve", "--database-url", "postgres://x@127.0.0.1:1/x").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--master-key-file") {
		t.Errorf("without a master key: %v %s", err, out)
	}
}
