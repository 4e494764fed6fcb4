package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// NewSentinel starts a Sentinel that watches a primary, with settings such as
// "down-after-milliseconds 500", and returns its address. It calls the primary imara.
func NewSentinel(t testing.TB, primary string, settings ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(primary)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	_, own, _ := strings.Cut(address, ":")
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor imara %s %s 1\n",
		own, filepath.Dir(config), host, port)
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, " ")
		text += fmt.Sprintf("sentinel %s imara %s\n", name, value)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", config, "--sentinel")
	cmd.SysProcAttr = child()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return address
}
