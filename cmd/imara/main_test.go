//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
	"github.com/imara/apikeys/tokens/redisfeed/redistest"
)

// TestMain makes this binary the command imara of every test, and the yardstick
// of the benchmarks.
func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){"imara": scripted, "bare": bare})
}

// unset is the value of a variable of a script that is to be none: scripts can only set.
const unset = "-unset-"

// scripted is the program without the variables that a script has unset.
func scripted() {
	for _, line := range os.Environ() {
		if name, ok := strings.CutSuffix(line, "="+unset); ok {
			os.Unsetenv(name)
		}
	}
	main()
}

// suite stops what its tests shared.
type suite struct{ *testing.M }

func (s suite) Run() int {
	defer sqlstoretest.Stop()
	return s.M.Run()
}

// TestScripts runs the stories of testdata: what people type, and what they see.
func TestScripts(t *testing.T) {
	server := sync.OnceValue(func() *redistest.Redis { return redistest.New(t) })
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"port":  scriptPort,
			"await": scriptAwait,
			"load":  scriptLoad,
			"get":   scriptGet,
			"hides": scriptHides,
			// Take variables out of the environment: unset NAME...
			"unset": func(ts *testscript.TestScript, _ bool, args []string) {
				for _, name := range args {
					ts.Setenv(name, unset)
				}
			},
			// Pause and resume a background command: signal STOP serve
			"signal": scriptSignal,
			// A real Redis: redis VARIABLE; and one that evicts: evict
			"redis": func(ts *testscript.TestScript, _ bool, args []string) { ts.Setenv(args[0], server().URL()) },
			"evict": func(*testscript.TestScript, bool, []string) {
				server().Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
			},
		},
	})
}

// scriptPort sets a variable to a free loopback address: port ADDRESS
func scriptPort(ts *testscript.TestScript, _ bool, args []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], listener.Addr().String())
	ts.Check(listener.Close())
}

