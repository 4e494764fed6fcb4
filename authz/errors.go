package authz

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// An oauthError is an error answer of RFC 6749 §5.2. Descriptions are ASCII
// without quotes and backslashes, and never repeat a secret.
type oauthError struct {
	status      int
	code        string
	description string
}

func (e *oauthError) Error() string { return e.code + ": " + e.description }

func invalidRequest(description string) error {
	return &oauthError{http.StatusBadRequest, "invalid_request", description}
}

// unauthenticated is [oauthError] with the challenge that RFC 6749 §5.2 wants
// when the client used, or should have used, the Authorization header. Clients
// that read the challenge ignore the body, so it repeats the text.
type unauthenticated struct{ oauthError }

// failedClient answers a failed authentication. Credentials in the body get 400
// and no challenge: then the client shows its user the reason.
func failedClient(inHeader bool, code, description string) error {
	if inHeader {
		return &unauthenticated{oauthError{http.StatusUnauthorized, code, description}}
	}
	return &oauthError{http.StatusBadRequest, code, description}
}

// clientErrors is why a client that proved who it is gets no token, in words.
var clientErrors = []struct {
	err         error
	code        string
	description string
}{
	{keys.ErrCredentials, "invalid_client", "Unknown client, or the secret does not match."},
	{keys.ErrSecretEnded, "invalid_client", "This secret was replaced and has ended. Use the new one."},
	{keys.ErrRevoked, "invalid_client", "This key was revoked."},
	{keys.ErrExpired, "invalid_client", "This key expired."},
	{keys.ErrSuspended, "invalid_client", "This key is suspended."},
	{keys.ErrPending, "invalid_client", "This key waits for approval."},
	{keys.ErrNetwork, "unauthorized_client", "This key may not be used from this network."},
	{keys.ErrNoAPIAccess, "unauthorized_client", "The plan of this organization does not include API access."},
}

// refusal is the answer to a client that gets no token, in words if it is the client's
// matter.
func refusal(err error, inHeader bool) error {
	for _, e := range clientErrors {
		if errors.Is(err, e.err) {
			return failedClient(inHeader && e.code == "invalid_client", e.code, e.description)
		}
	}
	return err
}

// serverErrors is what is not the client's fault. What stands nowhere is a 500.
var serverErrors = []struct {
	err         error
	status      int
	code        string
	description string
}{
	{keys.ErrUnavailable, http.StatusServiceUnavailable, "temporarily_unavailable", "The server cannot decide at the moment. Try again."},
	{tokens.ErrStale, http.StatusServiceUnavailable, "temporarily_unavailable", "The server cannot decide at the moment. Try again."},
	{context.Canceled, http.StatusServiceUnavailable, "temporarily_unavailable", "The server cannot decide at the moment. Try again."},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "temporarily_unavailable", "The server cannot decide at the moment. Try again."},
	{keys.ErrSessions, http.StatusTooManyRequests, "too_many_verifiers", "All verifiers that this key may have are alive. End one, or ask the operator for more."},
	{keys.ErrWaive, http.StatusForbidden, "insufficient_scope", "A view past the lease needs the scope revocations:waive, which an operator grants."},
	{keys.ErrForbidden, http.StatusForbidden, "insufficient_scope", "This key may not follow the revocation log."},
	{keys.ErrNotFound, http.StatusNotFound, "not_found", "There is no such session."},
	{errHistory, http.StatusGone, "gone", "The session followed another log. Join again."},
}

// explain finds the answer to err in the tables.
func explain(err error) (answer oauthError, challenge, known bool) {
	var withChallenge *unauthenticated
	var plain *oauthError
	switch {
	case errors.As(err, &withChallenge):
		return withChallenge.oauthError, true, true
	case errors.As(err, &plain):
		return *plain, false, true
	}
	var lease *keys.LeaseError
	if errors.As(err, &lease) {
		return oauthError{http.StatusUnprocessableEntity, "lease_too_long",
			fmt.Sprintf("lease_ms is at most %d for this key; an operator can grant more.", lease.Longest.Milliseconds())}, false, true
	}
	var limit *web.RateLimitError
	if errors.As(err, &limit) {
		return oauthError{http.StatusTooManyRequests, "slow_down", limit.Text()}, false, true
	}
	for _, e := range serverErrors {
		if errors.Is(err, e.err) {
			return oauthError{e.status, e.code, e.description}, false, true
		}
	}
	return oauthError{http.StatusInternalServerError, "server_error", "The server failed; the request id finds the reason in its log."}, false, false
}

// fail writes the answer to err, and logs what nobody expected.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	answer, challenge, known := explain(err)
	if !known || answer.status == http.StatusServiceUnavailable {
		s.config.Logger.Log(r.Context(), web.LevelOf(err), "request failed",
			"route", r.Pattern, "request_id", w.Header().Get("X-Request-Id"), "error", err)
	}
	web.Observe(w, "outcome", answer.code)
	if limit := (*web.RateLimitError)(nil); errors.As(err, &limit) {
		limit.Headers(w.Header())
	}
	if challenge {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Basic realm="%s", charset="UTF-8", error="%s", error_description="%s"`,
			s.config.Issuer, answer.code, answer.description))
	}
	if answer.status == http.StatusServiceUnavailable || answer.status == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "1")
	}
	web.WriteJSON(w, answer.status, web.ErrorBody{
		Error: answer.code, Description: answer.description, URI: s.errorURI(answer.code)})
}
