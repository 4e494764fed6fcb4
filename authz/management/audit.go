package management

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// An AuditVerdict is what became of checking a chain.
type AuditVerdict struct {
	Valid     bool   `json:"valid"`
	Events    int    `json:"events"`
	Unchained int    `json:"unchained" doc:"Events from before there were hashes."`
	Position  uint64 `json:"position" doc:"Of the last event that was checked."`
	BrokenAt  uint64 `json:"broken_at,omitempty" doc:"Position of the first bad event."`
	Reason    string `json:"reason,omitempty"`
	// Checkpoint is a new one over all that was checked.
	Checkpoint string `json:"checkpoint,omitempty" doc:"JWS over the newest event. Keep it outside: it is what shows later that nothing before was written anew."`
}

// A CheckpointKey verifies checkpoints: a JWK (RFC 8037).
type CheckpointKey struct {
	KeyType string `json:"kty"`
	Curve   string `json:"crv"`
	X       string `json:"x"`
}

type AuditFilter struct {
	Action string    `query:"action"`
	Target string    `query:"target"`
	Member string    `query:"actor" doc:"Only what this key or member did."`
	Since  time.Time `query:"since"`
	Until  time.Time `query:"until"`
}

func (f *AuditFilter) page() keys.EventPage {
	return keys.EventPage{Action: keys.Action(f.Action), Target: f.Target, Actor: f.Member, Since: f.Since, Until: f.Until}
}

func (s *server) auditRoutes() {
	register(s, route{id: "list-events", method: "GET", path: "/orgs/{org}/audit-events", scope: "audit:read", action: "audit.read", summary: "List audit events, the newest first"}, s.listEvents, nil)
	register(s, route{id: "list-revocations", method: "GET", path: "/orgs/{org}/revocations", scope: "audit:read", action: "audit.read", summary: "List what cut tokens, with receipts, the newest first"}, s.listRevocations, nil)
	register(s, route{id: "export-events", method: "GET", path: "/orgs/{org}/audit-events/export", scope: "audit:read", action: "audit.export", summary: "Export audit events, the oldest first", media: []string{"application/x-ndjson", "text/csv"}}, s.exportEvents, nil)
	register(s, route{id: "verify-events", method: "GET", path: "/orgs/{org}/audit-events/verify", scope: "audit:read", action: "audit.read", summary: "Check the chain of audit events"}, s.verifyEvents, nil)
	register(s, route{id: "list-server-events", method: "GET", path: "/audit-events", scope: "operator", action: "verifier.read", summary: "List audit events that are about no organisation, the newest first"}, s.listServerEvents, nil)
	register(s, route{id: "show-checkpoint-key", method: "GET", path: "/checkpoint-key", scope: "audit:read", action: "catalogue.read", summary: "Show the key that verifies checkpoints"}, s.checkpointKey, nil)
}

func (s *server) listEvents(ctx context.Context, c call, in *struct {
	OrgPath
	Caller
	Paging
	AuditFilter
}) (*answer[List[authz.Event]], error) {
	return s.events(ctx, c, in.Paging, in.AuditFilter.page())
}

func (s *server) listRevocations(ctx context.Context, c call, in *struct {
	OrgPath
	Caller
	Paging
	AuditFilter
}) (*answer[List[authz.Event]], error) {
	p := in.AuditFilter.page()
	p.Kind = tokens.Cut
	return s.events(ctx, c, in.Paging, p)
}

func (s *server) listServerEvents(ctx context.Context, c call, in *struct {
	Caller
	Paging
	AuditFilter
}) (*answer[List[authz.Event]], error) {
	return s.events(ctx, c, in.Paging, in.AuditFilter.page())
}

func (s *server) events(ctx context.Context, c call, in Paging, p keys.EventPage) (*answer[List[authz.Event]], error) {
	list := []string{"events", c.organization, string(p.Action), p.Target, p.Actor, p.Since.String(), p.Until.String(), string(p.Kind)}
	if err := s.readCursor(list, in.Cursor, &p.Before); err != nil {
		return nil, err
	}
	if c.organization != "" {
		if _, err := s.config.Registry.Organization(ctx, c.organization); err != nil {
			return nil, err
		}
	}
	p.Limit, p.Newest = in.Limit+1, true
	found, err := s.config.Registry.Events(ctx, c.organization, p)
	if err != nil {
		return nil, err
	}
	return listed(s, c, found, in.Limit, list, authz.ShowEvent, func(e keys.Event) any { return e.Position }), nil
}

// exported is a body that is written while it is read.
type exported struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Disposition string `header:"Content-Disposition"`
	Events      int    `header:"Imara-Events"` // how many lines there are, about
	Body        func(huma.Context)
}

// An export takes no Idempotency-Key, and is no repetition.
func (*exported) replayed() {}

func (s *server) exportEvents(ctx context.Context, c call, in *struct {
	OrgPath
	Caller
	AuditFilter
	Format string `query:"format" enum:"ndjson,csv" default:"ndjson"`
}) (*exported, error) {
	if _, err := s.config.Registry.Organization(ctx, c.organization); err != nil {
		return nil, err
	}
	if err := s.config.Registry.Note(ctx, c.by, "audit.export", c.organization, c.organization); err != nil {
		return nil, err
	}
	count, err := s.config.Registry.CountEvents(ctx, c.organization, in.AuditFilter.page())
	if err != nil {
		return nil, err
	}
	out := &exported{ContentType: "application/x-ndjson", Events: count, Disposition: `attachment; filename="audit.` + in.Format + `"`}
	if in.Format == "csv" {
		out.ContentType = "text/csv; charset=utf-8"
	}
	out.Body = func(h huma.Context) {
		_, w := humago.Unwrap(h)
		if err := authz.ExportEvents(ctx, s.config.Registry, w, c.organization, in.AuditFilter.page(), in.Format == "csv"); err != nil {
			s.config.Logger.Error("export broke off", "request_id", c.by.RequestID, "error", err)
			panic(http.ErrAbortHandler) // a body that just ends would look whole
		}
	}
	return out, nil
}

func (s *server) verifyEvents(ctx context.Context, c call, _ *struct {
	OrgPath
	Caller
}) (*answer[AuditVerdict], error) {
	if _, err := s.config.Registry.Organization(ctx, c.organization); err != nil {
		return nil, err
	}
	chain, err := s.config.Registry.VerifyAudit(ctx, c.organization)
	var broken *keys.BrokenError
	switch {
	case errors.As(err, &broken):
		return &answer[AuditVerdict]{Body: AuditVerdict{Events: chain.Events, Unchained: chain.Unchained, Position: chain.Position, BrokenAt: broken.Position, Reason: broken.Reason}}, nil
	case err != nil:
		return nil, err
	}
	verdict := AuditVerdict{Valid: true, Events: chain.Events, Unchained: chain.Unchained, Position: chain.Position}
	if head := chain.Head(c.organization); len(head.Hash) > 0 {
		checkpoint, err := s.config.Registry.CheckpointOf(head)
		if err != nil {
			return nil, err
		}
		verdict.Checkpoint = checkpoint.Signed
	}
	return &answer[AuditVerdict]{Body: verdict}, nil
}

func (s *server) checkpointKey(context.Context, call, *struct{ Caller }) (*answer[CheckpointKey], error) {
	return &answer[CheckpointKey]{Body: CheckpointKey{"OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(s.config.Registry.CheckpointKey())}}, nil
}
