package management

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// A Problem is an RFC 9457 document.
type Problem struct {
	Type      string       `json:"type" doc:"Where the code is explained."`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail,omitempty"`
	Code      string       `json:"code" doc:"Stable, for programs."`
	Fix       string       `json:"fix,omitempty" doc:"What to do about it."`
	RequestID string       `json:"request_id"`
	Errors    []FieldError `json:"errors,omitempty"`
	// Opens comes with account_exists.
	Opens []string `json:"opens,omitempty" doc:"Ids of all organizations that the address is in or invited to."`
	// Limit and Active come with plan_limit_reached.
	Limit  *int `json:"limit,omitempty"`
	Active *int `json:"active,omitempty"`
	// Keys come with in_use: ids of some that are in the way, of KeyCount.
	Keys     []string `json:"keys,omitempty"`
	KeyCount int      `json:"key_count,omitempty"`

	rate *web.RateLimitError // of rate_limited
}

// A FieldError is about one field.
type FieldError struct {
	Pointer string `json:"pointer" doc:"JSON pointer (RFC 6901) into the body, or the name of a parameter."`
	Detail  string `json:"detail"`
}

// Error, GetStatus and ContentType are what the library asks of an error.
func (p *Problem) Error() string             { return p.Code }
func (p *Problem) GetStatus() int            { return p.Status }
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders says when to try again.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	if p.rate != nil {
		p.rate.Headers(h)
	}
	return h
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
	{errKID, http.StatusNotFound, "signing_key_not_found", "There is no signing key with this kid", "List the signing keys for their kids."},
	{keys.ErrNotFound, http.StatusNotFound, "not_found", "There is no such thing here", "Check the path, the identifiers in it, and to which organisation they belong."},
	{keys.ErrNameTaken, http.StatusConflict, "name_taken", "An active key has this name", "Choose another name, or revoke the other key."},
	{keys.ErrExists, http.StatusConflict, "already_exists", "It is there already", "Choose another."},
	{keys.ErrNoAPIAccess, http.StatusForbidden, "api_access_not_in_plan", "The plan does not include API access", "Move the organisation to a plan with API access."},
	{keys.ErrScope, http.StatusForbidden, "scope_not_grantable", "A scope may not be granted",
		"Leave it out, or ask the operator. Restricted scopes are for keys of the operator's organization; imara verifiers add NAME makes one that has revocations:read."},
	{keys.ErrForbidden, http.StatusForbidden, "forbidden", "This is not allowed", "Ask somebody whose role allows it."},
	{errActor, http.StatusForbidden, "actor_not_allowed", "The key may not act for this member", "Name a member of the organisation, with a key that has the scope members:act."},
	{keys.ErrLifetime, http.StatusUnprocessableEntity, "lifetime_exceeds_policy", "The policy wants the key to end earlier", "Choose an earlier end."},
	{keys.ErrRevoked, http.StatusConflict, "already_revoked", "The key was revoked", "Create a new key: revoking is final."},
	{keys.ErrExpired, http.StatusConflict, "key_expired", "The key expired", "Extend the key, or create a new one."},
	{keys.ErrSuspended, http.StatusConflict, "key_suspended", "The key is suspended", "Resume the key first."},
	{keys.ErrPending, http.StatusConflict, "key_pending", "The key waits for approval", "Have it approved first."},
	{keys.ErrNotPending, http.StatusConflict, "key_not_pending", "The key does not wait for approval", "Rotate it for its secret, if you asked for it."},
	{keys.ErrSecretEnded, http.StatusConflict, "secret_ended", "The secret has ended", "Rotate the key for a new one."},
	{keys.ErrRotating, http.StatusConflict, "rotation_in_progress", "The key has two live secrets already", `Wait for the old one to end, or end both now with "old_ends": "now".`},
	{signing.ErrRotating, http.StatusConflict, "signing_key_too_new", "The next signing key is not published for long enough",
		"Rotate again when it is ready: then every verifier has it. A key that was stolen is withdrawn at once."},
	{keys.ErrElsewhere, http.StatusConflict, "signs_in_elsewhere", "People with this address sign in with a provider of single sign-on",
		"They need no link: they sign in there, and accept in the panel."},
	{keys.ErrLastOwner, http.StatusConflict, "last_owner", "An organisation keeps an Owner", "Make another member Owner first."},
	{keys.ErrOwnsKeys, http.StatusConflict, "member_owns_keys", "The member owns keys", `Name in "keys_go_to" who takes them over, or revoke them.`},
	{keys.ErrInUse, http.StatusConflict, "in_use", "Active keys use it", "Revoke them, or take it from them first."},
	{keys.ErrChanged, http.StatusPreconditionFailed, "precondition_failed", "It was changed meanwhile", "Read it again, and send its ETag as If-Match."},
	{keys.ErrWaiting, http.StatusConflict, "receipt_waiting", "The receipt is not settled yet", "Ask again with Prefer: wait=60."},
	{errPrecondition, http.StatusPreconditionRequired, "precondition_required", "If-Match is required", "Send the ETag of what you change as If-Match."},
	{errMismatch, http.StatusUnprocessableEntity, "idempotency_mismatch", "The Idempotency-Key belongs to another request", "Use a new key for a new request."},
	{errMethod, http.StatusMethodNotAllowed, "method_not_allowed", "The path has other methods", "Use one of the methods in Allow."},
	{errHeader, http.StatusBadRequest, "invalid_header", "A header cannot be read", "Send the header once, in the form that the detail names."},
	{errCursor, http.StatusBadRequest, "invalid_cursor", "The cursor is not one of ours", "Begin again without a cursor."},
	{os.ErrDeadlineExceeded, http.StatusRequestTimeout, "body_timeout", "The body did not arrive in time", "Send it again. Nothing was changed."},
	{errSignature, http.StatusUnauthorized, "invalid_signature", "The report is not signed as it must be", "Sign the body as GitHub's secret scanning does, with a key that GitHub publishes."},
	{keys.ErrUnavailable, http.StatusServiceUnavailable, "store_unavailable", "The store cannot answer at the moment", "Try again. Nothing is half-done."},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "store_unavailable", "The store cannot answer at the moment", "Try again."},
	{context.Canceled, http.StatusServiceUnavailable, "store_unavailable", "The store cannot answer at the moment", "Try again."},
}

