//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

// leaves are the commands that do something, by their paths.
func leaves(cmd *cobra.Command) map[string]*cobra.Command {
	all := map[string]*cobra.Command{}
	for _, sub := range cmd.Commands() {
		if sub.HasSubCommands() {
			for path, leaf := range leaves(sub) {
				all[path] = leaf
			}
		} else {
			all[sub.CommandPath()] = sub
		}
	}
	return all
}

// TestDryRunIsRefusedWhereItMeansNothing: every command that cannot be tried says so, with
// code 2, before it does anything.
func TestDryRunIsRefusedWhereItMeansNothing(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("IMARA_ISSUER", "http://127.0.0.1:1")
	refused := 0
	for path, cmd := range leaves(everything(new(bool))) {
		if cmd.Annotations[tried] != "" {
			continue
		}
		line := strings.Fields(path)[1:]
		for _, word := range strings.Fields(cmd.Use)[1:] {
			if unicode.IsUpper(rune(word[0])) {
				line = append(line, "x")
			}
		}
		var out, talk bytes.Buffer
		code := run(t.Context(), append(line, "--dry-run"), strings.NewReader(""), &out, &talk)
		if code != exitUsage || !strings.Contains(talk.String(), "--dry-run") || out.Len() > 0 {
			t.Errorf("%s: code %d, %q, %q", path, code, out.String(), talk.String())
		}
		refused++
	}
	if refused < 30 {
		t.Errorf("only %d were refused", refused)
	}
}

