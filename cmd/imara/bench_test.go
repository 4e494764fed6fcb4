//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
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

	"github.com/golang-jwt/jwt/v5"

	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// bare is the yardstick of BenchmarkToken: a net/http handler that parses the
// same form, checks nothing, and signs the same claims. Its argument is the
// address; with "ours" as the second it signs with package signing, else with
// golang-jwt alone.
func bare() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	sign := func(c jwt.MapClaims) (string, error) {
		t := jwt.NewWithClaims(jwt.SigningMethodES256, c)
		t.Header["typ"], t.Header["kid"] = tokens.Type, "2026-11-23-abcdefgh"
		return t.SignedString(key)
	}
	ours := len(os.Args) > 2
	ring, err := benchRing()
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		id, _, _ := r.BasicAuth()
		now := time.Now().Unix()
		var token string
		var err error
		if ours {
			token, err = ring.Sign(tokens.ES256, &tokens.Claims{Issuer: "http://127.0.0.1:8080", Subject: id, Audience: tokens.Audience{"http://127.0.0.1:8080/demo"},
				ExpiresAt: now + 600, IssuedAt: now, ID: rand.Text(), ClientID: id, Scope: "alerts:read incidents:read", Organization: "org_demo", Position: 307799577113})
		} else {
			token, err = sign(jwt.MapClaims{"iss": "http://127.0.0.1:8080", "sub": id, "aud": "http://127.0.0.1:8080/demo", "exp": now + 600, "iat": now,
				"jti": rand.Text(), "client_id": id, "scope": "alerts:read incidents:read", "org": "org_demo", "rv": 307799577113})
		}
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 600, "scope": "alerts:read incidents:read"})
	})))
}

func benchRing() (*signing.Ring, error) {
	ctx := context.Background()
	ring, err := signing.NewRing(ctx, signing.Config{Issuer: "http://127.0.0.1:8080", KEK: tokens.Secret(make([]byte, 32)), Store: &drawer{}})
	if err != nil {
		return nil, err
	}
	return ring, ring.Ensure(ctx, tokens.ES256)
}

// drawer keeps one signing key.
type drawer struct{ keys []signing.Sealed }

func (d *drawer) SigningKeys(context.Context) ([]signing.Sealed, error) { return d.keys, nil }

func (d *drawer) AddSigningKey(_ context.Context, k signing.Sealed) error {
	d.keys = append(d.keys, k)
	return nil
}

// launch starts a server of a benchmark, with its log in a file.
func launch(b *testing.B, words ...string) *exec.Cmd {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		f.Close()
	})
	return cmd
}

// cpu is what a process has used so far.
func cpu(b *testing.B, cmd *exec.Cmd) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, errUser := strconv.Atoi(fields[11])
	system, errSystem := strconv.Atoi(fields[12])
	if errUser != nil || errSystem != nil {
		b.Fatal(errUser, errSystem)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 on every Linux
}

// load posts n token requests over a few connections.
func load(b *testing.B, url, authorization string, n int) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range n / 8 {
				r, err := http.NewRequest("POST", url, strings.NewReader("grant_type=client_credentials"))
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set("Authorization", authorization)
				response, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if response.StatusCode != 200 {
					b.Errorf("status %d", response.StatusCode)
					return
				}
			}
		})
	}
	all.Wait()
}

// demoServer starts the server, with more flags, and returns its token endpoint and
// credentials.
func demoServer(b *testing.B, more ...string) (cmd *exec.Cmd, url, authorization string, env map[string]string, ready time.Duration) {
	b.Helper()
	dir, listen := b.TempDir(), address(b)
	begun := time.Now()
	cmd = launch(b, append([]string{"imara", "serve", "--demo", "--listen", listen, "--data", dir}, more...)...)
	if err := await("http://" + listen + "/readyz"); err != nil {
		b.Fatal(err)
	}
	ready = time.Since(begun)
	env = readEnv(filepath.Join(dir, "demo.env"))
	return cmd, env["TOKEN_URL"], basic(env["CLIENT_ID"], env["CLIENT_SECRET"]), env, ready
}

