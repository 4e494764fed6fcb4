package authz

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
	"github.com/imara/apikeys/keys"
)

func TestMain(m *testing.M) {
	code := m.Run()
	sqlstoretest.Stop()
	os.Exit(code)
}

// newSharedHouse is on Postgres: each server has a store of its own.
func newSharedHouse(t *testing.T) *house {
	t.Helper()
	url := sqlstoretest.URL(t)
	return &house{t: t, log: &syncBuffer{}, url: url}
}

// replica starts a server with its own connections.
func (h *house) replica(lease time.Duration) *running {
	h.t.Helper()
	sql, err := sqlstore.OpenPostgres(context.Background(), h.url)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { sql.Close() })
	h.store, h.sql = sql, sql
	r := h.start(lease)
	own := *h // this replica's, whatever starts later
	r.house = &own
	return r
}

// TestThreeServersOnePromise: verifiers follow three servers over HTTP, without
// Redis; keys are made, used and revoked at any of them. Every receipt counts
// everybody, and nobody accepts after it.
func TestThreeServersOnePromise(t *testing.T) {
	h := newSharedHouse(t)
	servers := []*running{h.replica(0), h.replica(0), h.replica(0)}
	var apis []*apiVerifier
	for i := range 6 {
		apis = append(apis, servers[i%3].follow(fmt.Sprint("api ", i), 0))
	}
	sum := int64(0)
	for i := range 30 {
		at := func(n int) *running { return servers[(i+n)%3] }
		c := at(0).demoKey()
		receipt, accepted := race(t, apis, at(1).token(c), func() (keys.Key, keys.Receipt, error) {
			return at(2).registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
		})
		sum += accepted
		if receipt.State != keys.Confirmed || receipt.Confirmed != 9 || receipt.Total != 9 {
			t.Fatalf("receipt %+v", receipt)
		}
		if a := at(0).post("/oauth2/token", c.Key.ClientID, c.Secret.Reveal(), "grant_type", "client_credentials"); a.status != 401 {
			t.Errorf("a token after the revoke: %d", a.status)
		}
	}
	if sum == 0 {
		t.Error("nothing was raced")
	}
}

// TestNewKeyWorksEverywhereAtOnce: a secret or scope made at one server works at
// the next request to another, which cannot have heard of it.
func TestNewKeyWorksEverywhereAtOnce(t *testing.T) {
	h := newSharedHouse(t)
	a, b := h.replica(0), h.replica(0)
	for range 20 {
		c := a.demoKey()
		b.token(c)
		rotated, err := a.registry.Rotate(context.Background(), keys.Program("test"), "org", c.Key.ID, keys.Overlap{})
		if err != nil {
			t.Fatal(err)
		}
		b.token(rotated)
	}
}

// TestDeadServerIsRetired: it is killed with verifiers attached. They move to
// another server; revocations wait for the dead one until its lease has ended,
// and not at all once it is retired.
func TestDeadServerIsRetired(t *testing.T) {
	h := newSharedHouse(t)
	alive := h.replica(time.Second)
	// A server that stops without a word: only its rows are left.
	dead := newSession("dead server", time.Second)
	dead.Via = dead.ID
	orphan := newSession("its verifier", time.Second)
	orphan.Via = dead.ID
	for _, s := range []keys.Session{dead, orphan} {
		if err := alive.store.Join(context.Background(), s, nil); err != nil {
			t.Fatal(err)
		}
	}
	c := alive.demoKey()
	_, receipt, err := alive.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
	if err != nil || receipt.State != keys.LeaseEnded || receipt.Confirmed != 1 || receipt.Total != 3 || receipt.Waited < time.Second {
		t.Errorf("receipt %+v, %v", receipt, err)
	}
	eventually(t, "both are retired", func() bool {
		sessions, err := alive.store.Sessions(context.Background())
		return err == nil && len(sessions) == 1
	})
	c = alive.demoKey()
	if _, receipt, err := alive.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil || receipt.State != keys.Confirmed || receipt.Total != 1 {
		t.Errorf("receipt %+v, %v", receipt, err)
	}
}

// TestSilentVerifierOfAnotherServerIsNotOurs: a server retires whom it serves; a
// verifier that is well at one server is not retired by the next.
func TestSilentVerifierOfAnotherServerIsNotOurs(t *testing.T) {
	h := newSharedHouse(t)
	a, b := h.replica(time.Second), h.replica(time.Second)
	api := a.follow("api", time.Second)
	session := func() string {
		sessions, err := a.store.Sessions(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sessions {
			if s.Name == "api" {
				return s.ID
			}
		}
		return ""
	}
	first := session()
	c := b.demoKey()
	// Longer than two leases, counted in beats of the servers.
	sessions := func() uint64 {
		all, err := b.store.Sessions(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		least := ^uint64(0)
		for _, s := range all {
			if s.Server() {
				least = min(least, s.Beat)
			}
		}
		return least
	}
	begin := sessions()
	eventually(t, "five beats", func() bool { return sessions() >= begin+5 })
	if again := session(); again != first || first == "" {
		t.Errorf("the session changed from %q to %q", first, again)
	}
	if _, err := api.Verify(b.token(c)); err != nil {
		t.Error(err)
	}
}
