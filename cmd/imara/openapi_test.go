//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// oapiCodegen makes Go clients, which need no other language here, and reads OpenAPI
// 3.1. It is no dependency: a tool of this module would bring its modules into go.sum.
const oapiCodegen = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2"

// TestGeneratedClientRunsTheStory: a client that a public generator makes of the
// document that is served compiles, and creates, lists, revokes and reads the log
// with its own types. It needs the module proxy, or what was fetched from it before.
func TestGeneratedClientRunsTheStory(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/openapi")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "imara"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "openapi.json"), []byte(do("GET", server.url+"/v1/openapi.json", "", "", "").body), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "GOBIN="+dir)
	for name, value := range server.env() {
		env = append(env, name+"="+value)
	}
	out := ""
	for _, step := range []struct {
		failed string
		words  []string
	}{
		{"the generator must be fetched, and the module proxy does not give it", []string{"go", "install", oapiCodegen}},
		{"the client's modules must be fetched, and the module proxy does not give them", []string{"go", "mod", "download"}},
		{"the generator does not take the document", []string{"./oapi-codegen", "-config", "oapi-codegen.yaml", "openapi.json"}},
		{"the generated client does not compile", []string{"go", "build", "-o", "story", "."}},
		{"the story ended early", []string{"./story"}},
	} {
		cmd := exec.CommandContext(t.Context(), step.words[0], step.words[1:]...)
		cmd.Dir, cmd.Env = dir, env
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", step.failed, err, text)
		}
		out = string(text)
	}
	inOrder(t, out, `listed "Demo integration", active, 1 secret`, `created "Generated", uses 2 of 20`,
		"refused with 409 name_taken: Choose another name", "the API answers 200", "the token is for "+server.env()["API_AUDIENCE"],
		"revoked, confirmed by 1 of 1", "the API answers 401", `logged key.revoke, "the story ends", a cut`)
}
