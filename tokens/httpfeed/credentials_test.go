package httpfeed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/tokenstest"
)

// refusing is a server whose token endpoint says the same to everybody.
func refusing(t *testing.T, status int, body string) (*httpfeed.Feed, *tokens.Verifier) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	feed, err := httpfeed.New(httpfeed.Config{URL: server.URL, Name: "api", ClientID: "i",
		ClientSecret: "hunter2", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := tokens.NewVerifier(tokens.Config{Issuer: server.URL, Audience: "https://api.example.com",
		Feed: feed, Keys: tokenstest.New(t).Keys(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return feed, verifier
}

// TestWrongCredentialsEndTheVerifierWithTheReason: asking again would change nothing, and
// whoever waits hears of it at once.
func TestWrongCredentialsEndTheVerifierWithTheReason(t *testing.T) {
	for _, row := range []struct {
		status int
		code   string
	}{{401, "invalid_client"}, {400, "invalid_client"}, {400, "invalid_scope"}, {400, "unauthorized_client"}} {
		_, verifier := refusing(t, row.status,
			fmt.Sprintf(`{"error":%q,"error_description":"because of a test"}`, row.code))
		ready := make(chan error, 1)
		go func() { ready <- verifier.Ready(t.Context()) }()
		err := verifier.Run(t.Context())
		for name, err := range map[string]error{"Run": err, "Ready": <-ready, "Ready, later": verifier.Ready(t.Context())} {
			if !errors.Is(err, httpfeed.ErrCredentials) || !strings.Contains(err.Error(), "because of a test") ||
				strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%d %s: %s: %v", row.status, row.code, name, err)
			}
		}
	}
}

// TestTroubleThatPassesEndsNothing: the verifier tries again, and Ready says what is wrong.
func TestTroubleThatPassesEndsNothing(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
	}{
		{503, `{"error":"temporarily_unavailable"}`}, {500, `{"error":"server_error"}`},
		{429, `{"error":"slow_down"}`}, {502, "<html>"}, {404, "not here"},
		{401, "<html>a proxy's own page"}, {400, `{"message":"a proxy's own"}`},
	} {
		_, verifier := refusing(t, row.status, row.body)
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		done := make(chan error, 1)
		go func() { done <- verifier.Run(ctx) }()
		ready := verifier.Ready(ctx)
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d: Run: %v", row.status, err)
		}
		if !errors.Is(ready, context.DeadlineExceeded) || !strings.Contains(ready.Error(), fmt.Sprint(row.status)) {
			t.Errorf("%d: Ready: %v", row.status, ready)
		}
		if _, err := verifier.Verify("a.b.c"); strings.Contains(fmt.Sprint(err), "older than") {
			t.Errorf("%d: Verify: %v", row.status, err)
		}
		cancel()
	}
}
