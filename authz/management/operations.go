package management

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// A Verifier is one that must confirm every revocation.
type Verifier struct {
	ID             string    `json:"id"`
	Name           string    `json:"name"`
	ClientID       string    `json:"client_id,omitempty"`
	Via            string    `json:"via" enum:"redis,http,server" doc:"server is a server's own."`
	LeaseMS        int64     `json:"lease_ms"`
	AcceptStaleMS  int64     `json:"accept_stale_ms" doc:"How old a view it may use past its lease; 0 when it refuses."`
	Protocol       int       `json:"protocol" doc:"Of the feed, as it joined."`
	Implementation string    `json:"implementation,omitempty" doc:"What it says that it is, as name/version."`
	Unproved       []string  `json:"unproved" doc:"Rules that it broke in its examination; protocol when it took none."`
	JoinedAt       time.Time `json:"joined_at"`
	Applied        uint64    `json:"applied" doc:"Position in the revocation log."`
	Behind         uint64    `json:"behind" doc:"Entries that it lacks."`
	// EndedAt is there for one that cannot poll again, and is listed until it can accept
	// nothing any more.
	EndedAt *time.Time `json:"ended_at,omitempty"`
}

// AddAccountLink is the request for a link.
type AddAccountLink struct {
	Email string `json:"email"`
	// Reset is for an account that is there already.
	Reset []string `json:"reset,omitempty" maxItems:"500" doc:"Replaces the password of an account: the ids of all organizations that the link opens, as the problem account_exists names them. It stands in the audit log of each."`
}

// AccountLink lets a person choose a password for the panel, once.
type AccountLink struct {
	Email     string    `json:"email"`
	Opens     []string  `json:"opens,omitempty" doc:"The organizations that it opens, where it replaces a password."`
	URL       string    `json:"url,omitempty" doc:"Whoever has it can be that person. It is in the answer to the request that made it, and nowhere else."`
	ExpiresAt time.Time `json:"expires_at"`
}