// BenchmarkToken is the CPU of a whole server process per token, against that of
// a bare handler, in turns: one op is 4,000 tokens of each.
func BenchmarkToken(b *testing.B) {
	server, url, authorization, _, _ := demoServer(b)
	plainAt, oursAt := address(b), address(b)
	plain, ours := launch(b, "bare", plainAt), launch(b, "bare", oursAt, "ours")
	for _, at := range []string{plainAt, oursAt} {
		eventually(b, "the bare handler listens", func() bool { status, _, err := request("http://"+at, ""); return err == nil && status == 400 })
	}
	rounds := []struct {
		cmd *exec.Cmd
		url string
		sum time.Duration
	}{{cmd: server, url: url}, {cmd: plain, url: "http://" + plainAt}, {cmd: ours, url: "http://" + oursAt}}
	const tokensEach = 4000
	n := 0
	for b.Loop() {
		for i := range rounds {
			r := &rounds[i]
			before := cpu(b, r.cmd)
			load(b, r.url, authorization, tokensEach)
			r.sum += cpu(b, r.cmd) - before
		}
		n += tokensEach
	}
	per := func(i int) float64 { return float64(rounds[i].sum.Microseconds()) / float64(n) }
	b.ReportMetric(per(0), "cpu-us/token")
	b.ReportMetric(per(0)/per(1), "x-bare")
	b.ReportMetric(per(0)/per(2), "x-bare-same-signer")
}

// BenchmarkReady is the time from the start of the process, with an empty
// directory, to the first 200 of /readyz.
func BenchmarkReady(b *testing.B) {
	var sum time.Duration
	n := 0
	for b.Loop() {
		cmd, _, _, _, ready := demoServer(b)
		cmd.Process.Kill()
		sum += ready
		n++
	}
	b.ReportMetric(float64(sum.Milliseconds())/float64(n), "ms/start")
}

// BenchmarkMemory is the resident memory after a minute of load in all.
func BenchmarkMemory(b *testing.B) {
	cmd, url, authorization, _, _ := demoServer(b, "--tokens-per-minute", "0") // all are one key's
	begun := time.Now()
	for b.Loop() {
		load(b, url, authorization, 4000)
	}
	for time.Since(begun) < time.Minute {
		load(b, url, authorization, 4000)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(kib)/1024, "MiB")
}

// BenchmarkRevoke is a revocation over the API, one gateway following: from the
// request to the receipt.
func BenchmarkRevoke(b *testing.B) {
	_, _, _, env, _ := demoServer(b)
	for name, value := range env {
		b.Setenv(name, value)
	}
	gate := address(b)
	launch(b, "imara", "gateway", "--listen", gate, "--resource", "alerts="+env["API_AUDIENCE"])
	if err := await("http://" + gate + "/readyz"); err != nil {
		b.Fatal(err)
	}
	c := &child{t: b, url: env["IMARA_URL"]}
	operator, r := c.tokenFor(env["IMARA_CLIENT_ID"], env["IMARA_CLIENT_SECRET"])
	if operator == "" {
		b.Fatal(r.body)
	}
	var whole time.Duration
	var waited float64
	n := 0
	for b.Loop() {
		for range 200 {
			created, r := c.create(operator, "number "+fmt.Sprint(n))
			if r.status != 201 {
				b.Fatal(r.body)
			}
			begun := time.Now()
			r = c.revoke(operator, created.Key.ID)
			whole += time.Since(begun)
			var answer management.ChangedKey
			if err := json.Unmarshal([]byte(r.body), &answer); err != nil || answer.Receipt.State != "confirmed" || *answer.Receipt.Total != 2 {
				b.Fatalf("%d %s", r.status, r.body)
			}
			waited += answer.Receipt.WaitedMS
			n++
		}
	}
	b.ReportMetric(float64(whole.Microseconds())/1000/float64(n), "ms/revoke")
	b.ReportMetric(waited/float64(n), "ms-waited/revoke")
}