// errMethod: the path is there, with other methods.
var errMethod = errors.New("another method")

// unserved is the error of a request that no route has.
func unserved(u web.Unserved) error {
	if u.Allow != "" {
		return fmt.Errorf("%w: use %s", errMethod, u.Allow)
	}
	return keys.ErrNotFound
}

// The codes that have no error of their own in the table.
const (
	codeLimit  = "plan_limit_reached"
	codeField  = "invalid_field"
	codeBody   = "invalid_body"
	codeLarge  = "body_too_large"
	codeMedia  = "unsupported_media_type"
	codeServer = "server_error"
	codeRate   = "rate_limited"
	codeToken  = "token_required" // and the codes of RFC 6750
)

// plain explains them.
var plain = []authz.ErrorPage{
	{Code: codeLimit, Title: "The plan has no free slot", Fix: "Revoke a key that is not needed any more, or get a larger plan."},
	{Code: codeAccount, Title: titleAccount, Fix: fixAccount},
	{Code: codeField, Title: "A field cannot be accepted", Fix: "Change the field that errors names."},
	{Code: codeBody, Title: "The body cannot be read", Fix: "Send one JSON object with the fields that the OpenAPI document names, each once."},
	{Code: codeLarge, Title: "The body is too large", Fix: "Send less than 1 MiB."},
	{Code: codeRate, Title: "Too many requests", Fix: "Wait as long as Retry-After says."},
	{Code: codeMedia, Title: "The body has another media type", Fix: "Send the header Content-Type: application/json."},
	{Code: codeToken, Title: "An access token is required",
		Fix: "Get one from the token endpoint for this API, and send it in the Authorization header with Bearer."},
}

