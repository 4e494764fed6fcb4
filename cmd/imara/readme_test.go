//go:build linux

package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fences finds the fenced blocks of a Markdown file: language and text.
var fences = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

func snippets(t *testing.T, language string) (found []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range fences.FindAllStringSubmatch(string(text), -1) {
		if block[1] == language {
			found = append(found, block[2])
		}
	}
	return found
}

// workshop is a directory like a checkout: bin/imara and, once a server runs, data.
func workshop(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program, err := exec.LookPath("imara")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(dir, "bin", "imara")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sh runs a snippet in one shell, as a person would who pastes it.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second // for what it left in the background, when it failed
	err := cmd.Run()
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what the snippet left in the background
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out.String())
	}
	return out.String()
}

// inOrder checks that all of want are in text, one after the other.
func inOrder(t *testing.T, text string, want ...string) {
	t.Helper()
	rest := text
	for _, w := range want {
		i := strings.Index(rest, w)
		if i < 0 {
			t.Fatalf("no %q in its place in\n%s", w, text)
		}
		rest = rest[i+len(w):]
	}
}

// TestReadmeSnippetsRun pastes every shell snippet of the README, in order.
func TestReadmeSnippetsRun(t *testing.T) {
	shell := snippets(t, "sh")
	if len(shell) != 6 {
		t.Fatalf("%d shell snippets, want 6", len(shell))
	}
	listen, gate := address(t), address(t)
	dir := workshop(t)
	serveDemo(t, filepath.Join(dir, "data"), listen)
	out := sh(t, dir, strings.ReplaceAll(strings.Join(shell, "\n"), "127.0.0.1:8090", gate)+"\nkill %1; wait")
	inOrder(t, out, `"title":"Disk 91 % full on db-2"`, "Revoked · slot free (0 of 20) · 1 of 1 verifiers confirmed in ",
		`{"error":"invalid_token","error_description":"The access token was revoked. `,
		"Key created · uses 1 of 20", "written to trial.env", "200 OK", "X-Auth-Client-Id: imara_ci_",
		"Key created · uses 2 of 20", "New secret", "CI/CD Pipeline", `"state":"confirmed"`, "not revoked", "2 of 2 verifiers confirmed",
		"Dry run, nothing was changed", "Nothing to do.", "lines. Keep the last one elsewhere", "✓ ", `{"data":[`, "100 revocations in ", "accepted after the revocation had returned: 0")
}

// TestReadmeProgramRuns builds the README's resource server and calls it.
func TestReadmeProgramRuns(t *testing.T) {
	programs := snippets(t, "go")
	if len(programs) != 1 {
		t.Fatalf("%d programs, want 1", len(programs))
	}
	dir := workshop(t)
	api := address(t)
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(strings.ReplaceAll(programs[0], "127.0.0.1:9000", api)), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "api")
	if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server := serveDemo(t, filepath.Join(dir, "data"), address(t))
	values := server.env()
	cmd := exec.Command(binary)
	cmd.Env = os.Environ()
	for name, value := range values {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	token := server.demoToken()
	var status int
	var body string
	eventually(t, "the API knows", func() bool {
		var err error
		status, body, err = request("http://"+api+"/alerts", token)
		return err == nil && status != http.StatusServiceUnavailable
	})
	if status != 200 || !strings.Contains(body, "hello "+values["CLIENT_ID"]) {
		t.Errorf("%d %s", status, body)
	}
	if code, out, talk := server.imara("", "keys", "revoke", values["CLIENT_ID"], "--yes"); code != 0 || !strings.Contains(out, "2 of 2 verifiers") {
		t.Errorf("%d %s %s", code, out, talk)
	}
	if status, body, err := request("http://"+api+"/alerts", token); status != 401 {
		t.Errorf("after the revoke: %d %s %v", status, body, err)
	}
}
