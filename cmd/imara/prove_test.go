//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/tokens/history"
	"github.com/imara/apikeys/tokens/redisfeed/redistest"
)

// TestProveFindsAVerifierThatAcceptsRevokedTokens: the proof can fail.
func TestProveFindsAVerifierThatAcceptsRevokedTokens(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	// The secret on standard input serves the calls and the verifiers.
	if code, out, talk := server.imara(server.env()["IMARA_CLIENT_SECRET"]+"\n", "prove", "--scope", "alerts:read", "--count", "3", "--verifiers", "1", "--secret-stdin"); code != 0 || !strings.Contains(out, "✓ accepted after the revocation had returned: 0\n✓ receipts that claim more than was seen: 0\n") {
		t.Errorf("code %d: %s %s", code, out, talk)
	}
	gullible := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusOK) }))
	t.Cleanup(gullible.Close)
	code, out, talk := server.imara("", "prove", "--scope", "alerts:read", "--count", "5", "--verifiers", "1", "--verify", gullible.URL+"/alerts?x=y", "--json")
	var record proofRecord
	if err := json.Unmarshal([]byte(out), &record); err != nil || len(record.Passes) != 1 {
		t.Fatalf("%v: %s %s", err, out, talk)
	}
	if pass := record.Passes[0]; code != exitError || pass.AcceptedAfter != 5 || pass.Overclaimed != 5 || len(pass.Violations) != 10 || pass.Violations[0].Verifier != gullible.URL+"/alerts?x=y" {
		t.Errorf("code %d, %+v", code, pass)
	}
	if !strings.Contains(talk, "the promise was broken") {
		t.Errorf("it says %q", talk)
	}
	leftovers := func() {
		t.Helper()
		if _, list, _ := server.imara("", "keys", "list", "--status", "active"); strings.Contains(list, "prove") || !strings.Contains(list, "Demo") {
			t.Errorf("scratch keys are left: %s", list)
		}
	}
	leftovers()
	// One that accepts nothing proves nothing.
	closed := httptest.NewServer(http.RedirectHandler(gullible.URL, http.StatusFound))
	t.Cleanup(closed.Close)
	code, _, talk = server.imara("", "prove", "--scope", "alerts:read", "--count", "1", "--verifiers", "0", "--verify", closed.URL)
	if code != exitUnavailable || !strings.Contains(talk, "accepts no good token") {
		t.Errorf("code %d: %s", code, talk)
	}
	leftovers()
	for _, text := range []string{"127.0.0.1:1/verify", "ftp://127.0.0.1/", "http://"} {
		code, _, talk := server.imara("", "prove", "--scope", "alerts:read", "--verify", text)
		if code != exitUsage || !strings.Contains(talk, "is not an http or https URL") {
			t.Errorf("%s: code %d: %s", text, code, talk)
		}
	}
}

