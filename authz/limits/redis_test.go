package limits

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/redisfeed/redistest"
)

var nowhere = &redis.UniversalOptions{Addrs: []string{"127.0.0.1:1"}}

// hourly does not fill up while a test runs.
var hourly = keys.Rate{Burst: 100, Every: time.Hour}

// running returns a limiter of a server that shares its limits over a Redis.
func running(t *testing.T, options *redis.UniversalOptions, log *slog.Logger) *Limiter {
	t.Helper()
	l := newLimiter(t, Config{Redis: options, Issuer: "https://id.example.com", Secret: tokens.Secret(make([]byte, 32)), Logger: log})
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { l.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return l
}

// until asks again and again, for half a minute at most.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// TestServersShareABudget: what one server took is gone at the others, and at one that
// starts later; what was given back is there again; names cannot be read in Redis.
func TestServersShareABudget(t *testing.T) {
	server := redistest.New(t)
	options := &redis.UniversalOptions{Addrs: []string{server.Address()}}
	a, b := running(t, options, nil), running(t, options, nil)
	of := keys.Limited{What: "password", Who: "ann@example.com", From: "203.0.113.9"}
	a.Take(of, hourly, 60)
	b.Take(of, hourly, 30)
	until(t, "the second knows of both", func() bool { return b.Take(of, hourly, 0).Left <= 10 })
	until(t, "the first knows of both", func() bool { return a.Take(of, hourly, 0).Left <= 10 })
	late := running(t, options, nil)
	late.Take(of, hourly, 15)
	until(t, "one that starts later knows", func() bool { return late.Take(of, hourly, 0).Left == 0 })
	client := server.Client()
	defer client.Close()
	names, err := client.Keys(t.Context(), "*").Result()
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "limit:") || strings.Contains(name, "ann") || strings.Contains(name, "203") {
			t.Errorf("%s", name)
		}
		if ttl, err := client.PTTL(t.Context(), name).Result(); err != nil || ttl <= 0 {
			t.Errorf("%s is there for ever: %v, %v", name, ttl, err)
		}
	}
}

// TestWithoutRedisEachServerCountsAlone: nothing is closed and nothing open while Redis is
// away, the log says so once, and what was counted meanwhile is told later.
func TestWithoutRedisEachServerCountsAlone(t *testing.T) {
	var log syncBuffer
	server := redistest.New(t)
	options := &redis.UniversalOptions{Addrs: []string{server.Address()}}
	server.Kill()
	a := running(t, options, slog.New(slog.NewTextHandler(&log, nil)))
	of := keys.Limited{What: "x"}
	if b := a.Take(of, hourly, 80); b.Wait != 0 || b.Left != 20 {
		t.Errorf("%+v", b)
	}
	until(t, "the log tells", func() bool { return strings.Contains(log.String(), "limits are not shared") })
	if b := a.Take(of, hourly, 30); b.Wait == 0 {
		t.Errorf("more than there is: %+v", b)
	}
	server.Start()
	until(t, "the log tells that it is back", func() bool { return strings.Contains(log.String(), "shared again") })
	if n := strings.Count(log.String(), "limits are not shared"); n != 1 {
		t.Errorf("told %d times", n)
	}
	b := running(t, options, nil)
	b.Take(of, hourly, 15)
	until(t, "the other knows", func() bool { return b.Take(of, hourly, 0).Left <= 5 })
}

// TestTheShippedUserMayShareLimits: the server's user of deploy/redis/users.acl, and a
// verifier's may not.
func TestTheShippedUserMayShareLimits(t *testing.T) {
	acl, err := os.ReadFile("../../deploy/redis/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	server := redistest.New(t)
	admin := server.Client()
	defer admin.Close()
	for line := range strings.Lines(string(acl)) {
		words := strings.Fields(strings.Replace(line, "nopass", ">x", 1))
		if len(words) > 1 && words[0] == "user" && words[1] != "default" {
			if err := admin.ACLSetUser(t.Context(), words[1], words[2:]...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for user, want := range map[string]bool{"imara-server": true, "imara-verifier": false} {
		l := newLimiter(t, Config{Redis: nowhere, Issuer: "i", Secret: tokens.Secret(make([]byte, 32))})
		l.Take(keys.Limited{What: "x"}, hourly, 50)
		client := redis.NewClient(&redis.Options{Addr: server.Address(), Username: user, Password: "x"})
		defer client.Close()
		if err := l.tell(t.Context(), client); (err == nil) != want {
			t.Errorf("%s: %v", user, err)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
