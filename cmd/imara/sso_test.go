package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProvidersFile: the file of --sso is read strictly, and secrets come from files.
func TestProvidersFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("acme.secret", "s3cret\n")
	const provider = `{"id": "acme", "name": "Acme", "issuer": "https://login.acme.example", "client_id": "panel", "client_secret_file": "acme.secret",
		"domains": ["acme.example"], "rules": [{"claim": "groups", "value": "admins", "organization": "org_acme", "role": "admin"}]}`
	list, err := readProviders(write("sso.json", "["+provider+"]"))
	if err != nil || len(list) != 1 || list[0].ClientSecret != "s3cret" || list[0].Domains[0] != "acme.example" || list[0].Rules[0].Organization != "org_acme" {
		t.Errorf("%+v %v", list, err)
	}
	for want, text := range map[string]string{
		"unknown field":   `[{"id": "acme", "client_secret": "in the open"}]`,
		"the list":        "[" + provider + "] []",
		"no such file":    strings.ReplaceAll("["+provider+"]", "acme.secret", "missing"),
		"cannot unmarsha": provider,
	} {
		if _, err := readProviders(write("bad.json", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := readProviders(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a missing file is none")
	}
	if list, err := readProviders(""); list != nil || err != nil {
		t.Errorf("without --sso: %v %v", list, err)
	}
}
