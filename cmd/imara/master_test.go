//go:build linux

package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeKey(t *testing.T, key []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	text := base64.StdEncoding.EncodeToString(key) + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGuessableMasterKeyIsRefused(t *testing.T) {
	counting, down := make([]byte, 32), make([]byte, 32)
	for i := range counting {
		counting[i], down[i] = byte(i), byte(255-3*i)
	}
	for name, key := range map[string][]byte{
		"zero":       make([]byte, 32),
		"all ones":   []byte(strings.Repeat("\xff", 32)),
		"a sequence": counting,
		"downwards":  down,
		"a pattern":  []byte(strings.Repeat("\x00\x9c\xa7\x01\x44\x80\xee\x13", 4)),
		"digits":     []byte("01234567890123456789012345678901"),
		"hex digits": []byte("0123456789abcdef0123456789abcdef"),
		"a password": []byte("passwordpasswordpasswordpassword"),
		"half zero":  append(make([]byte, 28), "wxyz"...),
	} {
		_, err := loadMasterKey(writeKey(t, key), false)
		if err == nil || !strings.Contains(err.Error(), "can be guessed") {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(key)) {
			t.Errorf("%s is quoted: %v", name, err)
		}
	}
	for range 10_000 {
		key := make([]byte, 32)
		rand.Read(key)
		if !random(key) || !random([]byte(hex.EncodeToString(key[:16]))) {
			t.Fatalf("a random key is refused: %x", key)
		}
	}
	for _, text := range []string{"", "x", "AAAA"} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadMasterKey(path, false); err == nil {
			t.Errorf("%q is a master key", text)
		}
	}
}

// TestMasterKeyIsForTheServerAlone: its own file, or one of a group that it is in, as
// Kubernetes mounts secrets for a container that is not root.
func TestMasterKeyIsForTheServerAlone(t *testing.T) {
	key := make([]byte, 32)
	rand.Read(key)
	group, foreign := os.Getegid(), os.Getegid()+12345
	for _, row := range []struct {
		mode  fs.FileMode
		group int
		good  bool
	}{
		{0o600, group, true}, {0o400, group, true}, {0o400, foreign, true},
		{0o440, group, true}, {0o640, group, true},
		{0o440, foreign, false}, {0o640, foreign, false}, {0o660, group, false},
		{0o620, group, false}, {0o444, group, false}, {0o644, group, false},
		{0o604, group, false}, {0o666, group, false}, {0o601, group, false},
	} {
		path := writeKey(t, key)
		if err := os.Chmod(path, row.mode); err != nil {
			t.Fatal(err)
		}
		if row.group != group {
			if os.Geteuid() != 0 {
				continue // only root gives files away
			}
			if err := os.Chown(path, -1, row.group); err != nil {
				t.Fatal(err)
			}
		}
		_, err := loadMasterKey(path, false)
		if (err == nil) != row.good || err != nil && !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("%#o, group %d: %v", row.mode, row.group, err)
		}
	}
}

// TestFilesWithSecretsAreTheirOwnersAlone: whatever the directory and the umask.
func TestFilesWithSecretsAreTheirOwnersAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	listen := address(t)
	look := func() {
		server := serveWith(t, dir, listen, "sh", "-c", `umask 0; exec imara serve --demo "$@"`, "sh")
		defer server.stop()
		for _, name := range []string{"imara.db", "imara.db-wal", "imara.db-shm",
			"imara.lock", "master.key", "demo.env"} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			} else if info.Mode().Perm() != 0o600 {
				t.Errorf("%s is %#o", name, info.Mode().Perm())
			}
		}
	}
	look()
	if err := os.Chmod(filepath.Join(dir, "imara.db"), 0o644); err != nil { // of an earlier version
		t.Fatal(err)
	}
	look()
}
