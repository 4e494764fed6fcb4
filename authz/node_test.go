//go:build unix

package authz

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// nodeVerifier is written from PROTOCOL.md, in another language.
const nodeVerifier = "../tokens/testdata/verifier.mjs"

// A foreign is such a verifier as a process of its own.
type foreign struct {
	*candidate
	cmd  *exec.Cmd
	out  *bufio.Reader
	talk *bytes.Buffer
}

// node starts one, with one of its rules broken if mutant names one.
func (r *running) node(mutant string) *foreign {
	r.t.Helper()
	f := &foreign{candidate: r.candidate(), cmd: exec.Command("node", nodeVerifier, "serve"), talk: &bytes.Buffer{}}
	f.cmd.Env = append(os.Environ(), "IMARA_ISSUER="+r.issuer, "API_AUDIENCE="+demoAPI, "MUTANT="+mutant,
		"IMARA_CLIENT_ID="+f.key.Key.ClientID, "IMARA_CLIENT_SECRET="+f.key.Secret.Reveal())
	f.cmd.Stderr = f.talk
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	f.out = bufio.NewReader(out)
	if err := f.cmd.Start(); err != nil {
		r.t.Fatalf("node: %v (make tools)", err)
	}
	r.t.Cleanup(func() { f.cmd.Process.Kill(); f.cmd.Wait() })
	return f
}

// says is its next line: that it is ready, or why not.
func (f *foreign) says() string {
	f.t.Helper()
	line, err := f.out.ReadString('\n')
	if err != nil {
		f.t.Fatalf("%v: %s", err, f.talk)
	}
	return strings.TrimSpace(line)
}

// decides is the status of its answer about a token.
func (f *foreign) decides(url, raw string) int {
	f.t.Helper()
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+raw)
	return send(f.t, request).status
}

// TestVerifierInAnotherLanguageKeepsThePromise: one that is written from PROTOCOL.md
// passes the examination; every receipt counts it, and what it counts is true. It joins
// again when its session ends, and takes leave.
func TestVerifierInAnotherLanguageKeepsThePromise(t *testing.T) {
	h := newHouse(t)
	h.requireProof = true
	s := h.start(0)
	node := s.node("")
	ready := strings.Fields(node.says())
	if len(ready) != 3 || ready[0] != "ready" {
		t.Fatalf("%q %s", ready, node.talk)
	}
	url := ready[1]
	revoked := func() {
		t.Helper()
		c := s.demoKey()
		raw := s.token(c)
		if status := node.decides(url, raw); status != 200 {
			t.Fatalf("a good token: %d", status)
		}
		_, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
		if err != nil || receipt.State != keys.Confirmed || receipt.Total != 2 {
			t.Fatalf("%+v, %v", receipt, err)
		}
		if status := node.decides(url, raw); status != 401 {
			t.Fatalf("after the receipt: %d", status)
		}
	}
	for range 20 {
		revoked()
	}
	other := s.token(s.key("org", keys.Access{Scopes: []string{"invoices:read"}}))
	if status := node.decides(url, other); status != 401 {
		t.Errorf("a token of another API: %d", status)
	}
	node.survivesAStolenKey(url)
	if _, err := s.store.Append(t.Context(), keys.Entry{Kind: tokens.Cut, Subject: tokens.Session(ready[2])}); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Leave(t.Context(), ready[2]); err != nil {
		t.Fatal(err)
	}
	if again := strings.Fields(node.says()); len(again) != 3 || again[2] == ready[2] {
		t.Fatalf("%q", again)
	}
	revoked()
	if got := s.unproved(); !slices.Equal(got, []string{"node verifier 2 imara-example-node/1.0 []"}) {
		t.Errorf("%v", got)
	}
	node.cmd.Process.Signal(syscall.SIGTERM)
	if err := node.cmd.Wait(); err != nil || len(s.followers()) != 0 {
		t.Errorf("%v, left behind: %v", err, s.unproved())
	}
}

