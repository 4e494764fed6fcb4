package management

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// An Event of the audit log.
type Event struct {
	ID           string       `json:"id"`
	Position     uint64       `json:"position" doc:"In the log of the server; an organisation's events have gaps."`
	At           time.Time    `json:"at"`
	Organization string       `json:"organization,omitempty"`
	Action       string       `json:"action"`
	Target       string       `json:"target" doc:"Id of what was changed."`
	ClientID     string       `json:"client_id" doc:"The key that asked, or the part of the server that did it by itself."`
	Member       string       `json:"member,omitempty" doc:"The member for whom the key acted."`
	RequestID    string       `json:"request_id,omitempty"`
	Address      string       `json:"address,omitempty"`
	Reason       string       `json:"reason,omitempty"`
	Changes      keys.Changes `json:"changes,omitempty" doc:"Fields, as they were and as they are; no secrets."`
	Kind         string       `json:"kind" enum:"cut,touch" doc:"Whether tokens from before are dead."`
	Subject      string       `json:"subject" doc:"What verifiers were told about."`
	Hash         string       `json:"hash,omitempty" doc:"SHA-256 over the event and the hash of the one before it, in hex."`
	Receipt      *Receipt     `json:"receipt,omitempty" doc:"How far a cut has reached. It came later and is not in the hash."`
}

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
}) (*answer[List[Event]], error) {
	return s.events(ctx, c, in.Paging, in.AuditFilter.page())
}

func (s *server) listRevocations(ctx context.Context, c call, in *struct {
	OrgPath
	Caller
	Paging
	AuditFilter
}) (*answer[List[Event]], error) {
	p := in.AuditFilter.page()
	p.Kind = tokens.Cut
	return s.events(ctx, c, in.Paging, p)
}

func (s *server) listServerEvents(ctx context.Context, c call, in *struct {
	Caller
	Paging
	AuditFilter
}) (*answer[List[Event]], error) {
	return s.events(ctx, c, in.Paging, in.AuditFilter.page())
}

func (s *server) events(ctx context.Context, c call, in Paging, p keys.EventPage) (*answer[List[Event]], error) {
	list := []string{"events", c.organization, string(p.Action), p.Target, p.Actor, p.Since.String(), p.Until.String(), string(p.Kind)}
	if err := s.readCursor(list, in.Cursor, &p.Before); err != nil {
		return nil, err
	}
	if c.organization != "" {
		if _, err := s.Registry.Organization(ctx, c.organization); err != nil {
			return nil, err
		}
	}
	p.Limit, p.Newest = in.Limit+1, true
	found, err := s.Registry.Events(ctx, c.organization, p)
	if err != nil {
		return nil, err
	}
	return listed(s, c, found, in.Limit, list, showEvent, func(e keys.Event) any { return e.Position }), nil
}

// exported is a body that is written while it is read.
type exported struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Disposition string `header:"Content-Disposition"`
	Events      int    `header:"Imara-Events"` // how many lines there are, about
	Body        func(huma.Context)
}

// An ExportEnd is the last line of an NDJSON export.
type ExportEnd struct {
	Checkpoint string `json:"checkpoint,omitempty"` // over the last event
	// Filtered: events between those that are here were left out, so that there is no
	// chain to check.
	Filtered bool `json:"filtered,omitempty"`
}

func (s *server) exportEvents(ctx context.Context, c call, in *struct {
	OrgPath
	Caller
	AuditFilter
	Format string `query:"format" enum:"ndjson,csv" default:"ndjson"`
}) (*exported, error) {
	if _, err := s.Registry.Organization(ctx, c.organization); err != nil {
		return nil, err
	}
	if err := s.Registry.Note(ctx, c.by, "audit.export", c.organization, c.organization); err != nil {
		return nil, err
	}
	count, err := s.Registry.CountEvents(ctx, c.organization, in.AuditFilter.page())
	if err != nil {
		return nil, err
	}
	out := &exported{ContentType: "application/x-ndjson", Events: count, Disposition: `attachment; filename="audit.` + in.Format + `"`}
	write := s.ndjson
	if in.Format == "csv" {
		out.ContentType, write = "text/csv; charset=utf-8", authz.EventCSV
	}
	filtered := in.Action != "" || in.Target != "" || in.Member != ""
	out.Body = func(h huma.Context) {
		_, w := humago.Unwrap(h)
		if in.Format == "csv" {
			authz.EventCSVHeader(w)
		}
		var last keys.Event
		err := s.Registry.EachEvent(ctx, c.organization, in.AuditFilter.page(), func(e keys.Event) error {
			last = e
			return write(w, e)
		})
		if err == nil && in.Format == "ndjson" {
			err = s.endNDJSON(w, last, filtered)
		}
		if err != nil {
			s.Logger.Error("export broke off", "request_id", c.by.RequestID, "error", err)
			panic(http.ErrAbortHandler) // a body that just ends would look whole
		}
	}
	return out, nil
}

