//go:build linux

package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// nginxPools keeps connections to the server open, as production does.
const nginxPools = `daemon off;
user root;
pid DIR/nginx.pid;
error_log stderr error;
events {}
http {
  access_log off;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  upstream imara { server SERVER; keepalive 4; }
  server {
    listen LISTEN;
    location / { proxy_pass http://imara; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`

// nginxGzip is what many put into their configuration. It makes every ETag a weak one.
const nginxGzip = `access_log off; gzip on; gzip_proxied any; gzip_min_length 1;
  gzip_types application/json application/problem+json;`

// haproxyPools lends a connection to whatever request comes next.
const haproxyPools = `defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
frontend all
  bind LISTEN
  default_backend imara
backend imara
  http-reuse always
  option httpchk GET /readyz
  server one SERVER check inter 1s
`

// proxy puts a proxy before a server and returns its URL.
func proxy(t *testing.T, kind, server string) string {
	t.Helper()
	dir, listen := t.TempDir(), address(t)
	fill := strings.NewReplacer("DIR", dir, "LISTEN", listen, "SERVER", strings.TrimPrefix(server, "http://")).Replace
	config, text := filepath.Join(dir, "config"), ""
	var words []string
	switch kind {
	case "Caddy":
		shipped, err := os.ReadFile("../../deploy/compose/Caddyfile")
		if err != nil {
			t.Fatal(err)
		}
		text = strings.Replace(string(shipped), ":8080 {", "http://LISTEN {", 1)
		text = "{\n\tadmin off\n}\n" + strings.Replace(text, "server1:8080 server2:8080", "SERVER", 1)
		words = []string{"caddy", "run", "--adapter", "caddyfile", "--config", config}
	case "nginx":
		text, words = nginxPools, []string{"nginx", "-c", config}
	case "nginx, compressing":
		text, words = strings.Replace(nginxPools, "access_log off;", nginxGzip, 1), []string{"nginx", "-c", config}
	case "HAProxy":
		text, words = haproxyPools, []string{"haproxy", "-db", "-f", config}
	}
	if err := os.WriteFile(config, []byte(fill(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	if path, err := exec.LookPath(words[0]); err == nil {
		words[0] = path
	} else {
		words[0] = "/usr/sbin/" + words[0] // which is not on everybody's PATH
	}
	var log bytes.Buffer
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	if err := await("http://" + listen + "/readyz"); err != nil {
		t.Fatalf("%s: %v\n%s", kind, err, log.String())
	}
	return "http://" + listen
}

// TestSilentVerifierIsNobodyElsesMatterBehindAProxy: one load of a minute through each
// proxy, which pools its connections to the server. Every cutting route waits for verifiers
// that were killed, with the default lease, again and again, while others get tokens, read
// keys and ask whether the server is ready. Nothing fails, meanwhile or afterwards.
func TestSilentVerifierIsNobodyElsesMatterBehindAProxy(t *testing.T) {
	t.Parallel()
	server := serveDemo(t, t.TempDir(), address(t))
	env, operator := server.env(), "Bearer "+server.operatorToken()
	var asked, failed atomic.Int64
	ask := func(name string, q cut) {
		asked.Add(1)
		if r := do(q.method, q.path, q.contentType, q.authorization, q.body); r.status != http.StatusOK && failed.Add(1) < 10 {
			t.Errorf("%s, %s: %d %s", name, q.name, r.status, r.body)
		}
	}
	fronts := make(map[string]string)
	for _, kind := range []string{"Caddy", "nginx", "HAProxy"} {
		fronts[kind] = proxy(t, kind, server.url)
	}
	round := func(kind string) {
		front := fronts[kind]
		ask(kind, cut{"token", "POST", front + "/oauth2/token", basic(env["CLIENT_ID"], env["CLIENT_SECRET"]),
			"application/x-www-form-urlencoded", "grant_type=client_credentials"})
		ask(kind, cut{"keys", "GET", front + "/v1/orgs/org_demo/keys", operator, "", ""})
		ask(kind, cut{"ready", "GET", front + "/readyz", "", "", ""})
	}
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	for kind := range fronts {
		for range 2 {
			others.Go(func() {
				for tick := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; <-tick.C {
					round(kind)
				}
			})
		}
	}
	for begun := time.Now(); time.Since(begun) < time.Minute; {
		silentGateway(t, server)
		var cutters sync.WaitGroup
		for kind, front := range fronts {
			for _, q := range server.cuts() {
				q.path = front + q.path
				cutters.Go(func() { ask(kind, q) })
			}
		}
		cutters.Wait()
	}
	for kind := range fronts {
		for range 50 { // on the connections that waited
			round(kind)
		}
	}
	stop()
	others.Wait()
	if failed.Load() > 0 || asked.Load() < 2000 {
		t.Errorf("%d of %d requests failed", failed.Load(), asked.Load())
	}
}

// TestChangesReachTheirVersionThroughGzip: what is read through a proxy that compresses
// can be changed through it, and only while it is what was read.
func TestChangesReachTheirVersionThroughGzip(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	front := proxy(t, "nginx, compressing", server.url)
	env := server.env()
	for _, args := range [][]string{{"keys", "edit", env["CLIENT_ID"], "--description", "For builds"},
		{"members", "edit", "mem_demo_developer", "--name", "Ben"}} {
		if code, _, talk := server.imara("", append(args, "--url", front)...); code != 0 {
			t.Errorf("%s: %s", args, talk)
		}
	}
	tag := func() string {
		r, _ := http.NewRequest("GET", front+"/v1/orgs/org_demo", nil)
		r.Header.Set("Authorization", "Bearer "+server.operatorToken())
		response, err := http.DefaultClient.Do(r) // which asks for gzip by itself
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if !response.Uncompressed || !strings.HasPrefix(response.Header.Get("ETag"), "W/") {
			t.Fatalf("nginx did not compress: %v", response.Header)
		}
		return response.Header.Get("ETag")
	}
	read := tag()
	for _, want := range []int{http.StatusOK, http.StatusPreconditionFailed} {
		r, _ := http.NewRequest("PATCH", front+"/v1/orgs/org_demo", strings.NewReader(`{"name":"Acme Ltd."}`))
		r.Header.Set("Authorization", "Bearer "+server.operatorToken())
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("If-Match", read)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if response.Body.Close(); response.StatusCode != want {
			t.Errorf("If-Match %s: %d, want %d", read, response.StatusCode, want)
		}
	}
}
