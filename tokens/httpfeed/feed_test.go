package httpfeed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
	joins, polls, leaves atomic.Int64
	mu                   sync.Mutex
	answer               string // to polls; a status if it is a number
}

func newServer(t *testing.T, answer string) *server {
	s := &server{answer: answer}
	mux := http.NewServeMux()
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
		fmt.Fprint(w, answer)
	})
	mux.HandleFunc("DELETE /feed/sessions/{session}", func(w http.ResponseWriter, r *http.Request) {
		s.leaves.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func run(t *testing.T, s *server) (feed *httpfeed.Feed, stop func()) {
	t.Helper()
	feed, err := httpfeed.New(httpfeed.Config{URL: s.URL, Name: "test", Lease: time.Minute, Client: s.Client()})
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
		"500": "500", "401": "401", "404": "404", "410": "410", "redirect": "302", "html": "<html>", "nothing": "", "array": "[]",
		"rows are missing":      `{"entries":[],"tip":105,"floor":1,"age_us":0}`,
		"a gap":                 `{"entries":[` + entry(102) + `],"tip":102,"floor":1,"age_us":0}`,
		"a gap after the first": `{"entries":[` + entry(101) + `,` + entry(103) + `],"tip":103,"floor":1,"age_us":0}`,
		"old evidence":          `{"entries":[],"tip":100,"floor":1,"age_us":120000000}`,
		"an age below zero":     `{"entries":[],"tip":100,"floor":1,"age_us":-1000000}`,
		"an age that overflows": `{"entries":[],"tip":100,"floor":1,"age_us":9223372036854776}`,
		"the largest age":       `{"entries":[],"tip":100,"floor":1,"age_us":9223372036854775807}`,
		"our own session's end": `{"entries":[{"seq":101,"subject":"v:ver_1","kind":"cut","head":1}],"tip":101,"floor":1,"age_us":0}`,
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
	s.answer = `{"entries":[{"seq":101,"subject":"c:x","kind":"cut","head":1}],"tip":101,"floor":1,"age_us":10}`
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

func TestConfigThatCannotBeRightIsRefused(t *testing.T) {
	client := http.DefaultClient
	for name, config := range map[string]httpfeed.Config{
		"no client":   {URL: "https://a.example", Name: "x"},
		"no name":     {URL: "https://a.example", Client: client},
		"no URL":      {Name: "x", Client: client},
		"slash":       {URL: "https://a.example/", Name: "x", Client: client},
		"short lease": {URL: "https://a.example", Name: "x", Client: client, Lease: time.Second - 1},
		"long lease":  {URL: "https://a.example", Name: "x", Client: client, Lease: time.Minute + 1},
	} {
		if _, err := httpfeed.New(config); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzPage: no answer to a poll panics, or makes a view fresh without an entry
// for every position up to the tip.
func FuzzPage(f *testing.F) {
	f.Add(`{"entries":[{"seq":101,"subject":"c:x","kind":"cut","head":1}],"tip":101,"floor":1,"age_us":0}`)
	f.Add(`{"entries":[{"seq":18446744073709551615,"subject":":","kind":"","terminal":true}],"tip":100,"floor":18446744073709551615,"age_us":-9223372036854775808}`)
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
