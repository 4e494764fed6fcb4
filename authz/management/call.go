package management

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// call is who asks, and for which organisation.
type call struct {
	organization string // of the path; empty when it names none
	by           keys.Actor
	own          string // the caller's organisation
	claims       *tokens.Claims
	url          *url.URL
	w            http.ResponseWriter // for the request's line of log
	jose         bool                // a signed answer is wanted
}

type callKey struct{}

// errActor: the request names a member that is not there, or may not name one.
var errActor = errors.New("the key may not act for this member")

// errPrecondition: a member's change must say which version it changes.
var errPrecondition = errors.New("If-Match is required")

// errHeader: a header cannot be what it is.
var errHeader = errors.New("a header cannot be read")

// guard admits tokens with the scope of a route that may act on the organisation
// of the path, and checks the body.
func (s *server) guard(rt route, body reflect.Type) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		w.Header().Set("Cache-Control", "no-store")
		r.URL.RawQuery = escapeOffsets(r.URL.RawQuery)
		var claims *tokens.Claims
		if !rt.open {
			scopes := rt.scopes()
			var err error
			if claims, err = s.config.Verifier.Authorize(r, scopes...); err != nil {
				s.refuse(w, r, s.config.Verifier.Refuse(err, scopes...))
				return
			}
		}
		c, err := s.call(w, r, rt, claims)
		if err == nil {
			c.by.RequestHash, err = checkBody(w, r, body)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		next(huma.WithValue(ctx, callKey{}, c))
	}
}

// call reads who asks for what, on which terms. Claims are nil on a route for everybody.
func (s *server) call(w http.ResponseWriter, r *http.Request, rt route, claims *tokens.Claims) (call, error) {
	c := call{organization: r.PathValue("org"), url: r.URL, w: w}
	c.by.RequestID = w.Header().Get("X-Request-Id")
	c.by.Address = web.Address(r)
	query := r.URL.Query()
	for name, values := range query {
		if len(values) > 1 {
			return c, &keys.InputError{Field: name, Reason: "it is there twice"}
		}
	}
	if query.Has("dry_run") {
		if c.by.DryRun = query.Get("dry_run") == "true"; !c.by.DryRun && query.Get("dry_run") != "false" {
			return c, &keys.InputError{Field: "dry_run", Reason: "it is true or false"}
		}
	}
	if err := c.preferTrial(r, rt, query.Has("dry_run")); err != nil {
		return c, err
	}
	if rt.repeats && !c.by.DryRun {
		c.by.IdempotencyKey = r.Header.Get("Idempotency-Key")
	}
	if key := c.by.IdempotencyKey; len(key) > 255 || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return c, fmt.Errorf("%w: Idempotency-Key is 1 to 255 visible ASCII characters", errHeader)
	}
	for _, name := range []string{"If-Match", "Idempotency-Key", "Imara-Actor"} {
		if values := r.Header.Values(name); len(values) > 1 || len(values) == 1 && values[0] == "" {
			return c, fmt.Errorf("%w: %s is there once and not empty, or not there", errHeader, name)
		}
	}
	if c.jose = rt.signs && strings.HasPrefix(r.Header.Get("Accept"), "application/jose"); !c.jose {
		r.Header.Del("Accept") // there is but one answer
	}
	wait := time.Duration(-1) // who reads is told at once
	if r.Method != http.MethodGet {
		wait = authz.ReceiptWait
	}
	c.by.Wait = preferredWait(r.Header, wait)
	matches := r.Header.Values("If-Match")
	if len(matches) > 0 {
		c.by.IfMatch = versions(matches[0])
	}
	if claims == nil {
		c.by.ClientID = "anonymous"
		return c, nil
	}
	web.Observe(w, "client_id", claims.ClientID)
	web.Observe(w, "jti", claims.ID)
	c.claims, c.own, c.by.ClientID = claims, claims.Organization, claims.ClientID
	c.by.Scopes, c.by.Operator = strings.Fields(claims.Scope), claims.HasScope(keys.OperatorScope)
	if !c.by.Operator && c.organization != "" && c.organization != c.own {
		return c, keys.ErrNotFound
	}
	if member := r.Header.Get("Imara-Actor"); member != "" {
		if err := s.actFor(r.Context(), &c, rt, member); err != nil {
			return c, err
		}
		if len(matches) == 0 && r.Method != http.MethodPost && r.Method != http.MethodGet {
			return c, errPrecondition
		}
	}
	return c, c.by.May(rt.action)
}

// preferTrial makes the call a dry run if Prefer says so (RFC 7240). On a route that changes
// nothing, or against dry_run, it is refused: the caller would take what happens for a trial.
func (c *call) preferTrial(r *http.Request, rt route, said bool) error {
	for name, value := range preferences(r.Header) {
		if name != "dry-run" && name != "dry_run" && name != "dryrun" {
			continue
		}
		if !rt.tries || value != "" && value != "true" || said && !c.by.DryRun {
			return fmt.Errorf("%w: Prefer: dry-run is for requests that change something, without a value and without dry_run=false", errHeader)
		}
		c.by.DryRun = true
		c.w.Header().Set("Preference-Applied", "dry-run")
	}
	return nil
}

// actFor makes the call one of a member's: of the organisation of the path, or of
// the caller's own, where the operator's staff is. The token's scopes still bound it. On a
// route that names no organization and needs no scope, an operator's key may name the member
// of any.
func (s *server) actFor(ctx context.Context, c *call, rt route, member string) error {
	if !c.claims.HasScope(keys.ActScope) {
		return errActor
	}
	m, err := s.config.Registry.Member(ctx, cmp.Or(c.organization, c.own), member)
	if errors.Is(err, keys.ErrNotFound) {
		m, err = s.config.Registry.Member(ctx, c.own, member)
	}
	if errors.Is(err, keys.ErrNotFound) && rt.scope == "" && c.by.Operator {
		m, err = s.config.Registry.MemberAnywhere(ctx, member)
	}
	switch {
	case errors.Is(err, keys.ErrNotFound), err == nil && !m.Active():
		return errActor
	case err != nil:
		return err
	}
	if rt.scope == "" {
		c.own = m.OrganizationID
	}
	c.by.MemberID, c.by.Role = m.ID, m.Role
	c.by.Operator = c.by.Operator && m.Role == keys.Staff
	return nil
}

// A repeatable answer says that it answers a repetition.
type repeatable[O any] interface {
	*O
	replayed()
}

// once carries a request out, unless one with its Idempotency-Key was before, or is
// while it tries: then again answers what that one did.
func once[O any, P repeatable[O]](
	ctx context.Context, s *server, c call, carryOut func() (*O, error), again func(keys.Event) (*O, error),
) (*O, error) {
	if c.by.IdempotencyKey == "" {
		return carryOut()
	}
	for {
		event, same, err := s.config.Registry.Repeated(ctx, c.by)
		switch {
		case errors.Is(err, keys.ErrNotFound):
			out, err := carryOut()
			if err == nil {
				return out, nil
			}
			// Another one with the key may have been faster, and be what stands in the way.
			if _, _, e := s.config.Registry.Repeated(ctx, c.by); e != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		case !same:
			return nil, errMismatch
		}
		out, err := again(event)
		if err != nil {
			return nil, err
		}
		P(out).replayed()
		return out, nil
	}
}

// errMismatch: the Idempotency-Key belongs to another request.
var errMismatch = errors.New("the Idempotency-Key belongs to another request")

// etag of a version.
func etag(version string) string { return `"` + version + `"` }
