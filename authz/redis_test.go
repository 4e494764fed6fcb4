//go:build unix

package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/redisfeed"
	"github.com/imara/apikeys/tokens/redisfeed/redistest"
)

// newRedisHouse has a Redis as well.
func newRedisHouse(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	h.redis = redistest.New(t)
	return h
}

// TestRevocationOverRedis: all is well, so every receipt is confirmed by all.
func TestRevocationOverRedis(t *testing.T) {
	s := newRedisHouse(t).start(0)
	var apis []*apiVerifier
	for i := range 6 {
		apis = append(apis, s.followRedis(fmt.Sprint("api ", i), 0, s.redis.Address()))
	}
	apis = append(apis, s.follow("over HTTP", 0))
	for _, r := range raceAll(t, s, apis, 25, func(int) {}) {
		if r.State != keys.Confirmed || r.Total != 8 {
			t.Errorf("receipt %+v", r)
		}
	}
}

// TestNoAcceptanceWhileRedisIsHarmed: flushed, killed and restarted empty, paused,
// its keys deleted one by one. Some receipts wait for a lease; no token is
// accepted after one (H1 to H6, F-20, F-22).
func TestNoAcceptanceWhileRedisIsHarmed(t *testing.T) {
	h := newRedisHouse(t)
	s := h.start(0)
	var apis []*apiVerifier
	for i := range 4 {
		apis = append(apis, s.followRedis(fmt.Sprint("api ", i), time.Second, s.redis.Address()))
	}
	tag := "{rev:" + s.issuer + "}"
	harms := []func(){
		func() { h.redis.Do("FLUSHALL") },
		func() { h.redis.Kill(); h.redis.Start() },
		func() { h.redis.Do("DEL", tag+":log") },
		func() { h.redis.Do("DEL", tag+":hb") },
		func() { h.redis.Do("DEL", tag+":ack", tag+":wm") },
		func() { h.redis.Do("XTRIM", tag+":log", "MAXLEN", "0") },
		func() {
			h.redis.Signal(syscall.SIGSTOP)
			time.AfterFunc(1500*time.Millisecond, func() { h.redis.Signal(syscall.SIGCONT) })
		},
		func() { h.redis.Do("HSET", tag+":hb", "dr", "0") },
	}
	raceAll(t, s, apis, 24, func(i int) { harms[i%len(harms)]() })
	eventually(t, "all verifiers are fresh again", func() bool {
		for _, api := range apis {
			if api.feed.Revocations().Fresh() != nil {
				return false
			}
		}
		return true
	})
	c := s.demoKey()
	raw := s.token(c)
	for _, api := range apis {
		eventually(t, "a new token is accepted", func() bool { _, err := api.Verify(raw); return err == nil })
	}
}

// neverRefuses asks about a token without pause until it is stopped: an answer that it is
// not good, or not known, fails the test.
func (v *apiVerifier) neverRefuses(t *testing.T, raw string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for tick := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-tick.C {
			if _, err := v.Verify(raw); err != nil {
				t.Errorf("on the way around: %v", err)
				return
			}
		}
	}()
	return func() { cancel(); <-watched }
}

// TestRedisThatIsGoneIsGoneAround: verifiers go on over HTTP, tokens are issued,
// revocations are confirmed; when it is back, they return to it. No request is
// refused for that: the old view serves until the new one does.
func TestRedisThatIsGoneIsGoneAround(t *testing.T) {
	h := newRedisHouse(t)
	s := h.start(0)
	api := s.followRedis("api", 6*time.Second, s.redis.Address())
	defer api.neverRefuses(t, s.token(s.demoKey()))()
	via := func() string {
		sessions, err := s.store.Sessions(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, session := range sessions {
			if session.Name == "api" {
				return session.Via
			}
		}
		return ""
	}
	if via() != viaRedis {
		t.Fatalf("follows via %q", via())
	}
	h.redis.Kill()
	eventually(t, "it follows over HTTP", func() bool { v := via(); return v != viaRedis && v != "" && api.feed.Revocations().Fresh() == nil })
	c := s.demoKey()
	raw := s.token(c)
	if _, err := api.Verify(raw); err != nil {
		t.Errorf("without Redis: %v", err)
	}
	if _, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil {
		t.Errorf("%+v, %v", receipt, err)
	}
	if _, err := api.Verify(raw); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("revoked without Redis: %v", err)
	}
	h.redis.Start()
	eventually(t, "it follows over Redis again", func() bool { return via() == viaRedis && api.feed.Revocations().Fresh() == nil })
}

