package tokens

import (
	"errors"
	"fmt"
	"strings"
)

// Every failed verification wraps one of these. The bearer middleware turns
// them into RFC 6750 challenges; nothing here knows a status code.
var (
	// ErrMissing: the request carries no bearer token.
	ErrMissing = errors.New("no access token")
	// ErrTwice: the request carries a token in more than one place (RFC 6750 §2).
	ErrTwice = errors.New("more than one access token in the request")
	// ErrMalformed: the text is not a compact JWS of an access token: alphabet,
	// size, header or claims are wrong.
	ErrMalformed = errors.New("malformed access token")
	// ErrSecret: the text is the client secret or the client id of a key, which are
	// exchanged for an access token. It wraps ErrMalformed.
	ErrSecret = fmt.Errorf("%w: it is a client ID or a client secret, "+
		"which the token endpoint exchanges for a token", ErrMalformed)
	// ErrUnknownKey: no published signing key has the token's kid and algorithm.
	ErrUnknownKey = errors.New("unknown signing key")
	// ErrSignature: the signature does not match.
	ErrSignature = errors.New("wrong signature")
	// ErrExpired: exp has passed.
	ErrExpired = errors.New("access token expired")
	// ErrNotForUs: issuer or audience is another, or the token is not valid yet. An
	// [AudienceError] says which audience.
	ErrNotForUs = errors.New("access token for another issuer, audience or time")
	// ErrRevoked: a subject of the token was cut after the token was minted.
	ErrRevoked = errors.New("access token revoked")
	// ErrScope: the token is good but lacks a scope that the route needs; a
	// [ScopeError] says which.
	ErrScope = errors.New("insufficient scope")
	// ErrStale: the verifier cannot know: its signing keys or its view of the
	// revocations are missing or older than the lease. Not the token's fault:
	// answer 503, never 401.
	ErrStale = errors.New("verifier is not current")
)

// An AudienceError is a good token of the issuer for another API. It is [ErrNotForUs].
type AudienceError struct {
	For  Audience // of the token
	Here string   // of the verifier
}

func (e *AudienceError) Error() string {
	return "access token for another API: it is for " + strings.Join(e.For, " and ") + ", and this is " + e.Here
}

func (e *AudienceError) Unwrap() error { return ErrNotForUs }

// A ScopeError names the scopes that a good token lacks. It is [ErrScope].
type ScopeError struct {
	Missing []string
	Granted string // as the token has them
}

func (e *ScopeError) Error() string {
	granted := "none"
	if e.Granted != "" {
		granted = e.Granted
	}
	return "insufficient scope: the token lacks " + strings.Join(e.Missing, " ") + " and has " + granted
}

func (e *ScopeError) Unwrap() error { return ErrScope }
