package httpfeed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/examination"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// door is the network of a feed that joins: the server answers each join as it says.
type door struct {
	joins   []httpfeed.Join
	answers []func(httpfeed.Join) (status int, retryAfter string, body any)
}

func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	status, header, body := 200, http.Header{}, any(map[string]any{"access_token": "t", "expires_in": 86400})
	if strings.HasSuffix(r.URL.Path, "/feed/sessions") {
		var join httpfeed.Join
		if err := json.NewDecoder(r.Body).Decode(&join); err != nil {
			return nil, err
		}
		answer := d.answers[min(len(d.joins), len(d.answers)-1)]
		d.joins = append(d.joins, join)
		var after string
		if status, after, body = answer(join); after != "" {
			header.Set("Retry-After", after)
		}
	}
	text, err := json.Marshal(body)
	return &http.Response{StatusCode: status, Header: header, Request: r,
		Body: io.NopCloser(bytes.NewReader(text))}, err
}

func (d *door) feed(t *testing.T, log io.Writer) *httpfeed.Feed {
	t.Helper()
	feed, err := httpfeed.New(httpfeed.Config{URL: "https://auth.example.com", Name: "api",
		ClientID: "client", ClientSecret: "secret",
		Client: &http.Client{Transport: d}, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return feed
}

func joined(httpfeed.Join) (int, string, any) {
	return 201, "", httpfeed.Joined{Session: "ver_1", Watermark: 100, Floor: 1}
}

// TestServerThatExaminesNobodyIsJoinedAtOnce: it answers a join of protocol 1, and
// passes over what it does not know.
func TestServerThatExaminesNobodyIsJoinedAtOnce(t *testing.T) {
	d := &door{answers: []func(httpfeed.Join) (int, string, any){joined}}
	feed := d.feed(t, io.Discard)
	for _, replaces := range []string{"", "ver_1"} {
		if got, err := feed.Join(t.Context(), ""); err != nil || got.Session != "ver_1" {
			t.Fatalf("%+v, %v", got, err)
		}
		feed.Revocations().Start(nil, 100, 1)
		feed.Confirm(time.Now(), 1)
		join := d.joins[len(d.joins)-1]
		if join.Protocol != 2 || !strings.HasPrefix(join.Implementation, "imara-go/") ||
			!slices.Equal(join.Algorithms, []string{tokens.ES256, tokens.RS256, tokens.EdDSA}) ||
			join.Replaces != replaces || join.Ticket != "" || join.Verdicts != nil {
			t.Errorf("%+v", join)
		}
	}
	if len(d.joins) != 2 {
		t.Errorf("%d requests for two joins", len(d.joins))
	}
}

// TestFeedAnswersTheExamination: with the verdicts of a verifier, in the same join.
func TestFeedAnswersTheExamination(t *testing.T) {
	examiner, err := examination.New(examination.Config{Issuer: "https://auth.example.com", Key: tokens.Secret(make([]byte, 32))})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(join httpfeed.Join) (int, string, any) {
		x, err := examiner.Examine("client", join.Algorithms, tokens.DefaultLease)
		if err != nil {
			t.Error(err)
		}
		return 200, "", httpfeed.Examined{Protocol: 2, Examination: x}
	}
	grade := func(join httpfeed.Join) (int, string, any) {
		result, err := examiner.Grade("client", join.Ticket, tokens.DefaultLease, join.Verdicts)
		if err != nil || len(result.Broken()) > 0 || join.Name != "api" || join.LeaseMS != 10000 {
			t.Errorf("%+v, %v: %+v", result, err, join)
		}
		_, _, body := joined(join)
		answer := body.(httpfeed.Joined)
		answer.Unproved = []string{"client"}
		return 201, "", answer
	}
	d := &door{answers: []func(httpfeed.Join) (int, string, any){ask, grade}}
	var log bytes.Buffer
	if got, err := d.feed(t, &log).Join(t.Context(), ""); err != nil || got.Session != "ver_1" || len(d.joins) != 2 {
		t.Errorf("%+v, %v, %d requests", got, err, len(d.joins))
	}
	if !strings.Contains(log.String(), "does not refuse what it must") {
		t.Errorf("its owner is not told: %s", log.String())
	}
}

// TestRefusedJoinIsNotRepeatedEarly: a server that has no use for a join says when to
// come again, and is not asked before; an end of the context is not waited out.
func TestRefusedJoinIsNotRepeatedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := func(status int, after string) func(httpfeed.Join) (int, string, any) {
			return func(httpfeed.Join) (int, string, any) { return status, after, map[string]string{"error": "no"} }
		}
		d := &door{answers: []func(httpfeed.Join) (int, string, any){answer(409, "7"),
			answer(429, "30"), answer(426, ""), answer(422, ""), answer(429, "9999"), answer(503, "20"), joined}}
		feed := d.feed(t, io.Discard)
		for i, wait := range []time.Duration{0, 7 * time.Second, 30 * time.Second, time.Minute, time.Minute, time.Minute, 0} {
			begun := time.Now()
			if _, err := feed.Join(t.Context(), ""); (err == nil) != (i == 6) || time.Since(begun) != wait {
				t.Errorf("join %d: after %v, want %v: %v", i, time.Since(begun), wait, err)
			}
		}
		d = &door{answers: []func(httpfeed.Join) (int, string, any){answer(429, "30")}}
		feed = d.feed(t, io.Discard)
		feed.Join(t.Context(), "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := feed.Join(ctx, ""); !errors.Is(err, context.DeadlineExceeded) || len(d.joins) != 1 {
			t.Errorf("%v, %d requests", err, len(d.joins))
		}
	})
}