// pageOf explains a code, of this API first, then of OAuth.
func pageOf(code string) (authz.ErrorPage, bool) {
	for _, known := range problems {
		if known.code == code {
			return authz.ErrorPage{Code: code, Title: known.title, Fix: known.fix}, true
		}
	}
	for _, pages := range [][]authz.ErrorPage{plain, authz.ErrorPages()} {
		for _, page := range pages {
			if page.Code == code {
				return page, true
			}
		}
	}
	return authz.ErrorPage{}, false
}

// complete fills in what the code says by itself.
func (s *server) complete(p *Problem, requestID string) *Problem {
	page, _ := pageOf(p.Code)
	p.Title, p.Fix = cmp.Or(p.Title, page.Title), cmp.Or(p.Fix, page.Fix)
	p.Type, p.RequestID = authz.ErrorURI(s.config.Issuer, p.Code), requestID
	return p
}

// What is said of an address that has an account.
const (
	codeAccount  = "account_exists"
	titleAccount = "The address has a password, or is in other organizations: a link would open all of them"
	fixAccount   = `They sign in with the password that they have, and accept there. Where an account must be reset, name in "reset" all that "opens" lists.`
)

// fail writes the problem for err where the library is not asked.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := s.explain(r.Context(), r.Pattern, w.Header().Get("X-Request-Id"), err)
	web.Observe(w, "outcome", p.Code)
	h := w.Header()
	h.Set("Content-Type", p.ContentType(""))
	h.Set("Cache-Control", "no-store")
	for name, values := range p.GetHeaders() {
		h[name] = values
	}
	w.WriteHeader(p.Status)
	marshal(w, p)
}

// refuse writes the problem for a token that is not accepted, with the challenge of
// RFC 6750.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, refused tokens.Refusal) {
	if refused.Status < http.StatusInternalServerError {
		if limit := s.config.Throttle.Failed(web.Address(r), ""); limit != nil {
			limit.Reason = refused.Description
			s.fail(w, r, limit)
			return
		}
	}
	p := s.complete(&Problem{Status: refused.Status, Code: cmp.Or(refused.Code, codeToken),
		Detail: refused.Description, Fix: refused.Fix}, w.Header().Get("X-Request-Id"))
	refused.Headers(w.Header())
	web.Observe(w, "outcome", p.Code)
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	marshal(w, p)
}

// problem is the document for a handler's error, nil for none.
func (s *server) problem(ctx context.Context, rt route, err error) error {
	if err == nil {
		return nil
	}
	c, _ := ctx.Value(callKey{}).(call)
	p := s.explain(ctx, rt.method+" "+rt.path, c.by.RequestID, err)
	web.Observe(c.w, "outcome", p.Code)
	return p
}

// explain logs what nobody expected.
func (s *server) explain(ctx context.Context, route, requestID string, err error) *Problem {
	p := s.complete(explain(err), requestID)
	if p.Status >= http.StatusInternalServerError {
		s.config.Logger.Log(ctx, web.LevelOf(err), "request failed", "route", route, "request_id", requestID, "error", err)
	}
	return p
}

// transform turns the library's own errors into ours, dropping what was sent, and says of
// what was only tried that it was.
func (s *server) transform(ctx huma.Context, _ string, v any) (any, error) {
	model, ok := v.(*huma.ErrorModel)
	if _, failed := v.(*Problem); !ok && !failed {
		if c, _ := ctx.Context().Value(callKey{}).(call); c.by.DryRun {
			return tried(v)
		}
	}
	if !ok {
		return v, nil
	}
	p := &Problem{Status: model.Status, Code: codeField, Detail: model.Detail}
	switch {
	case model.Status == http.StatusRequestEntityTooLarge:
		p.Code = codeLarge
	case model.Status >= http.StatusInternalServerError:
		p.Code, p.Detail = codeServer, ""
		s.config.Logger.Error("request failed", "route", ctx.Operation().Path, "error", model.Detail)
	case model.Status != http.StatusUnprocessableEntity:
		p.Code = codeBody
	}
	for _, e := range model.Errors {
		location := strings.NewReplacer("body.", "/", "query.", "", "path.", "", "header.", "").Replace(e.Location)
		reason := e.Message
		if strings.HasPrefix(reason, "invalid date/time") {
			reason = "a time is " + timeForm
		}
		p.Errors = append(p.Errors, FieldError{location, reason})
		p.Detail = location + ": " + reason
		if strings.HasPrefix(e.Location, "query.") && e.Message == unknownParameter {
			p.Fix = unknownFix(location, parametersOf(ctx.Operation()))
		}
	}
	c, _ := ctx.Context().Value(callKey{}).(call)
	return s.complete(p, c.by.RequestID), nil
}

