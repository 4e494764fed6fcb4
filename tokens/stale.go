package tokens

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Stale is what a verifier does while its view of the revocations is older than
// the lease, because neither Redis nor the issuer has confirmed it. The zero value
// refuses with [ErrStale], which is 503 with Retry-After over HTTP.
//
// It is never silent: each spell is logged when it begins and ends, and
// [Verifier.Counts] says how often it decided.
type Stale struct {
	// Introspect asks the issuer about each token (RFC 7662), in
	// [Verifier.VerifyContext] and the middleware. Nil does not.
	Introspect *Introspection
	// AcceptUntil accepts what the last view accepts, until it is this old. That
	// waives the promise: a token may be accepted after its revocation has returned,
	// and the receipt of such a revocation says "waived". 0 does not accept.
	AcceptUntil time.Duration
}

// MaxAcceptUntil is the longest [Stale.AcceptUntil]: no token lives longer.
const MaxAcceptUntil = time.Hour

func (s Stale) check(config Config) error {
	if s.AcceptUntil != 0 && (s.AcceptUntil <= config.Feed.Revocations().Lease() || s.AcceptUntil > MaxAcceptUntil) {
		return fmt.Errorf("a stale view can be accepted until it is older than the lease of %v and at most %v, not %v",
			config.Feed.Revocations().Lease(), MaxAcceptUntil, s.AcceptUntil)
	}
	if s.Introspect != nil && (s.Introspect.ClientID == "" || s.Introspect.ClientSecret == "") {
		return errors.New("introspection needs the client id and secret of a key with the scope tokens:introspect")
	}
	if s.Introspect != nil && s.Introspect.URL != "" {
		if err := CheckIdentifier(s.Introspect.URL); err != nil {
			return fmt.Errorf("introspection: %w", err)
		}
	}
	return nil
}

// An Introspection asks the issuer whether a token is active.
type Introspection struct {
	// URL of the introspection endpoint; empty is the one of our server.
	URL string
	// ClientID and ClientSecret are a key with the scope tokens:introspect that may
	// use the audience.
	ClientID     string
	ClientSecret Secret
	// Client makes the requests; nil is a plain one. A request ends with its
	// caller's context, and after two seconds.
	Client *http.Client
}

// maxQuestions to the issuer at once: what made us stale may be its load.
const maxQuestions = 32

// Counts are the decisions of a verifier while its view was stale, since it was
// made: about requests, and about each write to a stream and each look at it.
type Counts struct {
	Refused      uint64 // with ErrStale
	Introspected uint64 // as the issuer said
	Accepted     uint64 // on a stale view, under Stale.AcceptUntil
}

// Counts returns how often the verifier's [Stale] decided.
func (v *Verifier) Counts() Counts {
	s := v.stale
	return Counts{s.refused.Load(), s.introspected.Load(), s.accepted.Load()}
}

// staleness is what a verifier's Stale has done.
type staleness struct {
	refused, introspected, accepted atomic.Uint64
	spell                           atomic.Pointer[time.Time] // since when it has decided; nil when current
	// questions and client are there to introspect, or nil.
	questions chan struct{}
	client    *http.Client
}

func newStaleness(config Config) (*staleness, error) {
	if err := config.Stale.check(config); err != nil {
		return nil, err
	}
	s := &staleness{}
	if to := config.Stale.Introspect; to != nil {
		s.questions, s.client = make(chan struct{}, maxQuestions), withoutRedirects(to.Client)
	}
	return s, config.Feed.Revocations().waive(config.Stale.AcceptUntil)
}

// decide returns the claims of a token that is good otherwise, if the revocations let
// it pass.
func (v *Verifier) decide(t verified) (*Claims, error) {
	if err := v.current(t); err != nil {
		return nil, err
	}
	return t.own(), nil
}

// current asks the revocations about a token, and counts what its Stale decided.
func (v *Verifier) current(t verified) error {
	stale, err := v.config.Feed.Revocations().check(t.claims, t.kid, v.config.Stale.AcceptUntil)
	switch {
	case errors.Is(err, ErrStale):
		v.stale.refused.Add(1)
	case stale && err == nil:
		v.stale.accepted.Add(1)
	}
	v.note(stale)
	return err
}

// note logs when a spell of staleness begins, and what it did when it ends.
func (v *Verifier) note(stale bool) {
	since := v.stale.spell.Load()
	if stale == (since != nil) {
		return
	}
	logger, now := v.logger(), time.Now()
	if stale {
		if v.stale.spell.CompareAndSwap(nil, &now) {
			logger.Error("the view of the revocations is older than the lease, or there is none", "audience", v.config.Audience, "lease", v.config.Feed.Revocations().Lease(),
				"introspects", v.config.Stale.Introspect != nil, "accepts_until", v.config.Stale.AcceptUntil)
		}
	} else if v.stale.spell.CompareAndSwap(since, nil) {
		c := v.Counts()
		logger.Warn("the view of the revocations is current again", "audience", v.config.Audience, "after", now.Sub(*since).Round(time.Millisecond),
			"refused_ever", c.Refused, "introspected_ever", c.Introspected, "accepted_stale_ever", c.Accepted)
	}
}

// VerifyContext is [Verifier.Verify], and asks the issuer while the view is stale
// if [Stale.Introspect] says so. Without an answer, AcceptUntil decides.
func (v *Verifier) VerifyContext(ctx context.Context, raw string) (*Claims, error) {
	token, err := v.good(raw)
	if err != nil {
		return nil, err
	}
	if v.config.Stale.Introspect == nil || !errors.Is(v.config.Feed.Revocations().Check(token.claims, token.kid), ErrStale) {
		return v.decide(token)
	}
	v.note(true)
	active, err := v.ask(ctx, v.config.Stale.Introspect, raw)
	if err != nil {
		v.logger().Warn("introspection failed", "error", err)
		return v.decide(token)
	}
	v.stale.introspected.Add(1)
	if !active {
		return nil, ErrRevoked
	}
	return token.own(), nil
}

// ask makes one introspection request.
func (v *Verifier) ask(ctx context.Context, to *Introspection, raw string) (active bool, err error) {
	select {
	case v.stale.questions <- struct{}{}:
		defer func() { <-v.stale.questions }()
	default:
		return false, fmt.Errorf("%d requests are waiting for the issuer", maxQuestions)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	endpoint := to.URL
	if endpoint == "" {
		endpoint = v.config.Issuer + "/oauth2/introspect"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(url.Values{"token": {raw}}.Encode()))
	if err != nil {
		return false, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(url.QueryEscape(to.ClientID), url.QueryEscape(to.ClientSecret.Reveal())) // RFC 6749 §2.3.1
	response, err := v.stale.client.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("the introspection endpoint answered %d", response.StatusCode)
	}
	return readActive(response.Body)
}

// readActive reads the answer of an introspection endpoint (RFC 7662 §2.2), as strictly as
// a token: one object, with one active, which is true or false.
func readActive(body io.Reader) (bool, error) {
	text, err := io.ReadAll(io.LimitReader(body, fetchLimit+1))
	if err != nil {
		return false, err
	}
	var active string
	if len(text) > fetchLimit || readObject(text, &active, activeField) != nil || active == "" {
		return false, errors.New("the introspection endpoint's answer is not one of RFC 7662")
	}
	return active == "true", nil
}

var activeField = []field[string]{{"active", func(active *string, value []byte) error {
	if *active = string(value); *active != "true" && *active != "false" {
		return ErrMalformed
	}
	return nil
}}}