// scriptAwait waits until a URL answers 200 or what is said: await URL [STATUS]
func scriptAwait(ts *testscript.TestScript, _ bool, args []string) {
	status := http.StatusOK
	if len(args) > 1 {
		var err error
		status, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	ts.Check(awaitStatus(args[0], status))
}

func scriptSignal(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]os.Signal{"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT}
	for _, cmd := range ts.BackgroundCmds() {
		if cmd.Args[1] == args[1] {
			ts.Check(cmd.Process.Signal(signals[args[0]]))
			ts.Defer(func() { cmd.Process.Signal(syscall.SIGCONT) }) // or it cannot end
			return
		}
	}
	ts.Fatalf("no imara %s in the background", args[1])
}

// scriptLoad sets variables from a file for shells: load FILE
func scriptLoad(ts *testscript.TestScript, _ bool, args []string) {
	values := readEnv(ts.MkAbs(args[0]))
	if len(values) == 0 {
		ts.Fatalf("%s sets nothing", args[0])
	}
	for name, value := range values {
		ts.Setenv(name, value)
	}
}

// scriptGet checks a request with the token in a file: get STATUS URL [TOKENFILE] [TEXT]
func scriptGet(ts *testscript.TestScript, _ bool, args []string) {
	token := ""
	if len(args) > 2 {
		token = strings.TrimSpace(ts.ReadFile(args[2]))
	}
	status, body, err := request(args[1], token)
	ts.Check(err)
	if fmt.Sprint(status) != args[0] {
		ts.Fatalf("%s answers %d %s, want %s", args[1], status, body, args[0])
	}
	if len(args) > 3 && !strings.Contains(body, args[3]) {
		ts.Fatalf("%s answers %s, want %q in it", args[1], body, args[3])
	}
}

// scriptHides checks that the last output has no eight characters of a secret between
// its credential id and its hint: hides SECRET
func scriptHides(ts *testscript.TestScript, _ bool, args []string) {
	_, hidden, _ := strings.Cut(args[0], "imara_cs_live_")
	output := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	if len(hidden) != 62 {
		ts.Fatalf("not a secret")
	}
	for i := len("123456789012_"); i+8 <= len(hidden)-4; i++ {
		if strings.Contains(output, hidden[i:i+8]) {
			ts.Fatalf("%s is shown", hidden[i:i+8])
		}
	}
}

func request(url, token string) (status int, body string, err error) {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

// await asks until the answer is 200.
func await(url string) error { return awaitStatus(url, http.StatusOK) }

func awaitStatus(url string, want int) error {
	var last error
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second)
	for {
		status, body, err := request(url, "")
		if err == nil && status == want {
			return nil
		}
		if last = err; err == nil {
			last = fmt.Errorf("%d %s", status, body)
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("%s: %w", url, last)
		}
	}
}

// child is an imara process that a test started.
type child struct {
	t      testing.TB
	cmd    *exec.Cmd
	url    string
	dir    string
	stdout *bytes.Buffer
	stderr *bytes.Buffer
}

// address returns a loopback address that was free a moment ago.
func address(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// serveDemo starts imara serve --demo on a directory and waits until it is ready.
// wrap, if given, is a command that runs it: env NAME=VALUE, for one.
func serveDemo(t testing.TB, dir, listen string, wrap ...string) *child {
	t.Helper()
	return serveWith(t, dir, listen, append(wrap, "imara", "serve", "--demo")...)
}

// serveWith runs a command that is a server, and waits until it is ready.
func serveWith(t testing.TB, dir, listen string, words ...string) *child {
	t.Helper()
	words = append(words, "--listen", listen, "--data", dir, "--log-level", "debug")
	c := &child{t: t, cmd: exec.Command(words[0], words[1:]...), url: "http://" + listen, dir: dir, stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	c.cmd.Stdout, c.cmd.Stderr = c.stdout, c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	if err := await(c.url + "/readyz"); err != nil {
		c.kill()
		t.Fatalf("%v\n%s", err, c.stderr)
	}
	return c
}

// kill is kill -9.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// stop is what an operator does.
func (c *child) stop() error {
	c.cmd.Process.Signal(syscall.SIGTERM)
	return c.cmd.Wait()
}

// env is demo.env.
func (c *child) env() map[string]string {
	c.t.Helper()
	values := readEnv(filepath.Join(c.dir, "demo.env"))
	if values["CLIENT_ID"] == "" {
		c.t.Fatalf("no demo.env in %s", c.dir)
	}
	return values
}

// imara runs the program in this process with a server's demo.env.
func (c *child) imara(stdin string, args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	cmd := exec.Command("imara", args...)
	cmd.Env = os.Environ()
	for name, value := range c.env() {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var out, talk bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &talk
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), talk.String()
}

// TestSecretsDoNotPrint: the types of this command that hold them.
func TestSecretsDoNotPrint(t *testing.T) {
	if text := fmt.Sprint(masterKey("0123456789")); strings.Contains(text, "0123") {
		t.Error(text)
	}
}

// TestUsageErrors: each wrong call is code 2 and a sentence that says what to do.
func TestUsageErrors(t *testing.T) {
	for _, name := range []string{"IMARA_ISSUER", "IMARA_CLIENT_ID", "IMARA_CLIENT_SECRET", "IMARA_ORG", "IMARA_URL"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	for line, want := range map[string]string{
		"serve --nope":                                                "unknown flag",
		"serve --demo --listen 0.0.0.0:1":                             "loopback",
		"serve --demo --listen :1":                                    "loopback",
		"serve --listen 127.0.0.1:0 --issuer x":                       "--issuer",
		"serve --log-level loud":                                      "--log-level",
		"keys list":                                                   "IMARA_ISSUER",
		"keys list --issuer http://127.0.0.1:1 --client-id x":         "IMARA_ORG",
		"keys list --org o --issuer http://127.0.0.1:1":               "IMARA_CLIENT_ID",
		"keys list --org o --issuer http://127.0.0.1:1 --client-id x": "IMARA_CLIENT_SECRET",
		"keys create --expires tomorrow":                              "expires",
		"token get":                                                   "IMARA_ISSUER",
		"scan":                                                        "standard input",
		"scan --git a b":                                              "one repository",
		"gateway":                                                     "--resource",
		"gateway --resource x --issuer http://127.0.0.1:1 --client-id x": "secret",
	} {
		var out, talk bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		code := run(ctx, strings.Fields(line), strings.NewReader(""), &out, &talk)
		cancel()
		if code != exitUsage || !strings.Contains(talk.String(), want) || out.Len() > 0 {
			t.Errorf("imara %s: code %d, out %q, talk %q", line, code, out.String(), talk.String())
		}
	}
}
