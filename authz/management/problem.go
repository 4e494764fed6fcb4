package management

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// A problem is an RFC 9457 document.
type problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail,omitempty"`
	Code      string       `json:"code"`
	Fix       string       `json:"fix,omitempty"`
	RequestID string       `json:"request_id"`
	Errors    []fieldError `json:"errors,omitempty"`
	// Limit and Active come with plan_limit_reached.
	Limit  *int `json:"limit,omitempty"`
	Active *int `json:"active,omitempty"`
}

type fieldError struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// problems is the face of the domain's errors. What stands nowhere is a 500 that
// says nothing.
var problems = []struct {
	err    error
	status int
	code   string
	title  string
	fix    string
}{
	{keys.ErrNotFound, http.StatusNotFound, "not_found", "There is no such thing here", ""},
	{keys.ErrNameTaken, http.StatusConflict, "name_taken", "An active key has this name", "Choose another name, or revoke the other key."},
	{keys.ErrNoAPIAccess, http.StatusForbidden, "api_access_not_in_plan", "The plan does not include API access", "Move the organisation to a plan with API access."},
	{keys.ErrScope, http.StatusForbidden, "scope_not_grantable", "A scope may not be granted", "Leave it out, or ask the operator."},
	{keys.ErrRevoked, http.StatusConflict, "already_revoked", "The key was revoked", "Create a new key: revoking is final."},
	{keys.ErrExpired, http.StatusConflict, "key_expired", "The key expired", "Extend the key, or create a new one."},
	{keys.ErrSuspended, http.StatusConflict, "key_suspended", "The key is suspended", "Resume the key first."},
	{keys.ErrRotating, http.StatusConflict, "rotation_in_progress", "The key has two live secrets already", `Wait for the old one to end, or end both now with "old_ends": "now".`},
	{keys.ErrUnavailable, http.StatusServiceUnavailable, "store_unavailable", "The store cannot answer at the moment", "Try again. Nothing is half-done."},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "store_unavailable", "The store cannot answer at the moment", "Try again."},
	{context.Canceled, 499, "cancelled", "The request was cancelled", ""},
	{errCursor, http.StatusBadRequest, "invalid_cursor", "The cursor is not one of ours", "Begin again without a cursor."},
}

// fail writes the problem for err, and logs what nobody expected.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := explain(err)
	p.Type = "urn:imara:problem:" + p.Code
	p.RequestID = w.Header().Get("X-Request-Id")
	if p.Status >= http.StatusInternalServerError {
		s.Logger.Error("request failed", "route", r.Pattern, "request_id", p.RequestID, "error", err)
	}
	authz.Observe(w, "outcome", p.Code)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

func explain(err error) problem {
	var limit *keys.LimitError
	var input *keys.InputError
	var body *bodyError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		return problem{Status: http.StatusConflict, Code: "plan_limit_reached", Title: "The plan has no free slot", Detail: limit.Error(),
			Fix: "Revoke a key that is not needed any more, or get a larger plan.", Limit: &limit.Limit, Active: &limit.Active}
	case errors.As(err, &input):
		return problem{Status: http.StatusUnprocessableEntity, Code: "invalid_field", Title: "A field cannot be accepted", Detail: input.Error(),
			Errors: []fieldError{{"/" + input.Field, input.Reason}}}
	case errors.As(err, &tooLarge):
		return problem{Status: http.StatusRequestEntityTooLarge, Code: "body_too_large", Title: "The body is too large"}
	case errors.As(err, &body):
		return problem{Status: http.StatusBadRequest, Code: "invalid_body", Title: "The body cannot be read", Detail: body.reason}
	}
	for _, known := range problems {
		if errors.Is(err, known.err) {
			return problem{Status: known.status, Code: known.code, Title: known.title, Fix: known.fix}
		}
	}
	return problem{Status: http.StatusInternalServerError, Code: "server_error", Title: "The server failed",
		Detail: "The request id finds the reason in the server's log."}
}
