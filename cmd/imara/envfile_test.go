//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// envFileValues are what such files have, and what is unusual.
var envFileValues = []string{"imara_cs_live_0123456789ab_x", "http://127.0.0.1:8080/demo", "https://[::1]:8443/a%20b",
	"alerts:read", "", "it's", "a b", "$HOME", "`id`", `back\slash`, "#no comment", "a;b", "*", "~", `"q"`}

// dockerEnv reads a file as docker run --env-file and kubectl --from-env-file do: what is
// behind the first =, as it is.
func dockerEnv(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "=")
		values[name] = value
	}
	return values
}

// TestEnvFilesAreReadByEveryTool: by a shell, whatever the value; and values that need no
// quotes, as all of ours, also by tools that know none.
func TestEnvFilesAreReadByEveryTool(t *testing.T) {
	for _, value := range envFileValues {
		path := filepath.Join(t.TempDir(), "x.env")
		for range 2 { // written, and put in place
			if err := setEnv(path, [][2]string{{"VALUE", value}, {"OTHER", "b"}}); err != nil {
				t.Fatal(err)
			}
		}
		if got := readEnv(path); got["VALUE"] != value || len(got) != 2 {
			t.Errorf("%q: read as %q", value, got)
		}
		out, err := exec.Command("sh", "-c", `set -a; . "$1"; printf %s "$VALUE"`, "sh", path).Output()
		if err != nil || string(out) != value {
			t.Errorf("%q: a shell reads %q, %v", value, out, err)
		}
		if got := dockerEnv(t, path); plainValue.MatchString(value) && (got["VALUE"] != value || got["OTHER"] != "b") {
			t.Errorf("%q: docker reads %q", value, got)
		}
	}
}

// TestKeyFilesWorkWithoutAShell: demo.env and what --write-env writes.
func TestKeyFilesWorkWithoutAShell(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	path := filepath.Join(t.TempDir(), "key.env")
	if code, _, talk := server.imara("", "keys", "create", "--name", "Files", "--scope", "alerts:read",
		"--write-env", path); code != 0 {
		t.Fatal(talk)
	}
	for _, path := range []string{filepath.Join(server.dir, "demo.env"), path} {
		values := dockerEnv(t, path)
		cmd := exec.Command("imara", "token", "get")
		cmd.Env = append(os.Environ(), "IMARA_ISSUER="+server.url)
		for name, value := range values {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", path, err, out)
		}
	}
}
