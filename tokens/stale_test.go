package tokens_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/tokenstest"
)

// TestStaleViewIsAcceptedOnlyUntilItsBound: past the lease and before the bound,
// counted and logged; what is known revoked stays revoked; a lease that was ended
// counts as over; and nothing known is nothing accepted.
func TestStaleViewIsAcceptedOnlyUntilItsBound(t *testing.T) {
	issuer := tokenstest.New(t)
	raw := issuer.TokenWith(func(c *tokens.Claims) {
		c.Audience, c.ExpiresAt = tokens.Audience{audience}, c.IssuedAt+3600
	})
	other := issuer.TokenWith(func(c *tokens.Claims) {
		c.Audience, c.ClientID = tokens.Audience{audience}, "imara_ci_11111111111111111111"
	})
	real, err := issuer.Verifier(audience).Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	const lease, until = 10 * time.Second, 5 * time.Minute
	begin := time.Now()
	synctest.Test(t, func(t *testing.T) {
		// The bubble's clock begins long before the token was issued.
		time.Sleep(time.Until(begin) + time.Second)
		feed := &silentFeed{tokens.NewRevocations(lease)}
		var log bytes.Buffer
		waiving, err := tokens.NewVerifier(tokens.Config{Issuer: tokenstest.URL, Audience: audience, Feed: feed, Keys: issuer.Keys(),
			Stale: tokens.Stale{AcceptUntil: until}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		strict, err := waiving.WithStale(tokens.Stale{})
		if err != nil {
			t.Fatal(err)
		}
		if feed.r.Waiver() != until {
			t.Errorf("the issuer would hear of a waiver of %v", feed.r.Waiver())
		}
		expect := func(when string, strictly, waived error) {
			t.Helper()
			if _, err := strict.Verify(raw); !errors.Is(err, strictly) {
				t.Errorf("%s: strict %v, want %v", when, err, strictly)
			}
			if _, err := waiving.Verify(raw); !errors.Is(err, waived) {
				t.Errorf("%s: waiving %v, want %v", when, err, waived)
			}
		}
		expect("nothing known", tokens.ErrStale, tokens.ErrStale)
		feed.r.Start(nil, real.Position, 1)
		expect("not confirmed", tokens.ErrStale, tokens.ErrStale)
		feed.r.Confirm(time.Now(), 1)
		expect("fresh", nil, nil)
		time.Sleep(lease + time.Millisecond)
		expect("past the lease", tokens.ErrStale, nil)
		if err := feed.r.Apply([]tokens.Entry{{Position: real.Position + 1, Subject: "c:imara_ci_11111111111111111111", Kind: tokens.Cut}}); err != nil {
			t.Fatal(err)
		}
		if _, err := waiving.Verify(other); !errors.Is(err, tokens.ErrRevoked) {
			t.Errorf("known revoked, past the lease: %v", err)
		}
		// A new session is not yet confirmed: the old view goes on to serve.
		feed.r.Start(nil, real.Position+1, 1)
		expect("joined anew", tokens.ErrStale, nil)
		time.Sleep(until - lease)
		expect("past the bound", tokens.ErrStale, tokens.ErrStale)
		feed.r.Confirm(time.Now(), 1)
		expect("fresh again", nil, nil)
		feed.r.Lapse()
		expect("the session ended", tokens.ErrStale, nil)
		feed.r.Forget()
		expect("forgotten", tokens.ErrStale, tokens.ErrStale)

		if got, want := waiving.Counts(), (tokens.Counts{Refused: 4, Accepted: 3}); got != want {
			t.Errorf("counts %+v, want %+v", got, want)
		}
		for _, line := range []string{"older than the lease", "current again", "accepted_stale_ever=2"} {
			if !strings.Contains(log.String(), line) {
				t.Errorf("the log does not say %q:\n%s", line, &log)
			}
		}
	})
	for _, bound := range []time.Duration{-1, time.Second, lease, tokens.MaxAcceptUntil + 1} {
		feed := &silentFeed{tokens.NewRevocations(lease)}
		if _, err := tokens.NewVerifier(tokens.Config{Issuer: tokenstest.URL, Audience: audience, Feed: feed, Keys: issuer.Keys(),
			Stale: tokens.Stale{AcceptUntil: bound}}); err == nil {
			t.Errorf("a bound of %v with a lease of %v is taken", bound, lease)
		}
	}
}

// silentFeed is a feed whose test is its only source.
type silentFeed struct{ r *tokens.Revocations }

func (f *silentFeed) Revocations() *tokens.Revocations { return f.r }
func (f *silentFeed) Run(context.Context) error        { return nil }

// TestIntrospectionDecidesWhileTheViewIsStale: and only then; what it cannot say
// stays refused, what is known revoked is not asked, and a token that is bad
// anyway never leaves the process.
func TestIntrospectionDecidesWhileTheViewIsStale(t *testing.T) {
	issuer := tokenstest.New(t)
	var answer atomic.Value // func(http.ResponseWriter)
	var asked atomic.Int64
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		id, secret, _ := r.BasicAuth()
		if r.Method != "POST" || id != "resource" || secret != "s%3Dcret" || r.PostFormValue("token") == "" || r.URL.RawQuery != "" {
			t.Errorf("asked with %s %s %q %q", r.Method, r.URL, id, secret)
		}
		answer.Load().(func(http.ResponseWriter))(w)
	}))
	t.Cleanup(endpoint.Close)
	v, err := issuer.Verifier(audience).WithStale(tokens.Stale{Introspect: &tokens.Introspection{
		URL: endpoint.URL, ClientID: "resource", ClientSecret: "s=cret"}})
	if err != nil {
		t.Fatal(err)
	}
	raw := issuer.Token(audience, "alerts:read")
	handler := v.Require("alerts:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }))
	ask := func(raw string) int {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	say := func(status int, body string) {
		answer.Store(func(w http.ResponseWriter) { w.WriteHeader(status); w.Write([]byte(body)) })
	}
	say(500, "")
	if code := ask(raw); code != 204 || asked.Load() != 0 {
		t.Errorf("current: %d, asked %d times", code, asked.Load())
	}
	revoked := issuer.TokenWith(func(c *tokens.Claims) {
		c.Audience, c.ClientID = tokens.Audience{audience}, "imara_ci_11111111111111111111"
	})
	issuer.Revoke("imara_ci_11111111111111111111")
	issuer.Stall()
	if code := ask(revoked); code != 401 || asked.Load() != 0 {
		t.Errorf("known revoked: %d, asked %d times", code, asked.Load())
	}
	if code := ask(issuer.Expired(audience)); code != 401 || asked.Load() != 0 {
		t.Errorf("expired: %d, asked %d times", code, asked.Load())
	}
	if code := ask(raw[:len(raw)-8] + "AAAAAAAA"); code != 401 || asked.Load() != 0 {
		t.Errorf("forged: %d, asked %d times", code, asked.Load())
	}
	if _, err := v.Verify(raw); !errors.Is(err, tokens.ErrStale) {
		t.Errorf("Verify asks nobody: %v", err)
	}
	for _, row := range []struct {
		status int
		body   string
		want   int
	}{
		{200, `{"active":true}`, 204}, {200, `{"active":false}`, 401},
		{200, `{}`, 503}, {200, `maintenance`, 503}, {200, ``, 503}, {500, `{"active":true}`, 503}, {401, `{"active":true}`, 503}, {302, `{"active":true}`, 503},
	} {
		say(row.status, row.body)
		if code := ask(raw); code != row.want {
			t.Errorf("issuer says %d %q: %d, want %d", row.status, row.body, code, row.want)
		}
	}
	if c := v.Counts(); c.Introspected != 2 || c.Refused != 7 {
		t.Errorf("counts %+v", c)
	}

	// An issuer that is slow holds a bounded number of requests.
	release, full := make(chan struct{}), make(chan struct{}, 100)
	answer.Store(func(w http.ResponseWriter) { full <- struct{}{}; <-release; w.Write([]byte(`{"active":true}`)) })
	var waiting sync.WaitGroup
	var accepted atomic.Int64
	for range 32 {
		waiting.Go(func() {
			if ask(raw) == 204 {
				accepted.Add(1)
			}
		})
	}
	for range 32 {
		<-full
	}
	if code := ask(raw); code != 503 {
		t.Errorf("one more than the issuer is asked at once: %d", code)
	}
	close(release)
	waiting.Wait()
	if accepted.Load() != 32 {
		t.Errorf("%d of 32 accepted", accepted.Load())
	}
	if _, err := issuer.Verifier(audience).WithStale(tokens.Stale{Introspect: &tokens.Introspection{}}); err == nil {
		t.Error("introspection without credentials is taken")
	}
}
