package management

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// Config of the API. All fields are required.
type Config struct {
	Issuer   string
	Registry *keys.Registry
	// Verifier of the audience [authz.ManagementAudience].
	Verifier *tokens.Verifier
	// Relay knows who follows the revocation log.
	Relay *authz.Relay
	// CursorKey authenticates page cursors: 32 secret bytes.
	CursorKey []byte
	Logger    *slog.Logger
}

type server struct{ Config }

// New returns the handler of everything below {issuer path}/v1/.
func New(config Config) http.Handler {
	s := &server{config}
	base := ""
	if u, err := url.Parse(config.Issuer); err == nil {
		base = u.EscapedPath()
	}
	mux := http.NewServeMux()
	for _, route := range []struct {
		pattern, scope string
		handle         func(http.ResponseWriter, *http.Request, call) error
	}{
		{"GET /v1/orgs/{org}/keys", "keys:read", s.listKeys},
		{"POST /v1/orgs/{org}/keys", "keys:write", s.createKey},
		{"GET /v1/orgs/{org}/keys/{key}", "keys:read", s.showKey},
		{"POST /v1/orgs/{org}/keys/{key}/secrets", "keys:write", s.rotateKey},
		{"POST /v1/orgs/{org}/keys/{key}/revoke", "keys:write", s.revokeKey},
		{"DELETE /v1/orgs/{org}/keys/{key}", "keys:write", s.revokeKey},
		{"GET /v1/verifiers", "operator", s.listVerifiers},
	} {
		method, path, _ := strings.Cut(route.pattern, " ")
		mux.Handle(method+" "+base+path, s.guard(route.scope, route.handle))
	}
	mux.HandleFunc(base+"/v1/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, keys.ErrNotFound) })
	return mux
}

// call is who asks, and for which organisation.
type call struct {
	organization string
	actor        keys.Actor
	operator     bool // may act on every organisation, and grant restricted scopes
}

// guard admits tokens with the scope that may act on the organisation of the path.
func (s *server) guard(scope string, handle func(http.ResponseWriter, *http.Request, call) error) http.Handler {
	return s.Verifier.Require(scope)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := tokens.FromContext(r.Context())
		authz.Observe(w, "client_id", claims.ClientID)
		authz.Observe(w, "jti", claims.ID)
		c := call{r.PathValue("org"), keys.Actor(claims.ClientID), claims.HasScope("operator")}
		err := error(keys.ErrNotFound)
		if c.operator || c.organization == claims.Organization {
			err = handle(w, r, c)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	}))
}

const maxBody = 1 << 20

// A bodyError says why the body is not the JSON object that the route takes.
type bodyError struct{ reason string }

func (e *bodyError) Error() string { return e.reason }

// readJSON decodes a body of application/json into request. An empty body leaves
// it as it is; a member that it does not have is an error.
func readJSON(w http.ResponseWriter, r *http.Request, request any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(request)
	if err == io.EOF {
		return nil
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" {
		return &bodyError{"Use application/json."}
	}
	var tooLarge *http.MaxBytesError
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &tooLarge):
		return err
	case errors.As(err, &wrongType):
		return &keys.InputError{Field: wrongType.Field, Reason: "it must not be a JSON " + wrongType.Value}
	case err != nil:
		return &bodyError{err.Error()}
	case decoder.More():
		return &bodyError{"There is something after the JSON object."}
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(body)
}
