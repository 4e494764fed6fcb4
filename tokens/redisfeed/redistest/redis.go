// Package redistest starts a real Redis for tests, as a child process that ends
// with them, and harms it as they like.
package redistest

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Redis is one server.
type Redis struct {
	t       testing.TB
	dir     string
	port    int
	bus     int // of a node of a cluster
	options []string
	cmd     *exec.Cmd
	log     *bytes.Buffer
}

// New returns a started server without persistence. options are settings, as on
// redis-server's command line: "--maxmemory", "10mb".
func New(t testing.TB, options ...string) *Redis {
	t.Helper()
	r := &Redis{t: t, dir: t.TempDir(), port: freePort(t), options: options}
	r.Start()
	t.Cleanup(r.Kill)
	return r
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// Start starts it, empty, and waits until it answers.
func (r *Redis) Start() {
	r.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		r.t.Fatal("redis-server is needed: apt-get install redis-server")
	}
	r.log = &bytes.Buffer{}
	args := append([]string{"--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", r.dir}, r.options...)
	r.cmd = exec.Command(path, args...)
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	r.cmd.SysProcAttr = child()
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	client := r.Client()
	defer client.Close()
	r.until("redis-server answers", func() bool { return client.Ping(r.t.Context()).Err() == nil })
}

// Kill is kill -9.
func (r *Redis) Kill() {
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

// Signal sends a signal: SIGSTOP is a pause, SIGCONT its end.
func (r *Redis) Signal(s syscall.Signal) { r.cmd.Process.Signal(s) }

// Client returns a client for the test's own commands.
func (r *Redis) Client() *redis.Client { return ClientOf(r.Address()) }

// ClientOf is a client of any Redis, a Sentinel among them.
func ClientOf(address string) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1, DialTimeout: time.Second})
}

// Do runs a command.
func (r *Redis) Do(command ...any) any {
	r.t.Helper()
	client := r.Client()
	defer client.Close()
	result, err := client.Do(r.t.Context(), command...).Result()
	if err != nil {
		r.t.Fatalf("%v: %v", command, err)
	}
	return result
}

// Address is host and port.
func (r *Redis) Address() string { return fmt.Sprintf("127.0.0.1:%d", r.port) }

// URL of the server.
func (r *Redis) URL() string { return "redis://" + r.Address() }

// Options of a client.
func (r *Redis) Options() *redis.UniversalOptions {
	return &redis.UniversalOptions{Addrs: []string{r.Address()}}
}
