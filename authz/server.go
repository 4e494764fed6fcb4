package authz

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-oauth2/oauth2/v4/server"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/examination"
	"github.com/imara/apikeys/tokens/signing"
)

// Config of a [Server]. All fields but Limits, TokensPerMinute and RequireProof are required.
type Config struct {
	// Issuer identifies the server and is the URL under which clients reach it.
	Issuer   string
	Registry *keys.Registry
	Relay    *Relay
	Ring     *signing.Ring
	// Ping returns nil when the store answers.
	Ping func(context.Context) error
	// ExaminationKey seals what verifiers are asked when they join: 32 bytes, the same
	// for every server of the issuer.
	ExaminationKey tokens.Secret
	// RequireProof refuses verifiers that fail their examination, or take none. Without
	// it they follow, and are marked.
	RequireProof bool
	// Limits counts failures, and the tokens of each key; nil counts nothing.
	Limits keys.Limiter
	// TokensPerMinute is how many tokens a key may buy for which nothing else is set; 0 is
	// without end.
	TokensPerMinute int
	Logger          *slog.Logger
}

// A Server is the OAuth endpoints of an issuer.
type Server struct {
	config    Config
	engine    *server.Server
	clients   *clients
	verifier  *tokens.Verifier // of the management audience
	catalogue atomic.Pointer[catalogue]
	told      atomic.Int64 // when tellUnready last did, in nanoseconds since 1970
	examiner  *examination.Examiner
	examined  examined
	failures  failures
	throttle  *web.Throttle
	cutRates  cutRates
}

// catalogue is the resources as of a position of the log.
type catalogue struct {
	resources keys.Catalogue
	position  uint64
}

// IssuerPath is the path of an issuer, below which everything of its own stands;
// empty for one without.
func IssuerPath(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.EscapedPath(), "/")
}

// PanelURL is where an issuer's panel begins.
func PanelURL(issuer string) string { return issuer + "/panel/" }

// PanelLink is the URL of a link with which a person chooses a password there.
func PanelLink(issuer, token string) string { return PanelURL(issuer) + "link/" + token }

// ManagementAudience is the resource indicator of an issuer's own API.
func ManagementAudience(issuer string) string { return issuer + "/v1" }

// ManagementScopes are the scopes of that API. Restricted ones are for the
// operator's own keys.
func ManagementScopes() []keys.Scope {
	return []keys.Scope{
		{Name: "keys:read", Description: "See the organisation's API keys"},
		{Name: "keys:write", Description: "Create, change, rotate and revoke the organisation's API keys", GrantedBy: keys.Admin},
		{Name: "org:read", Description: "See the organisation, its members, plan and policy"},
		{Name: "org:write", Description: "Change the organisation's members and policy", GrantedBy: keys.Owner},
		{Name: "audit:read", Description: "Read and export the organisation's audit log", GrantedBy: keys.Admin},
		{Name: keys.ActScope, Description: "Act for a member, with the member's role and within the key's own scopes", GrantedBy: keys.Owner},
		{Name: keys.FeedScope, Description: "Follow the revocation log, as every verifier does", Restricted: true},
		{Name: keys.WaiveScope, Description: "Let its verifiers accept a view older than their leases, which waives the promise", Restricted: true},
		{Name: introspectScope, Description: "Ask about any token for the resources of the key", Restricted: true},
		{Name: keys.OperatorScope, Description: "Act on every organisation", Restricted: true},
	}
}

// ManagementScopeNames are those of [ManagementScopes]: what an operator's own key has.
func ManagementScopeNames() (names []string) {
	for _, scope := range ManagementScopes() {
		names = append(names, scope.Name)
	}
	return names
}