// Me is who a token speaks for.
type Me struct {
	ClientID     string    `json:"client_id"`
	Organization string    `json:"organization"`
	Scopes       []string  `json:"scopes"`
	Member       string    `json:"member,omitempty"`
	Role         string    `json:"role,omitempty"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// InspectToken is the request to look at a token.
type InspectToken struct {
	Token    string `json:"token"`
	Audience string `json:"audience,omitempty" doc:"For which it should be good; the one that it names without it."`
}

// InspectedToken is what a verifier says of it.
type InspectedToken struct {
	Valid  bool           `json:"valid"`
	Reason string         `json:"reason,omitempty"`
	Claims *tokens.Claims `json:"claims,omitempty" doc:"Of a token of the caller's organisation."`
}

func (s *server) operationRoutes() {
	register(s, route{id: "list-verifiers", method: "GET", path: "/verifiers", scope: "operator", action: "verifier.read", summary: "List who must confirm a revocation"}, s.listVerifiers, nil)
	register(s, route{id: "end-verifier", method: "DELETE", path: "/verifiers/{verifier}", scope: "operator", action: "verifier.end", summary: "End a verifier's session, so that revocations wait for it no longer than its lease", status: 204}, s.endVerifier, nil)
	register(s, route{id: "create-account-link", method: "POST", path: "/account-links", scope: "operator", action: "account.link", summary: "Make a link with which a person chooses a password for the panel", status: 201}, s.createAccountLink, s.accountLinkMade)
	register(s, route{id: "unbind-account", method: "DELETE", path: "/accounts/{email}/identity", scope: "operator", action: "account.unbind", summary: "Let another person of the provider have an address", status: 204}, s.unbindAccount, nil)
	register(s, route{id: "show-me", method: "GET", path: "/me", action: "catalogue.read", summary: "Show for whom the token speaks"}, s.me, nil)
	register(s, route{id: "inspect-token", method: "POST", path: "/tokens/inspect", scope: "keys:read", action: "catalogue.read", summary: "Verify a token, and say what it says"}, s.inspect, nil)
}

func (s *server) listVerifiers(ctx context.Context, c call, in *struct {
	Caller
	Paging
}) (*answer[List[Verifier]], error) {
	var after string
	if err := s.readCursor([]string{"verifiers"}, in.Cursor, &after); err != nil {
		return nil, err
	}
	verifiers, err := s.config.Relay.Verifiers(ctx)
	if err != nil {
		return nil, err
	}
	id := func(v authz.Verifier) string { return v.PublicID() }
	slices.SortFunc(verifiers, func(a, b authz.Verifier) int { return strings.Compare(id(a), id(b)) })
	from, found := slices.BinarySearchFunc(verifiers, after, func(v authz.Verifier, after string) int { return strings.Compare(id(v), after) })
	if found {
		from++
	}
	page := verifiers[from:min(from+in.Limit+1, len(verifiers))]
	return listed(s, c, page, in.Limit, []string{"verifiers"}, showVerifier, func(v authz.Verifier) any { return id(v) }), nil
}

func showVerifier(v authz.Verifier) Verifier {
	return Verifier{ID: v.PublicID(), Name: v.Name, ClientID: v.ClientID, Via: v.Via,
		LeaseMS: v.Lease.Milliseconds(), AcceptStaleMS: v.AcceptStale.Milliseconds(),
		Protocol: v.Protocol, Implementation: v.Implementation, Unproved: v.Broken(),
		JoinedAt: v.JoinedAt.UTC(), Applied: v.Applied, Behind: v.Behind, EndedAt: optional(v.EndedAt.UTC())}
}

// endVerifier ends a session. It cannot poll again; revocations wait for its lease at most.
func (s *server) endVerifier(ctx context.Context, c call, in *struct {
	Verifier string `path:"verifier"`
	Change
}) (*nothing, error) {
	return &nothing{}, s.config.Relay.EndVerifier(ctx, c.by, in.Verifier)
}

func (s *server) createAccountLink(ctx context.Context, c call, in *struct {
	Terms
	Body AddAccountLink
}) (*answer[AccountLink], error) {
	body := in.Body
	var token string
	var l keys.Link
	var err error
	if body.Reset == nil {
		token, l, err = s.config.Registry.NewLink(ctx, c.by, body.Email, "")
	} else {
		token, l, err = s.config.Registry.NewResetLink(ctx, c.by, body.Email, body.Reset)
	}
	if err != nil {
		return nil, err
	}
	made := AccountLink{Email: l.Email, Opens: l.Opens, ExpiresAt: l.ExpiresAt}
	if token != "" {
		made.URL = authz.PanelLink(s.config.Issuer, token)
	}
	return &answer[AccountLink]{Body: made}, nil
}

func (s *server) accountLinkMade(_ context.Context, _ call, e keys.Event) (*answer[AccountLink], error) {
	return &answer[AccountLink]{Body: AccountLink{Email: e.Target, ExpiresAt: e.At.Add(keys.LinkLife)}}, nil
}

// unbindAccount is for an address that the provider gave to somebody else, or a provider
// that has another issuer now.
func (s *server) unbindAccount(ctx context.Context, c call, in *struct {
	Email string `path:"email" maxLength:"254"`
	Change
}) (*nothing, error) {
	return &nothing{}, s.config.Registry.Unbind(ctx, c.by, in.Email)
}

func (s *server) me(_ context.Context, c call, _ *struct{ Caller }) (*answer[Me], error) {
	return &answer[Me]{Body: Me{ClientID: c.claims.ClientID, Organization: c.own, Scopes: strings.Fields(c.claims.Scope), Member: c.by.MemberID, Role: string(c.by.Role),
		ExpiresAt: c.claims.Expires().UTC()}}, nil
}

func (s *server) inspect(ctx context.Context, c call, in *struct {
	Caller
	Body InspectToken
}) (*answer[InspectedToken], error) {
	verdict := func(claims *tokens.Claims, err error) (*answer[InspectedToken], error) {
		body := InspectedToken{Valid: err == nil}
		if err != nil {
			body.Reason = err.Error()
		}
		if claims != nil && (c.by.Operator || claims.Organization == c.own) {
			body.Claims = claims
		}
		return &answer[InspectedToken]{Body: body}, nil
	}
	unverified, err := tokens.Inspect(in.Body.Token)
	if err != nil {
		return verdict(nil, err)
	}
	audience := in.Body.Audience
	if audience == "" && len(unverified.Claims.Audience) > 0 {
		audience = unverified.Claims.Audience[0]
	}
	v, err := s.config.Verifier.WithAudience(audience)
	if err != nil {
		return nil, &keys.InputError{Field: "audience", Reason: err.Error()}
	}
	claims, err := v.VerifyContext(ctx, in.Body.Token)
	return verdict(claims, err)
}
