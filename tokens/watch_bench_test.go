package tokens_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/tokenstest"
)

const crowdSize = 100_000

// A crowd is requests whose handlers wait for the end, a goroutine each.
type crowd struct {
	issuer   *tokenstest.Issuer
	verifier *tokens.Verifier
	waiting  sync.WaitGroup
}

// gather serves a hundred streams to each of a thousand keys of one organization.
func gather(b *testing.B) *crowd {
	issuer := tokenstest.New(b)
	c := &crowd{issuer: issuer, verifier: issuer.Verifier(audience)}
	var begun sync.WaitGroup
	begun.Add(crowdSize)
	handler := c.verifier.RequireStream()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("data: x\n\n"))
		begun.Done()
		<-r.Context().Done()
	}))
	for i := range crowdSize / 100 {
		r, _ := http.NewRequestWithContext(context.Background(), "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+issuer.TokenWith(func(c *tokens.Claims) {
			c.Audience, c.ClientID, c.ExpiresAt = tokens.Audience{audience}, fmt.Sprint("client ", i), c.IssuedAt+3600
		}))
		for range 100 {
			c.waiting.Go(func() { handler.ServeHTTP(&response{header: make(http.Header)}, r) })
		}
	}
	begun.Wait()
	runtime.GC()
	return c
}

// disperse ends all streams.
func (c *crowd) disperse() {
	c.issuer.Cut(tokens.Organization(tokenstest.Organization))
	c.waiting.Wait()
}

// response is one whose writes cost nothing.
type response struct{ header http.Header }

func (r *response) Header() http.Header              { return r.header }
func (r *response) Write(p []byte) (int, error)      { return len(p), nil }
func (r *response) WriteHeader(int)                  {}
func (r *response) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkWatchersCut ends 100,000 streams with one cut: by how much they delay its
// acknowledgement.
func BenchmarkWatchersCut(b *testing.B) {
	var delays []time.Duration
	for b.Loop() {
		c := gather(b)
		begun := time.Now()
		c.issuer.Cut(tokens.Organization(tokenstest.Organization))
		delays = append(delays, time.Since(begun))
		c.waiting.Wait()
	}
	slices.Sort(delays)
	b.ReportMetric(0, "ns/op") // most of it is the gathering
	b.ReportMetric(float64(delays[len(delays)/2].Microseconds())/1000, "ms-delay")
}

// BenchmarkWatchersOthersCut cuts one key while 100,000 streams of other keys are
// watched, and while none is, in turns: x-unwatched is the ratio of the two.
func BenchmarkWatchersOthersCut(b *testing.B) {
	c := gather(b)
	defer c.disperse()
	alone := tokenstest.New(b)
	alone.Verifier(audience)
	inTurns(b, func(i int) { c.issuer.Revoke(fmt.Sprint("other ", i%1000)) },
		func(i int) { alone.Revoke(fmt.Sprint("other ", i%1000)) })
}

// BenchmarkVerifyWatched verifies a token seen before while 100,000 streams are
// watched, and while none is, in turns: x-unwatched is the ratio of the two.
func BenchmarkVerifyWatched(b *testing.B) {
	c := gather(b)
	defer c.disperse()
	alone := tokenstest.New(b)
	verify := func(issuer *tokenstest.Issuer, v *tokens.Verifier) func(int) {
		raw := issuer.Token(audience, "alerts:read")
		return func(int) {
			if _, err := v.Verify(raw); err != nil {
				b.Fatal(err)
			}
		}
	}
	inTurns(b, verify(c.issuer, c.verifier), verify(alone, alone.Verifier(audience)))
}

// inTurns measures two things against each other, a hundred at a time.
func inTurns(b *testing.B, watched, unwatched func(i int)) {
	const turn = 100
	var with, without time.Duration
	n := 0
	for b.Loop() {
		begun := time.Now()
		for i := range turn {
			watched(n + i)
		}
		middle := time.Now()
		for i := range turn {
			unwatched(n + i)
		}
		with += middle.Sub(begun)
		without += time.Since(middle)
		n += turn
	}
	b.ReportMetric(float64(with.Nanoseconds())/float64(n), "ns-watched")
	b.ReportMetric(float64(with)/float64(without), "x-unwatched")
}