// TestStreamOfAnotherDatabaseIsReplaced: the database was put back, or Redis
// belonged to another one; a stream that is not ours at all is left alone.
func TestStreamOfAnotherDatabaseIsReplaced(t *testing.T) {
	h := newRedisHouse(t)
	s := h.start(0)
	api := s.followRedis("api", 0, s.redis.Address())
	c := s.demoKey()
	raw := s.token(c)
	stream := "{rev:" + s.issuer + "}:log"
	h.redis.Do("DEL", stream)
	h.redis.Do("XADD", stream, "7-0", "v", "1", "s", "c:x", "k", "cut", "t", "0", "h", "1")
	eventually(t, "it is noticed", func() bool { return strings.Contains(h.log.String(), "log of another database") })
	eventually(t, "the verifier decides again", func() bool { _, err := api.Verify(raw); return err == nil })
	if _, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil || receipt.State != keys.Confirmed {
		t.Errorf("%+v, %v", receipt, err)
	}
	for what, fields := range map[string][]any{"a newer version": {"v", "2", "s", "c:x"}, "a stranger": {"hello", "world"}} {
		h.redis.Do("DEL", stream)
		h.redis.Do(append([]any{"XADD", stream, "9999999999999-0"}, fields...)...)
		eventually(t, what+" is named", func() bool {
			return strings.Contains(h.log.String(), "not an entry of the revocation log: 9999999999999-0")
		})
		if n := h.redis.Do("XLEN", stream); n != int64(1) {
			t.Errorf("%s: the stream has %v entries now", what, n)
		}
		h.redis.Do("DEL", stream)
	}
}

// TestEvictingRedisIsRefused: with the command that mends it (F-24).
func TestEvictingRedisIsRefused(t *testing.T) {
	for policy, refused := range map[string]bool{"allkeys-lru": true, "volatile-ttl": true, "noeviction": false} {
		r := redistest.New(t, "--maxmemory", "50mb", "--maxmemory-policy", policy)
		p := redisfeed.NewPublisher(r.Options(), "https://issuer.example", make([]byte, 32))
		err := p.Check(t.Context())
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "CONFIG SET maxmemory-policy noeviction") {
			t.Errorf("%s: %v", policy, err)
		}
		p.Close()
	}
}

// TestFullRedisIsLikeNoRedis: writes fail, so polls fail; verifiers go around it.
func TestFullRedisIsLikeNoRedis(t *testing.T) {
	h := newRedisHouse(t)
	s := h.start(0)
	api := s.followRedis("api", 2*time.Second, s.redis.Address())
	h.redis.Do("CONFIG", "SET", "maxmemory", "1")
	c := s.demoKey()
	raw := s.token(c)
	if _, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil {
		t.Errorf("%+v, %v", receipt, err)
	}
	if _, err := api.Verify(raw); err == nil {
		t.Error("accepted after the revoke returned")
	}
	h.redis.Do("CONFIG", "SET", "maxmemory", "0")
	eventually(t, "it is fresh", func() bool { return api.feed.Revocations().Fresh() == nil })
}

// TestReplicaIsRefused: a poll is a write, so a verifier that was sent to a
// replica learns nothing from it (H11, F-25).
func TestReplicaIsRefused(t *testing.T) {
	h := newRedisHouse(t)
	s := h.start(0)
	replica := redistest.New(t)
	host, port, _ := strings.Cut(h.redis.Address(), ":")
	replica.Do("REPLICAOF", host, port)
	eventually(t, "it replicates", func() bool { return replica.Do("EXISTS", "{rev:"+s.issuer+"}:hb") == int64(1) })
	api := s.followRedis("at a replica", 2*time.Second, replica.Address())
	c := s.demoKey()
	raw := s.token(c)
	if _, err := api.Verify(raw); err != nil {
		t.Errorf("it went around it: %v", err)
	}
	if !strings.Contains(h.log.String(), "READONLY") {
		t.Error("nobody was told")
	}
	if _, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil || receipt.Total != 2 {
		t.Errorf("%+v, %v", receipt, err)
	}
	if _, err := api.Verify(raw); err == nil {
		t.Error("accepted after the revoke returned")
	}
}

