//go:build linux

package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
	"github.com/imara/apikeys/tokens/redisfeed/redistest"
)

// replicas starts servers on one database, with one master key. env are more
// NAME=VALUE for one of them.
func replicas(t *testing.T, databaseURL, issuer string) (start func(listen string, env ...string) *child) {
	dir := t.TempDir()
	key := filepath.Join(dir, "master.key")
	secret := make([]byte, 32)
	rand.Read(secret)
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
		t.Fatal(err)
	}
	url := filepath.Join(dir, "url")
	if err := os.WriteFile(url, []byte(databaseURL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(listen string, env ...string) *child {
		wrap := append([]string{"env", "IMARA_DATABASE_URL_FILE=" + url, "IMARA_MASTER_KEY_FILE=" + key}, env...)
		return serveDemo(t, dir, listen, append(wrap, "sh", "-c", `exec "$@" --issuer `+issuer, "--")...)
	}
}

// TestTwoServersOneDatabase: the same story over Postgres, with two processes, a
// gateway at each, and one of the servers killed in between.
func TestTwoServersOneDatabase(t *testing.T) {
	first, second := address(t), address(t)
	start := replicas(t, sqlstoretest.URL(t), "http://"+first)
	one := start(first)
	two := start(second)
	env := one.env()
	token := one.demoToken()
	everywhere := []string{one.url + "/demo/alerts", two.url + "/demo/alerts", one.gateway(), two.gateway()}
	for _, url := range everywhere {
		if status, body, err := request(url, token); status != 200 {
			t.Errorf("%s: %d %s %v", url, status, body, err)
		}
	}
	if code, out, talk := two.imara("", "keys", "revoke", env["CLIENT_ID"], "--url", two.url, "--yes"); code != 0 || !strings.Contains(out, "4 of 4 verifiers confirmed") {
		t.Errorf("%d %s %s", code, out, talk)
	}
	for _, url := range everywhere {
		if status, body, err := request(url, token); status != 401 {
			t.Errorf("after the revoke, %s: %d %s %v", url, status, body, err)
		}
	}
	out, err := exec.Command("imara", "serve", "--database-url", "postgres://x@127.0.0.1:1/x").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--master-key-file") {
		t.Errorf("without a master key: %v %s", err, out)
	}
}

// TestServerKilledBetweenCommitAndPublish: its way to Redis is held, a revocation
// is stored and never published by it, and it is killed. Another server publishes
// it, no verifier accepts past its lease, and it gets its receipt (F-01, F-57).
func TestServerKilledBetweenCommitAndPublish(t *testing.T) {
	r := redistest.New(t)
	database := sqlstoretest.New(t)
	first, second := address(t), address(t)
	start := replicas(t, database.Database(t, "killed"), "http://"+first)
	way, err := newWire(r.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(way.close)
	one := start(first, "IMARA_REDIS_URL=redis://"+way.address())
	two := start(second, "IMARA_REDIS_URL="+r.URL())
	p := prove(t, two, r.URL())
	operator := two.operatorToken()
	for round := range 3 {
		created, answer := two.create(operator, fmt.Sprint("doomed ", round))
		if answer.status != 201 {
			t.Fatalf("%d %s", answer.status, answer.body)
		}
		token, _ := two.tokenFor(created.Key.ClientID, created.Secret.Value)
		run := &proofRun{proof: p}
		for _, v := range p.verifiers {
			eventually(t, "it is accepted", func() bool { accepted, _ := run.ask(t.Context(), v, created.Key.ID, token); return accepted })
		}
		way.hold(true)
		run.history.Revoking(created.Key.ID, time.Now())
		answered := make(chan int, 1)
		go func() { answered <- one.revoke(operator, created.Key.ID).status }()
		eventually(t, "it is committed", func() bool {
			return database.Count("killed", `SELECT count(*) FROM keys WHERE revoked_at > 0 AND id = '`+created.Key.ID+`'`) == 1
		})
		one.kill()
		// Their lease is a second, and the clocks' margin a tenth.
		run.history.Bound(created.Key.ID, time.Now().Add(1100*time.Millisecond))
		<-answered
		for _, v := range p.verifiers {
			eventually(t, "it is refused", func() bool {
				accepted, decided := run.ask(t.Context(), v, created.Key.ID, token)
				return decided && !accepted
			})
		}
		if found := run.history.Violations(); len(found) > 0 {
			t.Errorf("round %d: %v", round, found)
		}
		way.hold(false)
		one = start(first, "IMARA_REDIS_URL=redis://"+way.address())
	}
	// Of a cut whose server died at once all that will be known is that the longest lease
	// has ended: until then its receipt says that it waits, and for how long at most.
	list := two.ask("GET", "/receipts", operator, "")
	var receipts management.List[authz.Receipt]
	if err := json.Unmarshal([]byte(list.body), &receipts); err != nil || len(receipts.Data) < 3 {
		t.Fatalf("%d %s", list.status, list.body)
	}
	for _, receipt := range receipts.Data {
		r := two.ask("GET", fmt.Sprint("/receipts/", receipt.Position), operator, "")
		var now authz.Receipt
		err := json.Unmarshal([]byte(r.body), &now)
		if waits := now.State == "waiting"; err != nil || waits && (now.Latest == nil || time.Until(*now.Latest) > 65*time.Second) {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
}