func (s *server) ndjson(w io.Writer, e keys.Event) error { return marshal(w, showEvent(e)) }

func (s *server) endNDJSON(w io.Writer, last keys.Event, filtered bool) error {
	if filtered || len(last.Hash) == 0 {
		return marshal(w, ExportEnd{Filtered: filtered})
	}
	checkpoint, err := s.Registry.CheckpointOf(last)
	if err != nil {
		return err
	}
	return marshal(w, ExportEnd{Checkpoint: checkpoint.Signed})
}

func (s *server) verifyEvents(ctx context.Context, c call, _ *struct {
	OrgPath
	Caller
}) (*answer[AuditVerdict], error) {
	if _, err := s.Registry.Organization(ctx, c.organization); err != nil {
		return nil, err
	}
	chain, err := s.Registry.VerifyAudit(ctx, c.organization)
	var broken *keys.BrokenError
	switch {
	case errors.As(err, &broken):
		return &answer[AuditVerdict]{Body: AuditVerdict{Events: chain.Events, Unchained: chain.Unchained, Position: chain.Position, BrokenAt: broken.Position, Reason: broken.Reason}}, nil
	case err != nil:
		return nil, err
	}
	verdict := AuditVerdict{Valid: true, Events: chain.Events, Unchained: chain.Unchained, Position: chain.Position}
	if head := chain.Head(c.organization); len(head.Hash) > 0 {
		checkpoint, err := s.Registry.CheckpointOf(head)
		if err != nil {
			return nil, err
		}
		verdict.Checkpoint = checkpoint.Signed
	}
	return &answer[AuditVerdict]{Body: verdict}, nil
}

func (s *server) checkpointKey(context.Context, call, *struct{ Caller }) (*answer[CheckpointKey], error) {
	return &answer[CheckpointKey]{Body: CheckpointKey{"OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(s.Registry.CheckpointKey())}}, nil
}

func showEvent(e keys.Event) Event {
	shown := Event{ID: e.ID(), Position: e.Position, At: e.At, Organization: e.OrganizationID, Action: string(e.Action), Target: e.Target,
		ClientID: e.ClientID, Member: e.MemberID, RequestID: e.RequestID, Address: e.Address, Reason: e.Reason, Changes: e.Changes,
		Kind: string(e.Kind), Subject: string(e.Subject), Hash: hex.EncodeToString(e.Hash)}
	if e.Receipt != nil {
		shown.Receipt = showReceipt(*e.Receipt)
		shown.Receipt.RevokedAt = e.At
	}
	return shown
}

// ReadEvent is the event of a line of an NDJSON export, for those who check it.
func ReadEvent(line []byte) (e keys.Event, end ExportEnd, err error) {
	var both struct {
		Event
		ExportEnd
	}
	if err := json.Unmarshal(line, &both); err != nil {
		return e, end, err
	}
	hash, err := hex.DecodeString(both.Hash)
	if err != nil {
		return e, end, err
	}
	return keys.Event{Position: both.Position, At: both.At, OrganizationID: both.Organization, Action: keys.Action(both.Action), Target: both.Target,
		ClientID: both.ClientID, MemberID: both.Member, RequestID: both.RequestID, Address: both.Address, Reason: both.Reason, Changes: both.Changes,
		Kind: tokens.Kind(both.Kind), Subject: tokens.Subject(both.Subject), Hash: hash}, both.ExportEnd, nil
}
