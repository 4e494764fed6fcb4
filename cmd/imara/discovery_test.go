//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/imara/apikeys/tokens"
)

// TestMCPClientGetsAToken: the provider of client credentials of the SDK for MCP, as it
// is, finds everything from the 401 of the demo API, and without having seen that.
func TestMCPClientGetsAToken(t *testing.T) {
	sdk, err := filepath.Abs("../../.tools/node_modules/@modelcontextprotocol/sdk")
	if err == nil {
		_, err = os.Stat(filepath.Join(sdk, "package.json"))
	}
	if err != nil {
		t.Fatalf("%v: make tools installs it", err)
	}
	s := serveDemo(t, t.TempDir(), address(t))
	cmd := exec.Command("node", "testdata/mcp.mjs", sdk)
	cmd.Env = os.Environ()
	for name, value := range s.env() {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil || out.String() != "called 200\nasked AUTHORIZED\ncalled 200\n" {
		t.Errorf("%v\n%s%s", err, &out, &talk)
	}
}

// TestOpenIDConnectVerifiersWorkByDefault: go-oidc, on which oauth2-proxy and Kubernetes
// stand, discovers the issuer and verifies a token without being told algorithms; of an
// API that chooses another algorithm later, too.
func TestOpenIDConnectVerifiersWorkByDefault(t *testing.T) {
	s := serveDemo(t, t.TempDir(), address(t))
	provider, err := oidc.NewProvider(context.Background(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: s.env()["API_AUDIENCE"]})
	for _, algorithm := range []string{tokens.ES256, tokens.RS256, tokens.EdDSA} {
		s.choose(algorithm)
		raw := s.buy(s.env()["API_AUDIENCE"])
		if u, err := tokens.Inspect(raw); err != nil || u.Header.Algorithm != algorithm {
			t.Errorf("signed with %s, %v, want %s", u.Header.Algorithm, err, algorithm)
		}
		if _, err := verifier.Verify(context.Background(), raw); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
}

// choose lets the demo API have another algorithm.
func (c *child) choose(algorithm string) {
	c.t.Helper()
	body, err := json.Marshal(map[string]any{"audience": c.env()["API_AUDIENCE"], "name": "Demo API", "algorithm": algorithm,
		"scopes": []map[string]string{{"name": "alerts:read"}, {"name": "incidents:read"}, {"name": "incidents:write"}}})
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := http.NewRequest("POST", c.url+"/v1/resources", bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+c.buy(c.env()["MANAGEMENT_URL"]))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, err := io.ReadAll(response.Body); err != nil || response.StatusCode >= 300 {
		c.t.Fatalf("%d %s %v", response.StatusCode, answer, err)
	}
}

// buy returns a token of the operator's key for a resource.
func (c *child) buy(resource string) string {
	c.t.Helper()
	code, token, talk := c.imara("", "token", "get", "--resource", resource)
	if code != 0 {
		c.t.Fatalf("%d %s", code, talk)
	}
	return strings.TrimSpace(token)
}

// TestChallengesLeadToTheAPIThatMadeThem: the metadata that a 401 names is of the
// resource that was asked for (RFC 9728 §3.3).
func TestChallengesLeadToTheAPIThatMadeThem(t *testing.T) {
	s := serveDemo(t, t.TempDir(), address(t))
	gateway := s.gateway()
	for url, resource := range map[string]string{
		s.env()["API_URL"]: s.env()["API_AUDIENCE"], s.url + "/v1/me": s.env()["MANAGEMENT_URL"], s.url + "/feed/sessions/x": s.env()["MANAGEMENT_URL"],
		gateway: s.env()["API_AUDIENCE"],
	} {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		_, location, _ := strings.Cut(response.Header.Get("WWW-Authenticate"), `resource_metadata="`)
		location, _, _ = strings.Cut(location, `"`)
		status, body, err := request(location, "")
		var document struct{ Resource string }
		if err != nil || response.StatusCode != 401 || status != 200 || json.Unmarshal([]byte(body), &document) != nil || document.Resource != resource {
			t.Errorf("%s: %d %q → %d %s %v, want %s", url, response.StatusCode, location, status, body, err, resource)
		}
	}
	if status, body, err := request(strings.TrimSuffix(gateway, "/verify/alerts")+"/.well-known/oauth-protected-resource/demo", ""); err != nil || status != 200 || !strings.Contains(body, s.env()["API_AUDIENCE"]) {
		t.Errorf("the gateway's document: %d %s %v", status, body, err)
	}
}

// TestGatewayAcceptsTheFirstTokenOfAnotherAlgorithm: it has the keys by then.
func TestGatewayAcceptsTheFirstTokenOfAnotherAlgorithm(t *testing.T) {
	s := serveDemo(t, t.TempDir(), address(t))
	gateway := s.gateway()
	var statuses []int
	for _, algorithm := range []string{tokens.RS256, tokens.EdDSA} {
		s.choose(algorithm)
		status, _, err := request(gateway, s.buy(s.env()["API_AUDIENCE"]))
		if err != nil {
			t.Fatal(err)
		}
		statuses = append(statuses, status)
	}
	if !slices.Equal(statuses, []int{200, 200}) {
		t.Errorf("%v", statuses)
	}
}

// TestTokenVerifySaysWhatIsWrong: what was given for a token, and for whom it is.
func TestTokenVerifySaysWhatIsWrong(t *testing.T) {
	s := serveDemo(t, t.TempDir(), address(t))
	raw := s.buy(s.env()["API_AUDIENCE"])
	for _, row := range []struct {
		input string
		flags []string
		want  string
	}{
		{s.env()["CLIENT_SECRET"], nil, "the token endpoint exchanges"},
		{"garbage", nil, "malformed access token"},
		{raw, []string{"--audience", s.env()["MANAGEMENT_URL"]}, "it is for " + s.env()["API_AUDIENCE"] + ", and this is " + s.env()["MANAGEMENT_URL"]},
		{raw, []string{"--scope", "alerts:read"}, "lacks alerts:read"},
	} {
		code, _, talk := s.imara(row.input, append([]string{"token", "verify"}, row.flags...)...)
		if code == 0 || !strings.Contains(talk, row.want) || strings.Contains(talk, s.env()["CLIENT_SECRET"]) {
			t.Errorf("%v: %d %s, want %q", row.flags, code, talk, row.want)
		}
	}
	if code, out, talk := s.imara("", "whoami"); code != 0 || !strings.Contains(out, s.env()["IMARA_CLIENT_ID"]) {
		t.Errorf("whoami: %d %s%s", code, out, talk)
	}
	if code, _, talk := s.imara("", "token", "get", "--resource", "https://nobody.example"); code == 0 || !strings.Contains(talk, s.env()["API_AUDIENCE"]) {
		t.Errorf("another resource: %d %s", code, talk)
	}
}