// unknownParameter is the library's message for a parameter that a route does not have.
const unknownParameter = "unknown query parameter"

func parametersOf(op *huma.Operation) (names []string) {
	for _, parameter := range op.Parameters {
		if parameter.In == "query" {
			names = append(names, parameter.Name)
		}
	}
	return names
}

// tried is an answer's body with dry_run before its members.
func tried(body any) (any, error) {
	var text bytes.Buffer
	if err := marshal(&text, body); err != nil || !bytes.HasPrefix(text.Bytes(), []byte("{")) {
		return body, err
	}
	rest := bytes.TrimSpace(text.Bytes()[1:])
	if !bytes.HasPrefix(rest, []byte("}")) {
		rest = append([]byte(","), rest...)
	}
	return json.RawMessage(append([]byte(`{"dry_run":true`), rest...)), nil
}

func explain(err error) *Problem {
	var limit *keys.LimitError
	var rate *web.RateLimitError
	var input *keys.InputError
	var body *bodyError
	var tooLarge *http.MaxBytesError
	var account *keys.AccountError
	switch {
	case errors.As(err, &account):
		return &Problem{Status: http.StatusConflict, Code: codeAccount, Opens: account.Opens}
	case errors.As(err, &limit):
		return &Problem{Status: http.StatusConflict, Code: codeLimit, Detail: limit.Error(),
			Limit: &limit.Limit, Active: &limit.Active}
	case errors.As(err, &rate):
		return &Problem{Status: http.StatusTooManyRequests, Code: codeRate, Detail: rate.Text(), rate: rate}
	case errors.As(err, &input):
		return &Problem{Status: http.StatusUnprocessableEntity, Code: codeField, Detail: input.Error(),
			Errors: []FieldError{{"/" + input.Field, input.Reason}}}
	case errors.As(err, &tooLarge):
		return &Problem{Status: http.StatusRequestEntityTooLarge, Code: codeLarge}
	case errors.As(err, &body) && body.status == http.StatusUnsupportedMediaType:
		return &Problem{Status: body.status, Code: codeMedia, Detail: body.reason}
	case errors.As(err, &body):
		p := &Problem{Status: body.status, Code: codeBody, Detail: body.reason, Fix: body.fix}
		if body.pointer != "" {
			p.Errors = []FieldError{{body.pointer, body.reason}}
		}
		return p
	}
	for _, known := range problems {
		if errors.Is(err, known.err) {
			p := &Problem{Status: known.status, Code: known.code, Title: known.title, Fix: known.fix}
			p.inTheWay(err)
			if err != known.err && known.status < http.StatusInternalServerError && known.status != http.StatusNotFound {
				p.Detail = err.Error()
			}
			return p
		}
	}
	return &Problem{Status: http.StatusInternalServerError, Code: codeServer,
		Detail: "The request id finds the reason in the server's log."}
}

// inTheWay names the keys that use what was to be taken away.
func (p *Problem) inTheWay(err error) {
	var used *keys.InUseError
	if !errors.As(err, &used) {
		return
	}
	p.KeyCount = len(used.Keys)
	for _, k := range used.Named() {
		p.Keys = append(p.Keys, k.ID)
	}
}
