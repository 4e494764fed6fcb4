package management

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// Config of the API. All fields but Throttle and the last two are required.
type Config struct {
	Issuer   string
	Registry *keys.Registry
	// Verifier of the audience [authz.ManagementAudience].
	Verifier *tokens.Verifier
	// Relay knows who follows the revocation log.
	Relay *authz.Relay
	Ring  *signing.Ring
	// CursorKey authenticates page cursors: 32 secret bytes.
	CursorKey tokens.Secret
	// Throttle slows down who fails; nil slows down nobody.
	Throttle *web.Throttle
	Logger   *slog.Logger
	// GitHubKeys is where the keys are that sign GitHub's reports of leaked secrets;
	// empty takes no such reports.
	GitHubKeys string
	// NameVerifiers: receipts name verifiers to customers too, not only to operators.
	NameVerifiers bool
}

type server struct {
	config Config
	api    huma.API
	base   string // path of the issuer
	routes []route
	github *githubKeys
}

// New returns the handler of everything below {issuer path}/v1/.
func New(config Config) (http.Handler, error) {
	switch {
	case config.Issuer == "" || config.Registry == nil || config.Verifier == nil || config.Relay == nil || config.Ring == nil:
		return nil, errors.New("management: an issuer, a registry, a verifier, a relay and a ring are required")
	case len(config.CursorKey) != 32:
		return nil, errors.New("management: a key of 32 bytes for cursors is required")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return newServer(config).handler(), nil
}

func newServer(config Config) *server {
	return &server{config: config, base: authz.IssuerPath(config.Issuer), github: &githubKeys{url: config.GitHubKeys}}
}

func (s *server) handler() http.Handler {
	mux := web.NewMux(func(w http.ResponseWriter, r *http.Request, u web.Unserved) {
		s.fail(w, r, unserved(u))
	})
	s.api = humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "Imara management API", Version: "1",
				Description: "Manage organisations, members, API keys and what they may do. Every error is an RFC 9457 document with a stable `code`."},
			Servers: []*huma.Server{{URL: strings.TrimSuffix(s.config.Issuer, s.base)}}, // paths begin with the base
			Components: &huma.Components{
				Schemas: newSchemas(),
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "oauth2", Flows: &huma.OAuthFlows{
					ClientCredentials: &huma.OAuthFlow{TokenURL: s.config.Issuer + "/oauth2/token", Scopes: map[string]string{}}}}},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": format, "json": format, "application/jose": jose},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{s.transform},
	})
	for _, scope := range authz.ManagementScopes() {
		s.api.OpenAPI().Components.SecuritySchemes["token"].Flows.ClientCredentials.Scopes[scope.Name] = scope.Description
	}
	s.keyRoutes()
	s.secretRoutes()
	s.organizationRoutes()
	s.memberRoutes()
	s.catalogueRoutes()
	s.auditRoutes()
	s.usageRoutes()
	s.operationRoutes()
	s.signingRoutes()
	s.leakRoutes()
	s.receiptRoutes()
	s.webhookRoutes()
	document := s.document()
	mux.HandleFunc(s.base+"/v1/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		tokens.ServePublic(w, r, "application/openapi+json", document)
	})
	mux.HandleFunc("GET "+s.base+"/v1/errors/{code}", s.showError)
	return mux
}

// A route is a row of the API.
type route struct {
	// id of the operation: what clients that are generated from the document call it.
	id           string
	method, path string
	// scope that the token must have; empty is any token of this API.
	scope string
	open  bool // for everybody, without a token
	// action that is asked for.
	action  keys.Action
	summary string
	status  int // of success; 0 is 200
	// media of the answer where it is not JSON.
	media    []string
	replaces bool // it may put something in place of another, and answer 200
	tries    bool // it can be a dry run
	repeats  bool // it knows what it did under an Idempotency-Key
	cuts     bool // it may wait for a receipt, and answer 202
	signs    bool // it answers with a JWS to who asks for application/jose
}

// scopes that the token must have.
func (rt route) scopes() []string {
	if rt.scope == "" {
		return nil
	}
	return []string{rt.scope}
}

// An answer is what a handler returns.
type answer[B any] struct {
	// Status is that of the route unless it is set: 202 while a receipt waits.
	Status   int
	Location string `header:"Location"`
	ETag     string `header:"ETag"`
	Link     string `header:"Link"`
	Replayed string `header:"Idempotency-Replayed"`
	Body     B
}

func (a *answer[B]) replayed() { a.Replayed = "true" }

func (a *answer[B]) statusOr(status int) { a.Status = cmp.Or(a.Status, status) }

// tried takes out of an answer what is about something that is not there.
func (a *answer[B]) tried() { a.Location, a.ETag = "", "" }

// nothing is the answer of a route that removes something.
type nothing struct {
	Replayed string `header:"Idempotency-Replayed"`
	Body     func(huma.Context)
}

