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
// [Verifier.Decisions] counts what it decided.
func (v *Verifier) Authorize(r *http.Request, scopes ...string) (*Claims, error) {
	claims, err := v.authorize(r, scopes)
	v.decided.count(err)
	return claims, err
}

func (v *Verifier) authorize(r *http.Request, scopes []string) (*Claims, error) {
	raw, err := bearer(r)
	if err != nil {
		return nil, err
	}
	claims, err := v.VerifyContext(r.Context(), raw)
	if err != nil {
		return nil, err
	}
	if err := claims.Need(scopes...); err != nil {
		return nil, err
	}
	if tokenInForm(r) {
		return nil, ErrTwice
	}
	return claims, nil
}

// Need returns a [ScopeError] unless the token has all of scopes.
func (c *Claims) Need(scopes ...string) error {
	if c.HasScope(scopes...) {
		return nil
	}
	e := &ScopeError{Granted: c.Scope}
	for _, scope := range scopes {
		if !c.HasScope(scope) {
			e.Missing = append(e.Missing, scope)
		}
	}
	return e
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

// refusals is the RFC 6750 §3.1 face of the errors. Descriptions tell a developer what is
// wrong as far as the form alone shows it or the signature is good, and nothing of the
// claims of a token that the issuer did not sign. %s is the token endpoint.
var refusals = []struct {
	err         error
	status      int
	code        string
	description string
	fix         string
}{
	{ErrMissing, http.StatusUnauthorized, "", "Send an access token in the Authorization header.", "Get one from %s, and send it as Bearer."},
	{ErrTwice, http.StatusBadRequest, "invalid_request", "Send one access token, in the Authorization header.", "Leave out the other one."},
	{ErrScope, http.StatusForbidden, "insufficient_scope", "The access token lacks a scope that this request needs.",
		"Ask %s for it, or have it granted to the key."},
	{ErrExpired, http.StatusUnauthorized, "invalid_token", "The access token expired.", "Get a new one from %s."},
	{ErrRevoked, http.StatusUnauthorized, "invalid_token", "The access token was revoked.",
		"Get a new one from %s; without one, the key was revoked too."},
	{ErrStale, http.StatusServiceUnavailable, "temporarily_unavailable", "Revocations cannot be checked at the moment.", "Try again after Retry-After."},
	{ErrSecret, http.StatusUnauthorized, "invalid_token", "This is a client ID or a client secret, not an access token.",
		"Exchange it at %s, and send the access_token of the answer."},
	{ErrMalformed, http.StatusUnauthorized, "invalid_token", "This is not an access token.",
		"Send the access_token of an answer of %s as it is, with nothing around it."},
}

// A Refusal is the HTTP answer to a request that is not admitted. Its texts are ASCII
// without quotes and backslashes.
type Refusal struct {
	Status      int    // 400, 401, 403 or 503
	Code        string // of RFC 6750 §3.1; empty when no token was sent
	Description string // what is wrong
	Fix         string // what to do
	Challenge   string // the WWW-Authenticate header; empty with 503
}

// Refuse returns the answer that err, of [Verifier.Authorize], asks for. What
// it does not know is an invalid token.
func (v *Verifier) Refuse(err error, scopes ...string) Refusal {
	endpoint := v.config.Issuer + "/oauth2/token"
	refusal := Refusal{Status: http.StatusUnauthorized, Code: "invalid_token",
		Description: "The access token is not valid here.", Fix: "Get one from " + endpoint + "."}
	for _, known := range refusals {
		if errors.Is(err, known.err) {
			refusal = Refusal{Status: known.status, Code: known.code, Description: known.description,
				Fix: strings.Replace(known.fix, "%s", endpoint, 1)}
			break
		}
	}
	refusal.name(err, scopes)
	if refusal.Status != http.StatusServiceUnavailable {
		refusal.Challenge = v.challenge(refusal, scopes)
	}
	return refusal
}

// name says which audience or scope it is about, if the text of it can stand in a header.
func (r *Refusal) name(err error, scopes []string) {
	var audience *AudienceError
	if errors.As(err, &audience) {
		if printable(audience.For...) {
			r.Description = "The access token is for " + strings.Join(audience.For, " and ") +
				", and this is " + audience.Here + "."
		}
		r.Fix = "Ask the token endpoint for one with resource=" + audience.Here + "."
	}
	if !errors.Is(err, ErrScope) {
		return
	}
	var scope *ScopeError
	if errors.As(err, &scope) {
		scopes = scope.Missing
	}
	if len(scopes) > 0 {
		r.Description = "The access token lacks " + strings.Join(scopes, " ") +
			", which this request needs."
	}
}

// printable tells whether texts may stand in an error_description (RFC 6750 §3), and are
// short.
func printable(texts ...string) bool {
	length := 0
	for _, text := range texts {
		length += len(text)
		for i := range len(text) {
			if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
				return false
			}
		}
	}
	return length <= 400
}

// challenge is the WWW-Authenticate header (RFC 6750 §3). It names the scopes of the
// request also to who has no token yet, so that clients ask for the right ones.
func (v *Verifier) challenge(r Refusal, scopes []string) string {
	parameters := []string{`realm="` + v.config.Audience + `"`}
	if r.Code != "" {
		parameters = append(parameters, `error="`+r.Code+`"`,
			`error_description="`+r.Description+" "+r.Fix+`"`)
	}
	if len(scopes) > 0 && r.Status != http.StatusBadRequest {
		parameters = append(parameters, `scope="`+strings.Join(scopes, " ")+`"`)
	}
	if v.config.ResourceMetadata != "" {
		parameters = append(parameters, `resource_metadata="`+v.config.ResourceMetadata+`"`)
	}
	return "Bearer " + strings.Join(parameters, ", ")
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
	}{refusal.Code, refusal.Description + " " + refusal.Fix})
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
