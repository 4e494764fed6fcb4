package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/imara/apikeys/tokens"
)

// A Mux routes by method and path, with the patterns of [http.ServeMux], but redirects
// nobody: a redirect of 307 makes clients send their credentials again (RFC 9700 §4.12).
// Whatever it does not serve has one form, which its owner gives.
type Mux struct {
	mux    *http.ServeMux
	refuse func(http.ResponseWriter, *http.Request, Unserved)
	rest   http.Handler    // of everything else; nil refuses it
	served map[string]bool // patterns that lead to a handler, and not to missing
}

// Unserved is why a request finds no handler. The zero value is a path that is not there.
type Unserved struct {
	// Ambiguous paths are never served; see [tokens.AmbiguousPath].
	Ambiguous bool
	// Allow is the methods of a path that is there; the answer has the header already.
	Allow string
}

// Status is 405 for another method, and 404.
func (u Unserved) Status() int {
	if u.Allow != "" {
		return http.StatusMethodNotAllowed
	}
	return http.StatusNotFound
}

// Answer is the code and the description of the answer of an OAuth endpoint.
func (u Unserved) Answer() (code, description string) {
	switch {
	case u.Ambiguous:
		return "not_found", "There is nothing at a path that can be read as another."
	case u.Allow != "":
		return "invalid_request", "Use " + u.Allow + "."
	}
	return "not_found", "There is nothing at this path."
}

// NewMux returns a Mux that serves nothing. Refuse answers what is not served; nil is
// JSON as of the OAuth endpoints.
func NewMux(refuse func(http.ResponseWriter, *http.Request, Unserved)) *Mux {
	if refuse == nil {
		refuse = func(w http.ResponseWriter, _ *http.Request, u Unserved) {
			code, text := u.Answer()
			WriteJSON(w, u.Status(), ErrorBody{Error: code, Description: text})
		}
	}
	m := &Mux{mux: http.NewServeMux(), refuse: refuse, served: map[string]bool{}}
	m.mux.HandleFunc("/", m.missing)
	return m
}

// Handle registers a handler for a pattern, as [http.ServeMux.Handle]. One that ends with a
// slash is also for its path without the slash, which [http.ServeMux] would redirect; one
// that ends with "/{$}" or "/{name...}" is not: give that path before, or it is not there.
func (m *Mux) Handle(pattern string, handler http.Handler) {
	if pattern == "/" {
		m.rest = handler
		return
	}
	m.add(pattern, handler)
	if subtree, ok := strings.CutSuffix(pattern, "/"); ok {
		m.add(subtree, handler)
	}
	parent := pattern[:max(strings.LastIndex(pattern, "/{"), 0)]
	if !m.served[parent] && strings.Contains(parent, "/") &&
		(strings.HasSuffix(pattern, "...}") || strings.HasSuffix(pattern, "/{$}")) {
		m.mux.HandleFunc(parent, m.missing)
	}
}

func (m *Mux) add(pattern string, handler http.Handler) {
	m.mux.Handle(pattern, handler)
	m.served[pattern] = true
}

// HandleFunc is [Mux.Handle] for a function.
func (m *Mux) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	m.Handle(pattern, http.HandlerFunc(handler))
}

// ServeHTTP implements [http.Handler].
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if tokens.AmbiguousPath(r.URL) {
		m.refuse(w, r, Unserved{Ambiguous: true})
		return
	}
	m.mux.ServeHTTP(w, r)
}

// Route is the pattern of a path with a method, empty when there is none.
func (m *Mux) Route(method, path string) string {
	return m.pattern(&http.Request{Method: method, URL: &url.URL{Path: path}})
}

func (m *Mux) pattern(r *http.Request) string {
	_, pattern := m.mux.Handler(r)
	if !m.served[pattern] {
		return ""
	}
	return pattern
}

// missing answers what no pattern has, and says which methods the path has.
func (m *Mux) missing(w http.ResponseWriter, r *http.Request) {
	if m.rest != nil {
		m.rest.ServeHTTP(w, r)
		return
	}
	var allow []string
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		if other := (&http.Request{Method: method, Host: r.Host, URL: r.URL}); m.pattern(other) != "" {
			allow = append(allow, method)
		}
	}
	u := Unserved{Allow: strings.Join(allow, ", ")}
	if u.Allow != "" {
		w.Header().Set("Allow", u.Allow)
	}
	m.refuse(w, r, u)
}