// TestDryRunOfEveryCommandChangesNothing: each command that can be tried says what it would
// do, says in its JSON that it was a trial, shows nothing that was made up, and the audit log
// is as it was.
func TestDryRunOfEveryCommandChangesNothing(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	for name, value := range server.env() {
		t.Setenv(name, value)
	}
	imara := func(stdin string, line ...string) (string, string) {
		t.Helper()
		var out, talk bytes.Buffer
		if code := run(t.Context(), line, strings.NewReader(stdin), &out, &talk); code != exitOK {
			t.Errorf("imara %s: %d %s %s", strings.Join(line, " "), code, &out, &talk)
		}
		return out.String(), talk.String()
	}
	var made management.KeyWithSecret
	out, _ := imara("", "keys", "create", "--name", "One", "--scope", "alerts:read", "--json")
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	var rotated management.KeyWithSecret
	out, _ = imara("", "keys", "rotate", "One", "--json")
	if err := json.Unmarshal([]byte(out), &rotated); err != nil {
		t.Fatal(err)
	}
	fresh, old := rotated.Secret.ID, made.Secret.ID
	var hook management.Webhook
	out, _ = imara("", "webhooks", "add", "https://hooks.example.com", "--json")
	if err := json.Unmarshal([]byte(out), &hook); err != nil {
		t.Fatal(err)
	}
	imara("", "webhooks", "test", hook.ID)
	var deliveries management.List[management.Delivery]
	out, _ = imara("", "webhooks", "deliveries", hook.ID, "--json")
	if err := json.Unmarshal([]byte(out), &deliveries); err != nil || len(deliveries.Data) == 0 {
		t.Fatal(out, err)
	}
	imara("", "members", "add", "--name", "Fay", "--email", "fay@acme.example", "--role", "auditor")
	imara("", "presets", "add", "--name", "CI", "--scope", "alerts:read")
	imara("", "orgs", "request-limit", "--keys", "30", "--reason", "more")
	imara(`{"audience":"https://new.example.com","name":"New"}`, "resources", "set", "-")
	var verifiers management.List[management.Verifier]
	out, _ = imara("", "verifiers", "list", "--json")
	if err := json.Unmarshal([]byte(out), &verifiers); err != nil || len(verifiers.Data) == 0 {
		t.Fatal(out, err)
	}
	var signing management.List[management.SigningKey]
	out, _ = imara("", "signing-keys", "list", "--json")
	if err := json.Unmarshal([]byte(out), &signing); err != nil {
		t.Fatal(err)
	}
	lines := map[string][]string{
		"accounts link":         {"fay@acme.example"},
		"verifiers add":         {"gateway-2"},
		"keys create":           {"--name", "Two", "--scope", "alerts:read"},
		"keys edit":             {"One", "--name", "Other"},
		"keys rotate":           {"Demo integration"},
		"keys revoke":           {"One"},
		"keys suspend":          {"One"},
		"secrets end":           {"One", old},
		"secrets extend":        {"One", old, "--for", "2d"},
		"secrets cancel":        {"One", fresh},
		"members add":           {"--name", "Eve", "--email", "eve@acme.example", "--role", "auditor"},
		"members edit":          {"amal@acme.example", "--name", "Eve"},
		"orgs create":           {"--name", "Tiny", "--plan", "Starter"},
		"orgs rename":           {"Other"},
		"orgs set-plan":         {"Professional"},
		"orgs set-limit":        {"9", "--reason", "x"},
		"orgs request-limit":    {"--keys", "40", "--reason", "x"},
		"orgs answer-limit":     {"--grant", "30"},
		"orgs set-policy":       {"--approval"},
		"presets add":           {"--name", "Other", "--scope", "alerts:read"},
		"presets remove":        {"CI"},
		"resources set":         {"-"},
		"resources remove":      {"https://new.example.com"},
		"signing-keys withdraw": {signing.Data[0].KeyID},
		"verifiers end":         {verifiers.Data[0].ID},
		"webhooks add":          {"https://hooks.example.com/2"},
		"webhooks remove":       {hook.ID},
		"webhooks test":         {hook.ID},
		"webhooks redeliver":    {hook.ID, deliveries.Data[0].ID},
	}
	// These need a state that one world does not have: a key that waits or is suspended, a
	// member who may go, an account that is bound, a next signing key that is old enough.
	elsewhere := []string{"keys approve", "keys resume", "members remove", "signing-keys rotate", "accounts unbind"}
	// One of each way in which an answer is printed.
	asJSON := []string{"keys create", "keys revoke", "orgs create", "webhooks remove", "verifiers end", "signing-keys withdraw"}
	before, _ := imara("", "audit", "export")
	for path, cmd := range leaves(everything(new(bool))) {
		path = strings.TrimPrefix(path, "imara ")
		if cmd.Annotations[tried] == "" || slices.Contains(elsewhere, path) {
			continue
		}
		args, known := lines[path]
		if !known {
			t.Errorf("imara %s is not tried here", path)
			continue
		}
		stdin := `{"audience":"https://other.example.com","name":"Other"}`
		out, talk := imara(stdin, append(append(strings.Fields(path), args...), "--dry-run")...)
		if !strings.Contains(strings.ToLower(out+talk), "would") || !strings.Contains(out, "Dry run, nothing was changed") {
			t.Errorf("imara %s: %s%s", path, out, talk)
		}
		for _, wrong := range []string{"key_", "imara_cs_live", "whsec_", "shown once", "Key created", "Ended"} {
			if strings.Contains(out, wrong) {
				t.Errorf("imara %s says %s: %s", path, wrong, out)
			}
		}
		if !slices.Contains(asJSON, path) {
			continue
		}
		out, _ = imara(stdin, append(append(strings.Fields(path), args...), "--dry-run", "--json")...)
		var answer map[string]any
		if err := json.Unmarshal([]byte(out), &answer); err != nil || answer["dry_run"] != true {
			t.Errorf("imara %s --json: %s %v", path, out, err)
		}
	}
	export, _ := imara("", "audit", "export")
	// The export itself is in the log.
	if lines := strings.Count(export, "\n") - strings.Count(before, "\n"); lines > 1 {
		t.Errorf("%d events:\n%s", lines, export)
	}
}
