package httpfeed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// The protocol with a real server is tested where the server is, in authz. Here
// the server is a liar.

type server struct {
	*httptest.Server
	tokens, joins, polls, leaves atomic.Int64
	mu                           sync.Mutex
	answer                       string // to polls; a status if it is a number
	slow                         bool   // nobody who leaves first is answered
}

func newServer(t *testing.T, answer string) *server {
	s := &server{answer: answer}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		n := s.tokens.Add(1)
		if id, secret, _ := r.BasicAuth(); id != "client" || secret != "secret" || r.FormValue("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprintf(w, `{"access_token":"t%d","expires_in":600}`, n)
	})
	mux.HandleFunc("POST /feed/sessions", func(w http.ResponseWriter, r *http.Request) {
		s.joins.Add(1)
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(httpfeed.Joined{Session: "ver_1", Watermark: 100, Floor: 1})
	})
	mux.HandleFunc("GET /feed/sessions/{session}", func(w http.ResponseWriter, r *http.Request) {
		s.polls.Add(1)
		s.mu.Lock()
		answer := s.answer
		s.mu.Unlock()
		var status int
		if n, err := fmt.Sscan(answer, &status); n == 1 && err == nil {
			w.WriteHeader(status)
			return
		}
		// The feed expects its own words back; a liar may keep them.
		fmt.Fprint(w, strings.NewReplacer("NONCE", r.FormValue("nonce"), "SESSION", r.PathValue("session")).Replace(answer))
	})
	mux.HandleFunc("DELETE /feed/sessions/{session}", func(w http.ResponseWriter, r *http.Request) {
		if s.leaves.Add(1) == 1 && s.slow {
			<-r.Context().Done()
		}
		w.WriteHeader(http.StatusNoContent)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func run(t *testing.T, s *server) (feed *httpfeed.Feed, stop func()) {
	t.Helper()
	feed, err := httpfeed.New(httpfeed.Config{URL: s.URL, Name: "test", Lease: time.Minute, ClientID: "client", ClientSecret: "secret", Client: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- feed.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Cleanup(stop)
	return feed, stop
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}

// TestAnswersThatProveNothingRenewNothing: whatever a server says instead of
// evidence, the verifier stays without a lease.
func TestAnswersThatProveNothingRenewNothing(t *testing.T) {
	entry := func(position int) string {
		return fmt.Sprintf(`{"seq":%d,"subject":"c:x","kind":"cut","head":1}`, position)
	}
	for name, answer := range map[string]string{
		"a maintenance page":    `{"status":"maintenance"}`,
		"an empty object":       `{}`,
		"another poll's answer": `{"session":"SESSION","nonce":"another","entries":[],"tip":100,"floor":1,"age_us":0}`,
		"another session's":     `{"session":"ver_2","nonce":"NONCE","entries":[],"tip":100,"floor":1,"age_us":0}`,
		"no tip":                `{"session":"SESSION","nonce":"NONCE","entries":[],"floor":1,"age_us":0}`,
		"500":                   "500", "401": "401", "404": "404", "410": "410", "redirect": "302", "html": "<html>", "nothing": "", "array": "[]",
		"rows are missing":      `{"session":"SESSION","nonce":"NONCE","entries":[],"tip":105,"floor":1,"age_us":0}`,
		"a gap":                 `{"session":"SESSION","nonce":"NONCE","entries":[` + entry(102) + `],"tip":102,"floor":1,"age_us":0}`,
		"a gap after the first": `{"session":"SESSION","nonce":"NONCE","entries":[` + entry(101) + `,` + entry(103) + `],"tip":103,"floor":1,"age_us":0}`,
		"old evidence":          `{"session":"SESSION","nonce":"NONCE","entries":[],"tip":100,"floor":1,"age_us":120000000}`,
		"an age below zero":     `{"session":"SESSION","nonce":"NONCE","entries":[],"tip":100,"floor":1,"age_us":-1000000}`,
		"an age that overflows": `{"session":"SESSION","nonce":"NONCE","entries":[],"tip":100,"floor":1,"age_us":9223372036854776}`,
		"the largest age":       `{"session":"SESSION","nonce":"NONCE","entries":[],"tip":100,"floor":1,"age_us":9223372036854775807}`,
		"our own session's end": `{"session":"SESSION","nonce":"NONCE","entries":[{"seq":101,"subject":"v:ver_1","kind":"cut","head":1}],"tip":101,"floor":1,"age_us":0}`,
	} {
		s := newServer(t, answer)
		feed, stop := run(t, s)
		eventually(t, name+": a few polls", func() bool { return s.polls.Load() > 2 })
		if err := feed.Revocations().Fresh(); !errors.Is(err, tokens.ErrStale) {
			t.Errorf("%s: age %v", name, feed.Revocations().Age())
		}
		stop()
	}
}

// TestFeedRecoversAndLeaves: evidence makes it fresh; the end makes it refuse,
// then leave.
func TestFeedRecoversAndLeaves(t *testing.T) {
	s := newServer(t, "500")
	feed, stop := run(t, s)
	eventually(t, "polls", func() bool { return s.polls.Load() > 2 })
	s.mu.Lock()
	s.answer = `{"session":"SESSION","nonce":"NONCE","entries":[{"seq":101,"subject":"c:x","kind":"cut","head":1}],"tip":101,"floor":1,"age_us":10}`
	s.mu.Unlock()
	eventually(t, "it is fresh", func() bool { return feed.Revocations().Fresh() == nil && feed.Revocations().Watermark() == 101 })
	if n := s.joins.Load(); n != 1 {
		t.Errorf("errors made it join %d times", n)
	}
	stop()
	if feed.Revocations().Fresh() == nil || s.leaves.Load() != 1 {
		t.Errorf("after the end: age %v, %d leaves", feed.Revocations().Age(), s.leaves.Load())
	}
}

// TestRefusedTokenIsReplacedAtOnce: a token that was cut must not keep the
// verifier out for the rest of its life.
func TestRefusedTokenIsReplacedAtOnce(t *testing.T) {
	s := newServer(t, `{"session":"SESSION","nonce":"NONCE","entries":[],"tip":100,"floor":1,"age_us":0}`)
	feed, _ := run(t, s)
	eventually(t, "it is fresh", func() bool { return feed.Revocations().Fresh() == nil })
	if n := s.tokens.Load(); n != 1 {
		t.Errorf("%d tokens for one life", n)
	}
	s.mu.Lock()
	s.answer = "401"
	s.mu.Unlock()
	eventually(t, "another token", func() bool { return s.tokens.Load() > 1 })
}

// TestRunEndsWithItsContext: also while a request hangs, for a token or a poll.
func TestRunEndsWithItsContext(t *testing.T) {
	hang := make(chan struct{})
	reached := make(chan struct{}, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		<-hang
	}))
	defer s.Close()
	defer close(hang)
	feed, err := httpfeed.New(httpfeed.Config{URL: s.URL, Name: "test", ClientID: "client", ClientSecret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- feed.Run(ctx) }()
	<-reached
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestNothingOfAFeedOutlivesRun: a session that was given up is left in the background, and
// Run waits for it.
func TestNothingOfAFeedOutlivesRun(t *testing.T) {
	s := newServer(t, "404")
	s.slow = true
	_, stop := run(t, s)
	eventually(t, "it leaves and joins again", func() bool { return s.leaves.Load() > 0 && s.joins.Load() > 1 })
	stop()
	stacks := make([]byte, 1<<20)
	if stacks = stacks[:runtime.Stack(stacks, true)]; bytes.Contains(stacks, []byte("httpfeed.(*Feed).leave")) {
		t.Errorf("it still leaves:\n%s", stacks)
	}
}

func TestConfigThatCannotBeRightIsRefused(t *testing.T) {
	for name, config := range map[string]httpfeed.Config{
		"no key":      {URL: "https://a.example", Name: "x"},
		"no secret":   {URL: "https://a.example", Name: "x", ClientID: "c"},
		"no name":     {URL: "https://a.example", ClientID: "c", ClientSecret: "s"},
		"no URL":      {Name: "x", ClientID: "c", ClientSecret: "s"},
		"slash":       {URL: "https://a.example/", Name: "x", ClientID: "c", ClientSecret: "s"},
		"short lease": {URL: "https://a.example", Name: "x", ClientID: "c", ClientSecret: "s", Lease: time.Second - 1},
		"long lease":  {URL: "https://a.example", Name: "x", ClientID: "c", ClientSecret: "s", Lease: time.Minute + 1},
	} {
		if _, err := httpfeed.New(config); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzPage: no answer to a poll panics, or makes a view fresh without an entry
// for every position up to the tip.
func FuzzPage(f *testing.F) {
	f.Add(`{"session":"SESSION","nonce":"NONCE","entries":[{"seq":101,"subject":"c:x","kind":"cut","head":1}],"tip":101,"floor":1,"age_us":0}`)
	f.Add(`{"session":"SESSION","nonce":"NONCE","entries":[{"seq":18446744073709551615,"subject":":","kind":"","terminal":true}],"tip":100,"floor":18446744073709551615,"age_us":-9223372036854775808}`)
	f.Fuzz(func(t *testing.T, text string) {
		var page httpfeed.Page
		if json.NewDecoder(strings.NewReader(text)).Decode(&page) != nil {
			return
		}
		r := tokens.NewRevocations(time.Minute)
		r.Start(nil, 100, 1)
		if err := r.Apply(page.Entries); err == nil && r.Watermark() >= page.Tip {
			r.Confirm(time.Now().Add(-time.Duration(page.AgeUS)*time.Microsecond), page.Floor)
		}
		if r.Age() < 0 {
			t.Fatalf("age %v after %s", r.Age(), text)
		}
	})
}