// shippedUsers adds the users of deploy/redis/users.acl to nodes, which keep the
// administrator that they have.
func shippedUsers(t *testing.T, nodes ...*redistest.Redis) {
	t.Helper()
	text, err := os.ReadFile("../deploy/redis/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	users := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "user ") || strings.Contains(line, "default") {
			continue
		}
		users++
		command := []any{"ACL", "SETUSER"}
		for _, f := range strings.Fields(line)[1:] {
			command = append(command, f)
		}
		for _, n := range nodes {
			n.Do(command...)
		}
	}
	if users != 2 {
		t.Fatalf("%d users", users)
	}
}

// TestUsersWithFewRights: the users of deploy/redis/users.acl can do what they
// need, and a verifier's cannot write what is published.
func TestUsersWithFewRights(t *testing.T) {
	r := redistest.New(t)
	shippedUsers(t, r)
	h := newHouse(t)
	h.redis = r
	h.redisUser = "imara-server"
	s := h.start(0)
	// One, and so many that they are counted before they are listed.
	for _, verifiers := range []int{1, 6} {
		var api *apiVerifier
		for range verifiers {
			api = s.followRedisAs("api", 10*time.Second, r.Address(), "imara-verifier")
		}
		for range 5 {
			c := s.demoKey()
			raw := s.token(c)
			if _, err := api.Verify(raw); err != nil {
				t.Error(err)
			}
			if _, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil || receipt.State != keys.Confirmed {
				t.Errorf("%+v, %v", receipt, err)
			}
		}
	}
	if strings.Contains(h.log.String(), "NOPERM") {
		t.Errorf("a right is missing: %s", h.log)
	}
	// Redis may lose the scripts at any time: the servers load them again.
	api := s.followRedisAs("api", 10*time.Second, r.Address(), "imara-verifier")
	for range 3 {
		r.Do("SCRIPT", "FLUSH")
		c := s.demoKey()
		raw := s.token(c)
		_, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
		if err != nil || receipt.State != keys.Confirmed {
			t.Errorf("after the scripts were lost: %+v, %v", receipt, err)
		}
		if _, err := api.Verify(raw); !errors.Is(err, tokens.ErrRevoked) {
			t.Errorf("after the scripts were lost: %v", err)
		}
	}
	verifier := redis.NewClient(&redis.Options{Addr: r.Address(), Username: "imara-verifier", Password: "x"})
	defer verifier.Close()
	tag := "{rev:" + s.issuer + "}"
	for _, command := range [][]any{{"XADD", tag + ":log", "*", "a", "b"}, {"HSET", tag + ":hb", "dr", "99999999"}, {"DEL", tag + ":log"}, {"FLUSHALL"}, {"CONFIG", "GET", "*"},
		{"EVAL", "while true do end", "0"}, {"EVAL_RO", "while true do end", "0"},
		{"SCRIPT", "LOAD", "while true do end"}, {"SCRIPT", "FLUSH"}, {"FUNCTION", "LOAD", "x"}, {"FCALL", "x", "0"},
		{"EVAL", "return redis.call('HSET', KEYS[1], 'dr', '9')", "1", tag + ":hb"}, {"GET", "other"}} {
		if err := verifier.Do(t.Context(), command...).Err(); !redis.HasErrorPrefix(err, "NOPERM") {
			t.Errorf("%v: %v", command, err)
		}
	}
}

// TestRedisCluster: the keys are in one slot, so that scripts and pipelines run.
func TestRedisCluster(t *testing.T) {
	h := newHouse(t)
	h.redis = redistest.NewClusterNode(t)
	h.redis.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	eventually(t, "the cluster is whole", func() bool {
		return strings.Contains(fmt.Sprint(h.redis.Do("CLUSTER", "INFO")), "cluster_state:ok")
	})
	h.cluster = true
	s := h.start(0)
	api := s.followRedis("api", 2*time.Second, s.redis.Address())
	for range 10 {
		c := s.demoKey()
		raw := s.token(c)
		if _, err := api.Verify(raw); err != nil {
			t.Fatalf("%v\n%s", err, h.log)
		}
		if _, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil || receipt.State != keys.Confirmed || receipt.Total != 2 {
			t.Fatalf("%+v, %v", receipt, err)
		}
	}
	if via, err := s.store.Sessions(context.Background()); err != nil || via[1].Via != viaRedis {
		t.Errorf("%+v, %v", via, err)
	}
}

