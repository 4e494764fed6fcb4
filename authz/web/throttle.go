package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// ErrRateLimited: a rate limit was reached; a [RateLimitError] says which.
var ErrRateLimited = errors.New("too many requests")

// A RateLimitError says which rate limit was reached, and when to come again. It wraps
// [ErrRateLimited].
type RateLimitError struct {
	Policy string // failures or tokens
	Rate   keys.Rate
	Budget keys.Budget
	Reason string // of the last failure, if it may be told
}

func (e *RateLimitError) Error() string {
	return fmt.Sprintf("%v: %s, wait %v", ErrRateLimited, e.Policy, e.Budget.Wait)
}
func (e *RateLimitError) Unwrap() error { return ErrRateLimited }

// Text is for a person who reads the answer.
func (e *RateLimitError) Text() string {
	wait := ceilSeconds(e.Budget.Wait)
	if e.Policy == "tokens" {
		return fmt.Sprintf("This key may buy %d tokens a minute. Use each until it ends. Try again in %s s.",
			e.Rate.Burst, wait)
	}
	text := fmt.Sprintf("Too many failed requests from here. Try again in %s s. %s", wait, e.Reason)
	return strings.TrimSpace(text)
}

// Headers tells a client of the limit: Retry-After in seconds (RFC 9110 §10.2.3), and the
// policy and what is left of it (draft-ietf-httpapi-ratelimit-headers-10).
func (e *RateLimitError) Headers(h http.Header) {
	h.Set("Retry-After", ceilSeconds(e.Budget.Wait))
	e.Policies(h)
}

// Policies tells a client of the limit without refusing it.
func (e *RateLimitError) Policies(h http.Header) {
	h.Set("RateLimit-Policy", fmt.Sprintf(`"%s";q=%d;w=%s`, e.Policy, e.Rate.Burst,
		ceilSeconds(time.Duration(e.Rate.Burst)*e.Rate.Every)))
	h.Set("RateLimit", fmt.Sprintf(`"%s";r=%d;t=%s`, e.Policy, e.Budget.Left,
		ceilSeconds(max(e.Budget.Wait, e.Rate.Every))))
}

func ceilSeconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// A Throttle slows down who fails. A request is looked at first, and counted only if it
// fails: what is right is never refused for what others did. Who fails more often is told
// to wait, with the reason of the last failure. A nil one slows down nobody.
type Throttle struct {
	limits keys.Limiter
	// lane bounds what is done at once for networks from which too much has failed, before
	// it is known whether this fails too.
	lane chan struct{}
}

var (
	// failuresOfANetwork of everything that comes from a network.
	failuresOfANetwork = keys.Rate{Burst: 1000, Every: 20 * time.Millisecond}
	// failuresOfAClient of one client from a network.
	failuresOfAClient = keys.Rate{Burst: 100, Every: 200 * time.Millisecond}
)

// FailureRates are those of one client from a network, and of all that comes from one.
func FailureRates() (client, network keys.Rate) { return failuresOfAClient, failuresOfANetwork }

const (
	laneWidth    = 2
	lanePatience = time.Second
)

// NewThrottle returns one that counts with a limiter; nil without one.
func NewThrottle(l keys.Limiter) *Throttle {
	if l == nil {
		return nil
	}
	return &Throttle{limits: l, lane: make(chan struct{}, laneWidth)}
}

// Failed counts a failed request from an address, of a client if it named one, and returns a
// [RateLimitError] when there were too many, else nil.
func (t *Throttle) Failed(address, clientID string) *RateLimitError {
	if t == nil {
		return nil
	}
	network := keys.Network(address)
	rate, left := failuresOfANetwork, t.limits.Take(keys.Limited{What: "failures", From: network}, failuresOfANetwork, 1)
	if clientID != "" {
		b := t.limits.Take(keys.Limited{What: "failures", Who: clientID, From: network}, failuresOfAClient, 1)
		if b.Wait > left.Wait {
			rate, left = failuresOfAClient, b
		}
	}
	if left.Wait == 0 {
		return nil
	}
	return &RateLimitError{Policy: "failures", Rate: rate, Budget: left}
}

// Enter waits, for a second at most, until the store may be read for a request that may
// fail: at once, unless too much has failed where it comes from. Errors: a
// [RateLimitError], the context's.
func (t *Throttle) Enter(ctx context.Context, address string) (leave func(), err error) {
	if t == nil {
		return func() {}, nil
	}
	of := keys.Limited{What: "failures", From: keys.Network(address)}
	left := t.limits.Take(of, failuresOfANetwork, 0)
	if left.Wait == 0 {
		return func() {}, nil
	}
	timer := time.NewTimer(lanePatience)
	defer timer.Stop()
	select {
	case t.lane <- struct{}{}:
		return func() { <-t.lane }, nil
	case <-timer.C:
		return nil, &RateLimitError{Policy: "failures", Rate: failuresOfANetwork, Budget: left}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
