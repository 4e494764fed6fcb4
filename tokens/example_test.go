package tokens_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/imara/apikeys/tokens/tokenstest"
)

// Server-sent events that end with the key: the handler waits for its context besides
// its events, and gives up when a write fails.
func ExampleVerifier_RequireStream() {
	issuer := tokenstest.New(example{}) // in a test of your own, its t
	verifier := issuer.Verifier("https://api.example.com")
	alerts, ended := make(chan string), make(chan error, 1)

	stream := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case alert := <-alerts:
				if _, err := fmt.Fprintf(w, "data: %s\n\n", alert); err != nil {
					return
				}
				http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				ended <- context.Cause(r.Context())
				return
			}
		}
	}
	server := httptest.NewServer(verifier.RequireStream("alerts:read")(http.HandlerFunc(stream)))
	defer server.Close()

	request, err := http.NewRequest("GET", server.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+issuer.Token("https://api.example.com", "alerts:read"))
	go func() { alerts <- "disk 91 % full on db-2" }()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	events := bufio.NewScanner(response.Body)
	events.Scan()
	fmt.Println(events.Text())

	// From the moment on at which this returns, nothing is written to the stream.
	issuer.Revoke(tokenstest.ClientID)
	fmt.Println(<-ended)
	for events.Scan() {
		if events.Text() != "" {
			fmt.Println("written after the revocation:", events.Text())
		}
	}
	fmt.Println(events.Err())
	// Output:
	// data: disk 91 % full on db-2
	// access token revoked
	// unexpected EOF
}

// example stands for the test that examples do not have.
type example struct{ testing.TB }

func (example) Helper()                  {}
func (example) Context() context.Context { return context.Background() }
func (example) Fatal(args ...any)        { log.Fatal(args...) }
