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

// TestSilentVerifierIsNobodyElsesMatterBehindAProxy: through each proxy, which pools its
// connections to the server, every cutting route waits for a verifier that was killed, with
// the default lease, while others get tokens, read keys and ask whether the server is
// ready. Nothing fails, meanwhile or afterwards.
func TestSilentVerifierIsNobodyElsesMatterBehindAProxy(t *testing.T) {
	for _, kind := range []string{"Caddy", "nginx", "HAProxy"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server := serveDemo(t, t.TempDir(), address(t))
			env, operator := server.env(), "Bearer "+server.operatorToken()
			front := proxy(t, kind, server.url)
			requests := server.cuts()
			silentGateway(t, server)
			ctx, stop := context.WithCancel(t.Context())
			var asked, failed atomic.Int64
			ask := func(name, method, path, authorization, contentType, body string) {
				asked.Add(1)
				if r := do(method, front+path, contentType, authorization, body); r.status != http.StatusOK && failed.Add(1) < 5 {
					t.Errorf("%s: %d %s", name, r.status, r.body)
				}
			}
			round := func() {
				ask("token", "POST", "/oauth2/token", basic(env["CLIENT_ID"], env["CLIENT_SECRET"]), "application/x-www-form-urlencoded", "grant_type=client_credentials")
				ask("keys", "GET", "/v1/orgs/org_demo/keys", operator, "", "")
				ask("ready", "GET", "/readyz", "", "", "")
			}
			var others, cutters sync.WaitGroup
			for range 4 {
				others.Go(func() {
					for ctx.Err() == nil {
						round()
					}
				})
			}
			for _, q := range requests {
				cutters.Go(func() {
					if r := do(q.method, front+q.path, q.contentType, q.authorization, q.body); r.status != http.StatusOK {
						t.Errorf("%s: %d %s", q.name, r.status, r.body)
					}
				})
			}
			cutters.Wait()
			for range 50 { // on the connections that waited
				round()
			}
			stop()
			others.Wait()
			if failed.Load() > 0 || asked.Load() < 500 {
				t.Errorf("%d of %d requests failed", failed.Load(), asked.Load())
			}
		})
	}
}
