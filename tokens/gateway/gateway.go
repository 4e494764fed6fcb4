// Package gateway answers "may this request pass?" for proxies that ask another
// process: forward-auth of Caddy and Traefik, auth_request of nginx.
// It is a verifier behind HTTP: GET /verify/{resource} with the caller's
// Authorization header answers 200, 401, 403 or 503.
// It decides in memory, like every verifier, and follows the revocation log.
//
// It is asked once a request: what the proxy let through and goes on, such as a
// WebSocket, outlives the revocation until the proxy ends it.
//
// What a resource requires stands in the gateway's configuration and in the
// path, never in the query: some proxies append the caller's query to ours, so
// that a caller could choose the policy. A path that programs can read as two is 400,
// because the one behind the proxy may read it as another than we do. Every answer,
// whatever its status, carries the whole set of X-Auth-… headers, empty when there is
// nothing to say, because a proxy may otherwise let through the caller's own.
package gateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/imara/apikeys/tokens"
)

// A Resource is one API behind the gateway.
type Resource struct {
	// Verifier decides for the audience of the API.
	Verifier *tokens.Verifier
	// Scopes that every request to it needs.
	Scopes []string
}

// New returns the handler of GET /verify/{resource} and of anything below, with
// any method, for these resources by name. An unknown name is 404, and an ambiguous path
// is 400; see [tokens.AmbiguousPath]. Nothing is redirected. It also serves the metadata
// of each resource (RFC 9728) at its path, for a proxy that leads there what is asked of it.
// A name that is no part of a path, and a resource without a verifier, are errors.
func New(resources map[string]Resource) (http.Handler, error) {
	for name, resource := range resources {
		switch {
		case url.PathEscape(name) != name || name == "" || name == "." || name == "..":
			return nil, fmt.Errorf("gateway: %q cannot be a part of a path", name)
		case resource.Verifier == nil:
			return nil, fmt.Errorf("gateway: the resource %s needs a verifier", name)
		}
	}
	verify := func(w http.ResponseWriter, r *http.Request) {
		resource, ok := resources[r.PathValue("resource")]
		if !ok {
			missing(w, r)
			return
		}
		// Proxies forward the caller's query as our own; it says nothing to us.
		r.URL.RawQuery = ""
		claims, err := resource.Verifier.Authorize(r, resource.Scopes...)
		if err != nil {
			refuse(w, resource.Verifier.Refuse(err, resource.Scopes...))
			return
		}
		identify(w.Header(), claims)
		w.WriteHeader(http.StatusOK)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/verify/{resource}", verify)
	mux.HandleFunc("/verify/{resource}/{rest...}", verify)
	mux.HandleFunc("/", missing)
	documents := metadata(resources)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nobody(w.Header())
		if tokens.AmbiguousPath(r.URL) { // before the mux, which would redirect
			ambiguous(w)
			return
		}
		if document := documents[r.URL.EscapedPath()]; document != nil {
			document.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

// metadata is the RFC 9728 documents by path. Of two resources that differ in their hosts
// alone, the one that comes first by name has it.
func metadata(resources map[string]Resource) map[string]http.Handler {
	documents := make(map[string]http.Handler)
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		r := resources[name]
		location, err := tokens.MetadataURL(r.Verifier.Audience(), "oauth-protected-resource")
		if err != nil {
			continue // an audience that is no URL has none
		}
		if u, err := url.Parse(location); err == nil && documents[u.EscapedPath()] == nil {
			documents[u.EscapedPath()] = r.Verifier.Metadata(name, r.Scopes...)
		}
	}
	return documents
}

func missing(w http.ResponseWriter, _ *http.Request) {
	write(w, problem{Status: http.StatusNotFound, Code: "not_found",
		Detail: "There is no such API at this gateway. Use /verify/NAME of one of its resources."})
}

func ambiguous(w http.ResponseWriter) {
	write(w, problem{Status: http.StatusBadRequest, Code: "ambiguous_path",
		Detail: "ambiguous path: it has an empty or a dot segment, an encoded slash, or the like.",
		Fix:    "Write the path without them."})
}

// Headers are what an answer of the gateway says of a caller, always all of them. A proxy
// passes on these and no others of the kind.
func Headers() []string {
	return []string{"X-Auth-Client-Id", "X-Auth-Org", "X-Auth-Key-Name", "X-Auth-Scope",
		"X-Auth-Audience", "X-Auth-Expires", "X-Auth-Token-Id", "X-Auth-Request-Id"}
}

// nobody says that nobody is known to call: a header that is not there may be the caller's
// own, or a text of the proxy's configuration, to the application.
func nobody(h http.Header) {
	for _, name := range Headers() {
		h.Set(name, "")
	}
	h.Set("Cache-Control", "no-store")
}

// identify says who calls, to the application behind the proxy. The request id is the one
// that whoever serves the gateway has set on the answer.
func identify(h http.Header, c *tokens.Claims) {
	h.Set("X-Auth-Client-Id", c.ClientID)
	h.Set("X-Auth-Org", c.Organization)
	h.Set("X-Auth-Key-Name", header(c.ClientName))
	h.Set("X-Auth-Scope", c.Scope)
	h.Set("X-Auth-Audience", strings.Join(c.Audience, " "))
	h.Set("X-Auth-Expires", strconv.FormatInt(c.ExpiresAt, 10))
	h.Set("X-Auth-Token-Id", c.ID)
	h.Set("X-Auth-Request-Id", h.Get("X-Request-Id"))
}

// extended is how a text of RFC 8187 §3.2 begins.
const extended = "UTF-8''"

// header is a text as a header field can have it: as it stands, or in the form of RFC 8187
// when it is not printable ASCII, or looks like that form.
func header(text string) string {
	special := func(r rune) bool { return r < ' ' || r > '~' }
	if !strings.ContainsFunc(text, special) && !strings.HasPrefix(text, extended) {
		return text
	}
	return extended + url.PathEscape(text)
}

// A problem is an RFC 9457 document.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code,omitempty"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

// refuse answers a request that is not admitted.
func refuse(w http.ResponseWriter, r tokens.Refusal) {
	r.Headers(w.Header())
	write(w, problem{Status: r.Status, Code: r.Code, Detail: r.Description, Fix: r.Fix})
}

func write(w http.ResponseWriter, p problem) {
	p.Title = http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}