// TestClusterWhoseMasterDies: of the slot of the log. Verifiers go around over HTTP until its
// replica is promoted, and then come back by themselves; no request is refused meanwhile,
// and each revocation has its receipt. The users are those of deploy/redis/users.acl.
func TestClusterWhoseMasterDies(t *testing.T) {
	h := newHouse(t)
	nodes := redistest.NewCluster(t)
	shippedUsers(t, nodes...)
	h.redis, h.cluster, h.redisUser = nodes[0], true, "imara-server"
	s := h.start(0)
	api := s.followRedisAs("api", 6*time.Second, s.redis.Address(), "imara-verifier")
	ctx := context.Background()
	defer api.neverRefuses(t, s.token(s.demoKey()))()
	follows := func() bool { // over Redis
		sessions, err := s.store.Sessions(ctx)
		if err != nil {
			t.Fatal(err)
		}
		over := func(x keys.Session) bool { return x.Name == "api" && x.Via == viaRedis }
		return slices.ContainsFunc(sessions, over) && api.feed.Revocations().Fresh() == nil
	}
	revoke := func(when string) keys.ReceiptState {
		c := s.demoKey()
		raw := s.token(c)
		_, receipt, err := s.registry.Revoke(ctx, keys.Program("test"), "org", c.Key.ID, "")
		if err != nil || !receipt.Settled() {
			t.Errorf("%s: %+v, %v", when, receipt, err)
		}
		if _, err := api.Verify(raw); !errors.Is(err, tokens.ErrRevoked) {
			t.Errorf("%s: %v", when, err)
		}
		return receipt.State
	}
	eventually(t, "it follows over Redis", follows)
	if state := revoke("before"); state != keys.Confirmed {
		t.Error(state)
	}
	nodes[0].Kill()
	revoke("as it dies")
	eventually(t, "it follows over Redis again", follows)
	if state := revoke("at the replica"); state != keys.Confirmed {
		t.Error(state)
	}
	if role := fmt.Sprint(nodes[3].Do("ROLE")); !strings.Contains(role, "master") {
		t.Errorf("the replica is not promoted: %s", role)
	}
}

// TestSessionRetiredBeforeItBeganIsRefused: between its row and its snapshot the
// process stood still, and another server retired it, waited, and waits no more.
// Such a session would never meet its own end.
func TestSessionRetiredBeforeItBeganIsRefused(t *testing.T) {
	h := newRedisHouse(t)
	store := &hasty{Store: h.sql}
	h.store = store
	s := h.start(0)
	store.left.Store(2)
	for _, api := range []*apiVerifier{s.followRedis("over redis", 0, s.redis.Address()), s.follow("over http", 0)} {
		c := s.demoKey()
		receipt, _ := race(t, []*apiVerifier{api}, s.token(c), func() (keys.Key, keys.Receipt, error) {
			return s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
		})
		if receipt.State != keys.Confirmed {
			t.Errorf("%+v", receipt)
		}
	}
	if store.left.Load() != 0 {
		t.Error("no session was retired before it began")
	}
	sessions, err := h.sql.Sessions(context.Background())
	if err != nil || len(sessions) != 3 {
		t.Errorf("%d sessions, want the server's and two that began: %v", len(sessions), err)
	}
}

// hasty retires sessions in the moment in which they are stored.
type hasty struct {
	*sqlstore.Store
	left atomic.Int64
}

func (h *hasty) Join(ctx context.Context, s keys.Session, admit keys.AdmitSession) error {
	if err := h.Store.Join(ctx, s, admit); err != nil || s.Server() || h.left.Add(-1) < 0 {
		h.left.CompareAndSwap(-1, 0)
		return err
	}
	if _, err := h.Store.Append(ctx, keys.Entry{Kind: tokens.Cut, Subject: tokens.Session(s.ID)}); err != nil {
		return err
	}
	return h.Store.Leave(ctx, s.ID)
}