func (a *nothing) replayed() { a.Replayed = "true" }

func (a *nothing) statusOr(status int) {
	if a.Body == nil {
		a.Body = func(ctx huma.Context) { ctx.SetStatus(status) }
	}
}

func (a *nothing) tried() {
	a.Body = func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", "application/json")
		ctx.SetStatus(http.StatusOK)
		marshal(ctx.BodyWriter(), Tried{true})
	}
}

// Tried stands in every answer to a request that was only tried.
type Tried struct {
	DryRun bool `json:"dry_run" doc:"Everything was checked, and nothing was changed. The rest is as it would be; what would be made has no id, and no secret."`
}

// Change are the parameters of every request that changes something. They are read
// before the handler, and stand here for the document.
type Change struct {
	DryRun  bool   `query:"dry_run" doc:"Check everything, and change nothing. The answer says dry_run."`
	IfMatch string `header:"If-Match" doc:"The ETag that what is changed must have."`
	Prefer  string `header:"Prefer" doc:"wait=N waits at most so many seconds for a receipt, 12 without (RFC 7240); then the answer is 202 with its Location. dry-run is dry_run=true."`
	Caller
}

// Terms are those of a POST.
type Terms struct {
	Change
	IdempotencyKey string `header:"Idempotency-Key" doc:"A request with a key that was seen in the last 24 hours is not carried out again."`
}

// Caller are the parameters of every request.
type Caller struct {
	Actor string `header:"Imara-Actor" doc:"The member for whom the key acts; needs the scope members:act."`
}

// register adds a route. Replay writes again what an earlier request with the same
// Idempotency-Key did; nil for what does not matter when it happens twice.
func register[I, O any, P repeatable[O]](s *server, rt route, handle func(context.Context, call, *I) (*O, error), replay func(context.Context, call, keys.Event) (*O, error)) {
	rt.repeats = replay != nil
	_, rt.tries = reflect.TypeFor[I]().FieldByName("DryRun")
	s.routes = append(s.routes, rt)
	op := huma.Operation{
		OperationID: rt.id, Method: rt.method, Path: s.base + "/v1" + rt.path, Summary: rt.summary, DefaultStatus: rt.status,
		Tags: []string{strings.Split(string(rt.action), ".")[0]}, SkipValidateBody: true, MaxBodyBytes: maxBody + 2,
		// The listener bounds it: the library would leave its deadline on the connection.
		BodyReadTimeout: -1,
		Responses:       s.responses(rt),
		Middlewares:     huma.Middlewares{s.guard(rt, bodyOf(reflect.TypeFor[I]()))},
	}
	if !rt.open {
		op.Security = []map[string][]string{{"token": append([]string{}, rt.scopes()...)}}
	}
	schemas := s.api.OpenAPI().Components.Schemas
	success := func(status, description string) {
		body, _ := reflect.TypeFor[O]().FieldByName("Body")
		if body.Type.Kind() == reflect.Func {
			body.Type = reflect.TypeFor[Tried]()
		}
		op.Responses[status] = &huma.Response{Description: description,
			Content: map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(body.Type, true, "")}}}
	}
	if rt.tries && reflect.TypeFor[O]() == reflect.TypeFor[nothing]() {
		success("200", "It was only tried.")
	}
	if rt.cuts {
		success("202", "It is done, and the receipt still waits: see Location.")
	}
	if rt.replaces {
		success("200", "It is in place of the one that was there.")
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		c, _ := ctx.Value(callKey{}).(call)
		out, err := once[O, P](ctx, s, c, func() (*O, error) { return handle(ctx, c, in) },
			func(e keys.Event) (*O, error) { return replay(ctx, c, e) })
		if a, ok := any(out).(interface{ tried() }); ok && err == nil && c.by.DryRun {
			a.tried()
		}
		if a, ok := any(out).(interface{ statusOr(int) }); ok && err == nil {
			a.statusOr(cmp.Or(rt.status, http.StatusOK))
		}
		return out, s.problem(ctx, rt, err)
	})
	s.mayBeTried(rt, reflect.TypeFor[O]())
}

// mayBeTried adds dry_run to the schema of a route's answer.
func (s *server) mayBeTried(rt route, answer reflect.Type) {
	body := bodyOf(answer)
	if !rt.tries || body == nil || body.Kind() != reflect.Struct {
		return
	}
	schemas := s.api.OpenAPI().Components.Schemas
	whole := schemas.SchemaFromRef(schemas.Schema(body, true, "").Ref)
	tried := schemas.SchemaFromRef(schemas.Schema(reflect.TypeFor[Tried](), true, "").Ref)
	whole.Properties["dry_run"] = tried.Properties["dry_run"]
}

// bodyOf is the type of an input's body, nil when it has none.
func bodyOf(input reflect.Type) reflect.Type {
	if field, ok := input.FieldByName("Body"); ok {
		return field.Type
	}
	return nil
}
