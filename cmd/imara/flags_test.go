package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDays(t *testing.T) {
	for text, want := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "0": 0, "1h30m": 90 * time.Minute, "0d": 0} {
		var d days
		if err := d.Set(text); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(d), err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "-1h", "90", "1.5d", "99999999d", "tomorrow"} {
		var d days
		if err := d.Set(text); err == nil {
			t.Errorf("%q: %v", text, time.Duration(d))
		}
	}
}

func FuzzDays(f *testing.F) {
	f.Add("90d")
	f.Add("1h")
	f.Fuzz(func(t *testing.T, text string) {
		var d days
		if err := d.Set(text); err == nil && d < 0 {
			t.Fatalf("%q is %v", text, time.Duration(d))
		}
	})
}

// FuzzEnv: what is written for the shell is read back as it was.
func FuzzEnv(f *testing.F) {
	f.Add("http://127.0.0.1:8080/demo")
	f.Add("imara_cs_live_x")
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c >= 0x7f }) {
			return // no value of ours has one
		}
		path := filepath.Join(t.TempDir(), "demo.env")
		if err := writeEnv(path, [][2]string{{"A", value}, {"B", "b"}}); err != nil {
			t.Fatal(err)
		}
		if got := readEnv(path); got["A"] != value || got["B"] != "b" || len(got) != 2 {
			t.Fatalf("%q: %q", value, got)
		}
	})
}

// TestIssuerOfADemoIsAsked: a variable that is left over from another server is noticed, and
// a flag says that it is meant, whatever the variable says.
func TestIssuerOfADemoIsAsked(t *testing.T) {
	cleanEnvironment(t)
	t.Setenv("IMARA_ISSUER", "http://127.0.0.1:1")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	line := "serve --demo --listen 127.0.0.1:0 --data " + filepath.Join(file, "none")
	refused(t, line, "unset it, or give --issuer")
	refused(t, line+" --issuer http://127.0.0.1:1", file)
}

// TestFlagsThatExcludeEachOtherAreAUsageError: by what the command line is, whatever the
// words of the error are.
func TestFlagsThatExcludeEachOtherAreAUsageError(t *testing.T) {
	cleanEnvironment(t)
	var out, talk bytes.Buffer
	code := run(t.Context(), strings.Fields("keys edit x --never-expires --expires 90d"), strings.NewReader(""), &out, &talk)
	if code != exitUsage || !strings.Contains(talk.String(), "if any flags in the group") {
		t.Errorf("code %d, %q", code, talk.String())
	}
}
