package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecretsGoOverNoPlainNetwork: every address that secrets, tokens, keys or revocations
// go to or come from is refused when it is plain and on another machine, by its flag's
// name, before anything is sent or made.
func TestSecretsGoOverNoPlainNetwork(t *testing.T) {
	const there, redis = "http://auth.example.com", "redis://u:hunter2@redis.example.com:6379"
	data := filepath.Join(t.TempDir(), "data")
	serve := []string{"serve", "--data", data, "--listen", "127.0.0.1:0"}
	client := []string{"--client-id", "imara_ci_x", "--secret-stdin"}
	here := append([]string{"--issuer", "http://127.0.0.1:1"}, client...)
	gateway := append([]string{"gateway", "--listen", "127.0.0.1:0", "--resource", "a=https://api.example.com"}, here...)
	prove := append([]string{"prove", "--scope", "a:b", "--org", "org_x"}, here...)
	for _, row := range []struct {
		flag string
		args []string
	}{
		{"--issuer", append(serve, "--issuer", there)},
		{"--issuer", []string{"serve", "--data", data, "--listen", "192.0.2.1:0", "--issuer", there}},
		{"--github-keys", append(serve, "--github-keys", there+"/keys")},
		{"--redis-url", append(serve, "--redis-url", redis)},
		{"--url", append([]string{"token", "get", "--issuer", there}, client...)},
		{"--url", append([]string{"token", "get", "--url", there, "--issuer", "https://auth.example.com"}, client...)},
		{"--url", append([]string{"keys", "list", "--org", "org_x", "--issuer", there}, client...)},
		{"--url", append([]string{"login", "--issuer", there}, client...)},
		{"--url", append(gateway, "--url", there)},
		{"--url", append([]string{"gateway", "--resource", "a=https://api.example.com", "--issuer", there}, client...)},
		{"--redis-url", append(gateway, "--redis-url", redis)},
		{"--verify", append(prove, "--verify", there+"/verify/a")},
		{"--redis-url", append(prove, "--redis-url", redis)},
		{"--harm-redis", append(prove, "--redis-url", "redis://127.0.0.1", "--faults", "--harm-redis", redis)},
	} {
		var out, talk bytes.Buffer
		code := run(t.Context(), row.args, strings.NewReader(goodSecret), &out, &talk)
		if code != exitUsage || !strings.Contains(talk.String(), row.flag+":") ||
			!strings.Contains(talk.String(), "--insecure-http") || strings.Contains(talk.String(), "hunter2") {
			t.Errorf("imara %s: code %d, %s", strings.Join(row.args, " "), code, talk.String())
		}
	}
	if made, err := os.ReadDir(data); len(made) > 0 {
		t.Errorf("a refused server left %v, %v", made, err)
	}
}
