package httpfeed_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// says is a server that answers every join with one text, and any other request with a token.
type says string

func (s says) RoundTrip(r *http.Request) (*http.Response, error) {
	text, status := `{"access_token":"t","expires_in":86400}`, http.StatusOK
	if strings.HasSuffix(r.URL.Path, "/feed/sessions") {
		text, status = string(s), http.StatusCreated
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Request: r,
		Body: io.NopCloser(strings.NewReader(text))}, nil
}

// FuzzJoin: whatever a server answers to a join, it is no session, or one that has an id
// and a position, a lease that is no longer than was asked for, and no word of its own
// end; and its view, which nothing confirmed, accepts nothing.
func FuzzJoin(f *testing.F) {
	for _, answer := range []string{
		`{"session":"ver_1","cuts":[{"seq":7,"subject":"c:x","kind":"cut","head":1}],"watermark":100,"floor":1,"head":9}`,
		`{"session":"ver_1","cuts":[{"seq":7,"subject":"v:ver_1","kind":"cut"}],"watermark":100}`,
		`{"session":"ver_1","lease_ms":9223372036854775807,"cuts":null,"watermark":18446744073709551615,"floor":18446744073709551615}`,
		`{"session":"ver_1","lease_ms":-1,"watermark":1,"cuts":[{"subject":":"},{"subject":"*","terminal":true}]}`,
		`{"protocol":2,"examination":{"ticket":"x","issuer":"https://a","audience":"b","keys":{"keys":[]},"tokens":[""],"sessions":[{"joined":{},"pages":[{}]}]}}`,
		`{"protocol":2,"examination":{"sessions":[{"pages":[{"entries":[{"seq":1}],"age_us":-9223372036854775808}]}]}}`,
	} {
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		feed, err := httpfeed.New(httpfeed.Config{URL: "https://auth.example.com", Name: "api", ClientID: "client",
			ClientSecret: "secret", Client: &http.Client{Transport: says(answer)}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		joined, err := feed.Join(ctx, "")
		if err != nil {
			return
		}
		if joined.Session == "" || joined.Watermark == 0 || feed.Lease() <= 0 || feed.Lease() > tokens.DefaultLease {
			t.Fatalf("%q: %+v with a lease of %v", answer, joined, feed.Lease())
		}
		view := feed.Revocations()
		view.Start(joined.Cuts, joined.Watermark, joined.Floor)
		if view.Fresh() == nil {
			t.Fatalf("%q: a join has renewed the lease", answer)
		}
	})
}