// New returns a server. It makes the signing keys that are missing, of ES256 and of each
// algorithm that an API has chosen: none is made for a request.
func New(ctx context.Context, config Config) (*Server, error) {
	if config.Issuer == "" || config.Registry == nil || config.Relay == nil || config.Ring == nil || config.Ping == nil {
		return nil, errors.New("authz: an issuer, a registry, a relay, a ring and a ping of the store are required")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{config: config, throttle: web.NewThrottle(config.Limits)}
	catalogue, err := config.Registry.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	for _, resource := range append(catalogue, keys.Resource{Algorithm: tokens.ES256}) {
		if err := config.Ring.Ensure(ctx, resource.Algorithm); err != nil {
			return nil, err
		}
	}
	if s.clients, err = newClients(config.Registry, config.Relay, s.throttle); err != nil {
		return nil, err
	}
	s.verifier, err = tokens.NewVerifier(tokens.Config{
		Issuer: config.Issuer, Audience: ManagementAudience(config.Issuer), Feed: config.Relay, Keys: config.Ring, Logger: config.Logger,
		ResourceMetadata: metadataURL(ManagementAudience(config.Issuer))})
	if err != nil {
		return nil, err
	}
	s.examiner, err = examination.New(examination.Config{
		Issuer: config.Issuer, Key: config.ExaminationKey})
	if err != nil {
		return nil, err
	}
	s.engine = s.newEngine()
	_, err = s.resources(ctx)
	return s, err
}

// metadataURL is where the RFC 9728 document of a resource stands.
func metadataURL(resource string) string {
	location, err := tokens.MetadataURL(resource, "oauth-protected-resource")
	if err != nil {
		return ""
	}
	return location
}

// Verifier verifies tokens for the management audience, for whoever serves it.
func (s *Server) Verifier() *tokens.Verifier { return s.verifier }

// Throttle slows down who fails, for whoever serves the issuer's other pages.
func (s *Server) Throttle() *web.Throttle { return s.throttle }

// resources returns the catalogue. It reads the store only when the log says that
// a resource changed.
func (s *Server) resources(ctx context.Context) (keys.Catalogue, error) {
	position := s.config.Relay.resources.Load()
	if c := s.catalogue.Load(); c != nil && c.position >= position {
		return c.resources, nil
	}
	resources, err := s.config.Registry.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	s.catalogue.Store(&catalogue{resources, position})
	return resources, nil
}

// Run follows the revocation log and does the work in the background until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var background sync.WaitGroup
	background.Go(func() { s.config.Ring.Run(ctx) })
	background.Go(func() {
		s.clients.usage.run(ctx, func(err error) { s.config.Logger.Error("usage not stored", "error", err) })
	})
	background.Go(func() { s.checkpoint(ctx) })
	err := s.config.Relay.Run(ctx)
	background.Wait()
	return err
}

// Ready returns nil when the server can issue tokens and revoke keys.
func (s *Server) Ready(ctx context.Context) error {
	return errors.Join(s.config.Relay.revocations.Fresh(), s.config.Ping(ctx))
}

// WaitReady returns once the server is ready, or with the context's error.
func (s *Server) WaitReady(ctx context.Context) error {
	select {
	case <-s.config.Relay.revocations.Ready():
		return s.Ready(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Handler serves every endpoint below the issuer's path. The metadata documents
// stand where RFC 8414 and RFC 9728 put them, which for an issuer with a path is
// outside of it.
func (s *Server) Handler() http.Handler {
	mux := web.NewMux(func(w http.ResponseWriter, r *http.Request, u web.Unserved) {
		code, description := u.Answer()
		s.fail(w, r, &oauthError{u.Status(), code, description})
	})
	base := IssuerPath(s.config.Issuer)
	routes := map[string]func(http.ResponseWriter, *http.Request) error{
		base + "/oauth2/token":      s.token,
		base + "/oauth2/revoke":     s.revoke,
		base + "/oauth2/introspect": s.introspect,
		base + "/oauth2/authorize":  s.authorize,
		"GET " + base + "/livez":    s.livez,
		"GET " + base + "/readyz":   s.readyz,
		// For everybody, with the methods of [tokens.ServePublic].
		"/.well-known/oauth-authorization-server" + base: s.metadata,
		"/.well-known/openid-configuration" + base:       s.metadata,
		base + "/.well-known/jwks.json":                  s.jwks,
	}
	// Probes ask the server itself, whatever a proxy puts before its paths.
	routes["GET /livez"], routes["GET /readyz"] = s.livez, s.readyz
	// OpenID Connect Discovery appends where RFC 8414 inserts.
	routes[base+"/.well-known/openid-configuration"] = s.metadata
	for pattern, handle := range routes {
		mux.Handle(pattern, s.handler(handle))
	}
	// One document an API, at its path (RFC 9728 §3.1): there is none at the root.
	mux.Handle("/.well-known/oauth-protected-resource"+base+"/v1",
		s.verifier.Metadata("Imara management API", ManagementScopeNames()...))
	mux.Handle("POST "+base+"/feed/sessions", s.guardFeed(s.handler(s.joinFeed)))
	mux.Handle("GET "+base+"/feed/sessions/{session}", s.guardFeed(s.handler(s.pollFeed)))
	mux.Handle("DELETE "+base+"/feed/sessions/{session}", s.guardFeed(s.handler(s.leaveFeed)))
	return mux
}

// handler renders what a handler returns.
func (s *Server) handler(handle func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := handle(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

func (s *Server) livez(w http.ResponseWriter, r *http.Request) error {
	return web.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	// Not the request's context: what became of a connection says nothing of the server.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), time.Second)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		s.tellUnready(err)
		w.Header().Set("Retry-After", "1")
		return web.WriteJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready"})
	}
	return web.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}
