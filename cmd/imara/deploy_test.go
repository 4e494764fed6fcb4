package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDeployedCommandsExist: every command line in deploy is one that this program
// understands, to its last flag.
func TestDeployedCommandsExist(t *testing.T) {
	lines := map[string]*regexp.Regexp{
		"../../deploy/systemd/imara.service":         regexp.MustCompile(`(?m)^ExecStart=\S+imara (.*)$`),
		"../../deploy/systemd/imara-gateway.service": regexp.MustCompile(`(?m)^ExecStart=\S+imara (.*)$`),
		"../../deploy/compose/compose.yaml":          regexp.MustCompile(`(?m)^ +command: \[((?:serve|gateway).*)\]$`),
		"../../deploy/docker/Dockerfile":             regexp.MustCompile(`(?m)^CMD \[(.*)\]$`),
		"../../deploy/README.md":                     regexp.MustCompile(`(?m)^ +imara ((?:serve|gateway|restored|prove|signing-keys).*)$`),
	}
	found := 0
	for path, pattern := range lines {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range pattern.FindAllStringSubmatch(string(text), -1) {
			found++
			words := strings.FieldsFunc(match[1], func(c rune) bool { return c == ' ' || c == ',' })
			for i := range words {
				words[i] = strings.Trim(words[i], `"\`)
			}
			var out, talk bytes.Buffer
			if code := run(t.Context(), append(words, "--help"), strings.NewReader(""), &out, &talk); code != 0 || !strings.Contains(out.String(), "Usage:") {
				t.Errorf("%s: imara %s: code %d, %s", path, match[1], code, talk.String())
			}
		}
	}
	if found < 9 {
		t.Errorf("%d command lines found", found)
	}
}