// TestForeignEntryIsGoneAround: what a newer version wrote takes no verifier out
// of service while the server answers over HTTP.
func TestForeignEntryIsGoneAround(t *testing.T) {
	h := newRedisHouse(t)
	s := h.start(0)
	api := s.followRedis("api", 0, s.redis.Address())
	raw := s.token(s.demoKey())
	h.redis.Do("XADD", "{rev:"+s.issuer+"}:log", "9999999999999-0", "v", "2", "s", "c:x")
	eventually(t, "it is named", func() bool { return strings.Contains(h.log.String(), `has version \"2\"`) })
	eventually(t, "it follows over HTTP", func() bool {
		sessions, err := s.store.Sessions(context.Background())
		return err == nil && len(sessions) == 2 && sessions[1].Via != viaRedis && api.feed.Revocations().Fresh() == nil
	})
	if _, err := api.Verify(raw); err != nil {
		t.Error(err)
	}
}

// TestStreamBehindARestoredDatabaseIsReplaced: its top is in the backup as well,
// and an entry is written before the first round.
func TestStreamBehindARestoredDatabaseIsReplaced(t *testing.T) {
	h := newRedisHouse(t)
	s := h.start(0)
	c := s.demoKey()
	hb := "{rev:" + s.issuer + "}:hb"
	tip := fmt.Sprint(s.relay.revocations.Watermark())
	eventually(t, "all of it is published", func() bool { return h.redis.Do("HGET", hb, "tip") == tip })
	s.stop()
	if err := errors.Join(h.sql.Restored(t.Context()), h.sql.Waited(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, err := h.sql.Append(t.Context(), keys.Entry{Kind: tokens.Cut, Subject: "c:x"}); err != nil {
		t.Fatal(err)
	}
	again := h.start(0)
	api := again.followRedis("api", 0, again.redis.Address())
	if _, err := api.Verify(again.token(c)); err != nil {
		t.Error(err)
	}
}

// TestServerWithoutRedisRetiresNobodyThere: not to have asked is not silence, while another
// server reads Redis. Without one, nobody confirms there any more: who is silent for as
// long as we have watched is retired, and joins again if it lives.
func TestServerWithoutRedisRetiresNobodyThere(t *testing.T) {
	v := keys.Session{ID: "v", Via: viaRedis, Lease: 10 * time.Second, Poll: "one"}
	publisher := keys.Session{ID: "b", Via: "b", Lease: time.Hour, Implementation: "imara-server/1" + withRedis}
	type step struct {
		after time.Duration
		knows bool
		gone  int
	}
	for name, row := range map[string]struct {
		others []keys.Session
		steps  []step
	}{
		"one that publishes": {[]keys.Session{publisher}, []step{{0, false, 0}, {time.Hour, false, 0}, {time.Hour, true, 0}, {time.Hour + 19*time.Second, true, 0},
			{time.Hour + 21*time.Second, false, 0}, {time.Hour + 22*time.Second, true, 0}, {time.Hour + 43*time.Second, true, 1}}},
		"none": {nil, []step{{0, false, 0}, {19 * time.Second, false, 0}, {21 * time.Second, false, 1}}},
	} {
		r := newRelay(t, RelayConfig{Log: keystest.NewMemory(), Name: "x", Logger: slog.New(slog.DiscardHandler)})
		r.session, r.followers = "a", map[string]*follower{"a": {}}
		watched, now := map[string]watch{}, time.Now()
		sessions := append([]keys.Session{{ID: "a", Via: "a"}, v}, row.others...)
		for _, step := range row.steps {
			if gone := r.silentFor(sessions, step.knows, watched, now.Add(step.after)); len(gone) != step.gone {
				t.Errorf("%s, after %v: retires %d, want %d", name, step.after, len(gone), step.gone)
			}
		}
	}
}

// TestServerThatDoesNotPublishIsFollowedOverHTTP: a verifier was told of a Redis
// that its server knows nothing of.
func TestServerThatDoesNotPublishIsFollowedOverHTTP(t *testing.T) {
	elsewhere := redistest.New(t)
	s := newHouse(t).start(0)
	api := s.followRedis("api", 0, elsewhere.Address())
	c := s.demoKey()
	receipt, _ := race(t, []*apiVerifier{api}, s.token(c), func() (keys.Key, keys.Receipt, error) {
		return s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
	})
	if receipt.State != keys.Confirmed || receipt.Total != 2 {
		t.Errorf("%+v", receipt)
	}
}
