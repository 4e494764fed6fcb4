package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// Require returns middleware that admits requests with a good token that has
// all of scopes. The handler finds the claims with [FromContext]. Every other
// request is answered with the challenge of RFC 6750 §3; one that cannot be
// decided, because the verifier is not current, with 503 and Retry-After.
//
// The decision is about the moment at which the request came. A response that goes on
// outlives a revocation; see [Verifier.RequireStream].
func (v *Verifier) Require(scopes ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return v.guard(scopes, func(w http.ResponseWriter, r *http.Request, _ *Claims) { next.ServeHTTP(w, r) })
	}
}

// guard serves requests with a good token that has all of scopes, with its claims in
// their context, and challenges the others.
func (v *Verifier) guard(scopes []string, serve func(http.ResponseWriter, *http.Request, *Claims)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := v.Authorize(r, scopes...)
		if err != nil {
			v.Challenge(w, err, scopes...)
			return
		}
		serve(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims)), claims)
	})
}

// Authorize verifies the bearer token of r and that it has all of scopes. A form in the body
// that carries another token is refused; the handler reads the body as if nobody had.
func (v *Verifier) Authorize(r *http.Request, scopes ...string) (*Claims, error) {
	raw, err := bearer(r)
	if err != nil {
		return nil, err
	}
	claims, err := v.VerifyContext(r.Context(), raw)
	if err != nil {
		return nil, err
	}
	if !claims.HasScope(scopes...) {
		return nil, ErrScope
	}
	if tokenInForm(r) {
		return nil, ErrTwice
	}
	return claims, nil
}

// bearer returns the token of the Authorization header (RFC 6750 §2.1),
// [ErrMissing] when there is none, [ErrTwice] when the request carries another:
// a second header, or an access_token in the query, which alone is ignored.
func bearer(r *http.Request) (string, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return "", ErrMissing
	}
	scheme, raw, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", ErrMissing
	}
	if len(headers) > 1 || r.URL.RawQuery != "" && r.URL.Query().Has("access_token") {
		return "", ErrTwice
	}
	if raw = strings.TrimLeft(raw, " "); raw == "" {
		return "", ErrMalformed
	}
	return raw, nil
}

// refusals is the RFC 6750 §3.1 face of the errors. Descriptions tell a
// developer what to do next and nothing about the claims that failed.
var refusals = []struct {
	err         error
	status      int
	code        string
	description string
}{
	{ErrMissing, http.StatusUnauthorized, "", "Send an access token in the Authorization header."},
	{ErrTwice, http.StatusBadRequest, "invalid_request", "Send one access token, in the Authorization header."},
	{ErrScope, http.StatusForbidden, "insufficient_scope", "The access token lacks a scope that this request needs."},
	{ErrExpired, http.StatusUnauthorized, "invalid_token", "The access token expired."},
	{ErrRevoked, http.StatusUnauthorized, "invalid_token", "The access token was revoked."},
	{ErrStale, http.StatusServiceUnavailable, "temporarily_unavailable", "Revocations cannot be checked at the moment."},
}

// A Refusal is the HTTP answer to a request that is not admitted.
type Refusal struct {
	Status      int    // 400, 401, 403 or 503
	Code        string // of RFC 6750 §3.1; empty when no token was sent
	Description string
	Challenge   string // the WWW-Authenticate header; empty with 503
}

// Refuse returns the answer that err, of [Verifier.Authorize], asks for. What
// it does not know is an invalid token.
func (v *Verifier) Refuse(err error, scopes ...string) Refusal {
	refusal := Refusal{Status: http.StatusUnauthorized, Code: "invalid_token", Description: "The access token is not valid here."}
	for _, known := range refusals {
		if errors.Is(err, known.err) {
			refusal = Refusal{Status: known.status, Code: known.code, Description: known.description}
			break
		}
	}
	if refusal.Status == http.StatusServiceUnavailable {
		return refusal
	}
	parameters := []string{`realm="` + v.config.Audience + `"`}
	if refusal.Code != "" {
		parameters = append(parameters, `error="`+refusal.Code+`"`, `error_description="`+refusal.Description+`"`)
	}
	if refusal.Status == http.StatusForbidden {
		parameters = append(parameters, `scope="`+strings.Join(scopes, " ")+`"`)
	}
	if v.config.ResourceMetadata != "" {
		parameters = append(parameters, `resource_metadata="`+v.config.ResourceMetadata+`"`)
	}
	refusal.Challenge = "Bearer " + strings.Join(parameters, ", ")
	return refusal
}

// retryAfter is in seconds: a feed that is back renews the lease within one.
const retryAfter = 1

// Challenge answers a request that [Verifier.Authorize] refused with err.
func (v *Verifier) Challenge(w http.ResponseWriter, err error, scopes ...string) {
	refusal := v.Refuse(err, scopes...)
	refusal.Headers(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(refusal.Status)
	json.NewEncoder(w).Encode(struct {
		Error       string `json:"error,omitempty"`
		Description string `json:"error_description"`
	}{refusal.Code, refusal.Description})
}

// Headers sets WWW-Authenticate or Retry-After, and forbids caching.
func (r Refusal) Headers(h http.Header) {
	h.Set("Cache-Control", "no-store")
	if r.Challenge != "" {
		h.Set("WWW-Authenticate", r.Challenge)
	} else {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
}