// TestProveMeasuresAVerifierOfAnyMake: one in another language, and an API that answers
// 204; one that keeps what it decided is found out.
func TestProveMeasuresAVerifierOfAnyMake(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	node := func(mutant string) string {
		cmd := exec.Command("node", "../../tokens/testdata/verifier.mjs", "serve")
		cmd.Env = append(os.Environ(), "MUTANT="+mutant)
		for name, value := range server.env() {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatalf("node: %v (make tools)", err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "ready ") {
			t.Fatalf("%q, %v", line, err)
		}
		return strings.Fields(line)[1]
	}
	honest := node("")
	terse := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _, err := request(honest, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		if err != nil || status == http.StatusOK {
			status = http.StatusNoContent
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(terse.Close)
	args := []string{"prove", "--scope", "alerts:read", "--count", "10", "--verifiers", "0", "--verify"}
	code, out, talk := server.imara("", append(args, honest, "--verify", terse.URL)...)
	if code != 0 || !strings.Contains(out, "✓ accepted after the revocation had returned: 0") {
		t.Errorf("code %d: %s %s", code, out, talk)
	}
	code, out, _ = server.imara("", append(args, node("cache"))...)
	if code != exitError || !strings.Contains(out, "✗ accepted after the revocation had returned: 10\n✗ receipts that claim more than was seen: 10\n") {
		t.Errorf("code %d: %s", code, out)
	}
}

// TestProveUnderFaults: a Redis that is flushed, paused, killed, and cut off, and
// verifiers that are paused; nothing is accepted after a revocation has returned.
func TestProveUnderFaults(t *testing.T) {
	redisAddress, dir := address(t), t.TempDir()
	_, port, _ := strings.Cut(redisAddress, ":")
	start := fmt.Sprintf("redis-server --port %s --bind 127.0.0.1 --save '' --daemonize yes --dir '%s' --pidfile '%s/pid'", port, dir, dir)
	if out, err := exec.Command("sh", "-c", start).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("redis-cli", "-p", port, "shutdown", "nosave").Run() })
	server := serveDemo(t, t.TempDir(), address(t), "env", "IMARA_REDIS_URL=redis://"+redisAddress)
	code, out, talk := server.imara("", "prove", "--scope", "alerts:read", "--count", "100", "--verifiers", "3", "--lease", "1s", "--redis-url", "redis://"+redisAddress,
		"--faults", "--harm-redis", "redis://"+redisAddress, "--restart-redis", start, "--json")
	var record proofRecord
	if err := json.Unmarshal([]byte(out), &record); err != nil || len(record.Passes) != 2 {
		t.Fatalf("%v: %s %s", err, out, talk)
	}
	healthy, faulty := record.Passes[0], record.Passes[1]
	if code != 0 || len(healthy.Violations) != 0 || len(faulty.Violations) != 0 {
		t.Errorf("code %d, healthy %v, faulty %v", code, healthy.Violations, faulty.Violations)
	}
	if healthy.Receipts["confirmed"] != 100 || healthy.LastAcceptance.Max >= 0 || healthy.Decisions["accepted"] < 300 {
		t.Errorf("healthy: %+v", healthy)
	}
	if len(faulty.Faults) != 6 || faulty.Revocations < 100 || faulty.Decisions["unknown"] == 0 {
		t.Errorf("faulty: %+v", faulty)
	}
	if healthy.Overclaimed != 0 || faulty.Overclaimed != 0 {
		t.Errorf("receipts that claim more: healthy %d, faulty %d", healthy.Overclaimed, faulty.Overclaimed)
	}
	var page strings.Builder
	faulty.print(&page, 3)
	if !strings.Contains(page.String(), "✓ receipts that claim more than was seen: 0\n") {
		t.Errorf("it prints %s", &page)
	}
	t.Logf("under faults: %d revocations, receipts %v, decisions %v, faults %v", faulty.Revocations, faulty.Receipts, faulty.Decisions, faulty.Faults)
}

// TestWaivedReceiptClaimsNothingOfThoseWhoMay: what a receipt claims, in each state.
func TestWaivedReceiptClaimsNothingOfThoseWhoMay(t *testing.T) {
	heard, one, three := time.Now(), 1, 3
	members := []authz.ReceiptMember{{Name: "a", State: "confirmed"}, {Name: "b", State: "lease_ended"},
		{Name: "b", State: "waived"}, {Name: "c", State: "left"}}
	for _, row := range []struct {
		name    string
		receipt authz.Receipt
		want    history.Claim
	}{
		{"confirmed", authz.Receipt{State: "confirmed", Confirmed: &three, Total: &three}, history.Claim{Since: heard}},
		{"lease_ended", authz.Receipt{State: "lease_ended", Confirmed: &one, Total: &three}, history.Claim{Since: heard}},
		{"recovered", authz.Receipt{State: "lease_ended"}, history.Claim{Since: heard}},
		{"waived", authz.Receipt{State: "waived", Confirmed: &one, Total: &three, Members: members},
			history.Claim{Since: heard, May: 2, Refuse: map[string]time.Time{"a": heard, "c": heard}}},
		{"waived, recovered", authz.Receipt{State: "waived", Members: members}, history.Claim{}},
	} {
		got := claimOf(row.receipt, heard)
		if !got.Since.Equal(row.want.Since) || got.May != row.want.May || !maps.Equal(got.Refuse, row.want.Refuse) {
			t.Errorf("%s: %+v, want %+v", row.name, got, row.want)
		}
	}
}

// prove prepares a proof against a server in this process, for faults of a test's own.
func prove(t *testing.T, server *child, redisURL string, more ...string) *proof {
	t.Helper()
	for name, value := range server.env() {
		t.Setenv(name, value)
	}
	cmd := proveCommand()
	cmd.SetContext(t.Context())
	f := proveFlags{program: "imara", verifiers: 2, workers: 2, scope: "alerts:read", redisURL: redisURL, lease: time.Second}
	f.issuer, f.org, f.clientID, f.timeout = os.Getenv("IMARA_ISSUER"), os.Getenv("IMARA_ORG"), os.Getenv("IMARA_CLIENT_ID"), time.Minute
	p, err := f.prepare(cmd)
	if err != nil {
		t.Fatalf("%v\n%s", err, server.stderr)
	}
	t.Cleanup(p.close)
	return p
}

// under runs a proof while faults are done, until each was done twice.
func (p *proof) under(t *testing.T, kinds ...fault) proofPass {
	t.Helper()
	harm := &faults{lease: time.Second, done: make(map[string]int)}
	var failed []error
	for _, kind := range kinds {
		harm.kinds = append(harm.kinds, fault{kind.name, func(ctx context.Context) error {
			err := kind.do(ctx)
			if err != nil && ctx.Err() == nil {
				failed = append(failed, fmt.Errorf("%s: %w", kind.name, err))
			}
			return err
		}})
	}
	pass, err := p.pass(t.Context(), 50, 2, harm, &progress{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pass.Violations) > 0 {
		t.Errorf("violations: %v", pass.Violations)
	}
	if len(failed) > 0 {
		t.Errorf("faults that were none: %v", failed)
	}
	if len(pass.Faults) != len(kinds) || pass.Decisions["accepted"] == 0 {
		t.Errorf("nothing was proved: %+v", pass)
	}
	t.Logf("%d revocations, receipts %v, decisions %v, faults %v", pass.Revocations, pass.Receipts, pass.Decisions, pass.Faults)
	return pass
}

// soon waits for a condition while a proof runs, and tells whether it came.
func soon(ctx context.Context, condition func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !condition() {
		if ctx.Err() != nil {
			return false
		}
		rest(ctx, 5*time.Millisecond)
	}
	return true
}

// TestFailoverThatLosesWrites: the primary acknowledges what its replica never
// gets, dies, and Sentinel promotes the replica (F-23).
func TestFailoverThatLosesWrites(t *testing.T) {
	primary := redistest.New(t)
	replica := redistest.New(t)
	follow := func(of, by *redistest.Redis) {
		host, port, _ := strings.Cut(of.Address(), ":")
		by.Do("REPLICAOF", host, port)
	}
	// Whoever changes its role drops its clients.
	replication := func(r *redistest.Redis) string {
		client := r.Client()
		defer client.Close()
		return client.Info(t.Context(), "replication").Val()
	}
	linked := func(r *redistest.Redis) bool { return strings.Contains(replication(r), "master_link_status:up") }
	follow(primary, replica)
	eventually(t, "the replica follows", func() bool { return linked(replica) })

	sentinel := redistest.NewSentinel(t, primary.Address(),
		"down-after-milliseconds 500", "failover-timeout 1500")
	sentinels := fmt.Sprintf("redis://%s?master_name=imara", sentinel)
	ask := redistest.ClientOf(sentinel)
	defer ask.Close()
	eventually(t, "Sentinel sees the replica", func() bool {
		list, err := ask.Do(t.Context(), "SENTINEL", "REPLICAS", "imara").Slice()
		return err == nil && len(list) == 1
	})

	server := serveDemo(t, t.TempDir(), address(t), "env", "IMARA_REDIS_URL="+sentinels)
	p := prove(t, server, sentinels)
	lost := 0
	top := func(r *redistest.Redis) int64 {
		client := r.Client()
		defer client.Close()
		return client.XLen(t.Context(), "{rev:"+os.Getenv("IMARA_ISSUER")+"}:log").Val()
	}
	failover := func(ctx context.Context) error {
		// From now on it gives the replica nothing.
		primary.Do("ACL", "SETUSER", "default", "-psync", "-sync")
		primary.Do("CLIENT", "KILL", "TYPE", "replica")
		at := top(replica)
		if !soon(ctx, func() bool { return top(primary) > at+3 }) {
			return errors.New("the primary acknowledged nothing that the replica lacks")
		}
		primary.Kill()
		if !soon(ctx, func() bool {
			now, err := ask.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "imara").StringSlice()
			return err == nil && strings.Join(now, ":") == replica.Address() && strings.Contains(replication(replica), "role:master")
		}) {
			return errors.New("Sentinel did not promote the replica")
		}
		lost++
		// The old primary comes back empty, and Sentinel says who follows whom: it may
		// change its mind on a busy machine.
		primary.Start()
		follow(replica, primary)
		if !soon(ctx, func() bool {
			now, err := ask.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "imara").StringSlice()
			if err != nil || len(now) != 2 {
				return false
			}
			if strings.Join(now, ":") != primary.Address() {
				primary, replica = replica, primary
			}
			list, err := ask.Do(ctx, "SENTINEL", "REPLICAS", "imara").Slice()
			return err == nil && linked(replica) && strings.Contains(fmt.Sprint(list...), "name:"+replica.Address()) && !strings.Contains(fmt.Sprint(list...), "disconnected")
		}) {
			return errors.New("the replica does not follow again")
		}
		return nil
	}
	pass := p.under(t, fault{"failover that loses writes", failover})
	if lost < 2 || pass.Receipts["confirmed"] == 0 {
		t.Errorf("%d failovers, receipts %v", lost, pass.Receipts)
	}
}