// survivesAStolenKey withdraws the key that signs: no token of it is accepted any more,
// and none of the next one is refused.
func (f *foreign) survivesAStolenKey(url string) {
	f.t.Helper()
	c := f.demoKey()
	stolen := f.running.token(c)
	seen, err := tokens.Inspect(stolen)
	if err != nil {
		f.t.Fatal(err)
	}
	receipt, err := f.registry.WithdrawSigningKey(context.Background(), keys.Program("test"), seen.Header.KeyID, "stolen")
	if err != nil || receipt.State != keys.Confirmed {
		f.t.Fatalf("%+v, %v", receipt, err)
	}
	if status := f.decides(url, stolen); status != 401 {
		f.t.Errorf("signed by a key that was withdrawn: %d", status)
	}
	fresh := f.running.token(c)
	eventually(f.t, "the next key is known", func() bool {
		status := f.decides(url, fresh)
		if status == 401 {
			f.t.Fatal("a good token is refused, not unknown, while the next key is not known")
		}
		return status == 200
	})
}

// mutants of that verifier, and rules of which each breaks one at least.
var mutants = map[string][]string{
	"prefix":       {"client"},
	"inclusive":    {"position"},
	"floor":        {"floor"},
	"raised-floor": {"floor_raised"},
	"snapshot":     {"everything"},
	"pages":        {"client", "organization", "token", "secret"},
	"end":          {"session_end"},
	"cache":        {"floor_raised"},
	"type":         {"type"},
	"signature":    {"signature"},
	"issuer":       {"issuer"},
	"audience":     {"audience"},
	"expiry":       {"expiry"},
	"terminal":     {"signing_key"},
	"stale":        {"lease"},
	"tip":          {"tip"},
	"joining":      {"join"},
	"touch":        {"client"},
	"secret":       {"secret"},
}

func breaks(mutant string, rules []string) bool {
	return slices.ContainsFunc(mutants[mutant], func(rule string) bool { return slices.Contains(rules, rule) })
}

// TestEveryMutantIsFoundAtTheJoin: a server that requires proof names the rule and
// stores nothing; one that observes lets it join, and counts it as unproved.
func TestEveryMutantIsFoundAtTheJoin(t *testing.T) {
	for _, require := range []bool{true, false} {
		t.Run(fmt.Sprintf("require=%v", require), func(t *testing.T) {
			h := newHouse(t)
			h.requireProof = require
			s := h.start(0)
			said := make(map[string]string)
			for some := range slices.Chunk(slices.Sorted(maps.Keys(mutants)), 5) {
				var nodes []*foreign
				for _, mutant := range some {
					nodes = append(nodes, s.node(mutant))
				}
				for i, mutant := range some {
					said[mutant] = nodes[i].says()
				}
			}
			answer, stored := "ready http://", len(mutants)
			if require {
				answer, stored = "refused 409 verifier_unproved ", 0
			}
			for mutant, line := range said {
				if words := strings.Fields(line); !strings.HasPrefix(line, answer) || !breaks(mutant, words[3:]) {
					t.Errorf("%s: %q, want %s… %v", mutant, line, answer, mutants[mutant])
				}
			}
			listed := 0
			for _, session := range s.followers() {
				mutant := strings.TrimPrefix(session.Name, "node ")
				if listed++; !breaks(mutant, session.Broken()) {
					t.Errorf("%s is listed with %v, want %v", mutant, session.Broken(), mutants[mutant])
				}
			}
			if listed != stored {
				t.Errorf("%d sessions are stored, want %d", listed, stored)
			}
			if got, want := s.Examinations(), (Examinations{Failed: uint64(len(mutants))}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// TestVectorsFindTheMutants: they measure a verifier before it meets a server. One that
// keeps verdicts is found by an examination only, which asks twice.
func TestVectorsFindTheMutants(t *testing.T) {
	run := func(mutant string) (string, error) {
		cmd := exec.Command("node", nodeVerifier, "vectors", "../tokens/testdata/vectors.json")
		cmd.Env = append(os.Environ(), "MUTANT="+mutant)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(""); err != nil || !strings.Contains(out, " vectors, 0 wrong") {
		t.Errorf("the right one: %v\n%s", err, out)
	}
	for mutant := range mutants {
		if out, err := run(mutant); (err == nil) != (mutant == "cache") || !strings.Contains(out, " wrong") {
			t.Errorf("%s: %v\n%s", mutant, err, out)
		}
	}
}
