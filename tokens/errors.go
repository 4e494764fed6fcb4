package tokens

import "errors"

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
	// ErrUnknownKey: no published signing key has the token's kid and algorithm.
	ErrUnknownKey = errors.New("unknown signing key")
	// ErrSignature: the signature does not match.
	ErrSignature = errors.New("wrong signature")
	// ErrExpired: exp has passed.
	ErrExpired = errors.New("access token expired")
	// ErrNotForUs: issuer or audience is another, or the token is not valid yet.
	ErrNotForUs = errors.New("access token for another issuer, audience or time")
	// ErrRevoked: a subject of the token was cut after the token was minted.
	ErrRevoked = errors.New("access token revoked")
	// ErrScope: the token is good but lacks a scope that the route needs.
	ErrScope = errors.New("insufficient scope")
	// ErrStale: the verifier cannot know: its signing keys or its view of the
	// revocations are missing or older than the lease. Not the token's fault:
	// answer 503, never 401.
	ErrStale = errors.New("verifier is not current")
)
