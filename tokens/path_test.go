package tokens_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/imara/apikeys/tokens"
)

// ambiguous are paths that some program reads as others.
var ambiguous = []string{"//", "//a", "/a//b", "/a//", "/./a", "/a/.", "/a/..", "/a/../b", "/..", "/a/.../b",
	"/%2e/a", "/a/%2e%2e/b", "/a/%2E./b", "/a/.%2e", "/a%2fb", "/a%2F", "/%2f/a", "/a%5cb", `/a\b`, "/a;x=y",
	"/a/..;/b", "/a%3bx", "/a%00", "/a%0d%0ab", "/a%7f", "/a%252fb", "/a/%252e%252e/b", "/a.", "/a./b", "/a%ff",
	"/a%c0%ae", "", "a/b", "*"}

// TestPathsThatCanBeReadTwiceAreAmbiguous is R-094: plain and encoded spellings alike.
func TestPathsThatCanBeReadTwiceAreAmbiguous(t *testing.T) {
	for _, path := range ambiguous {
		u := &url.URL{Path: path}
		if len(path) > 0 && path[0] == '/' {
			var err error
			if u, err = url.ParseRequestURI("http://host" + path); err != nil {
				t.Fatalf("%q: %v", path, err)
			}
		}
		if !tokens.AmbiguousPath(u) {
			t.Errorf("%q is not ambiguous", path)
		}
	}
	for _, path := range []string{"/", "/a", "/a/", "/a/b.json", "/.well-known/x", "/a/..b", "/a%20b", "/100%25", "/%C3%BC",
		"/a:b@c,d=e&f+g", "/~x"} {
		u, err := url.ParseRequestURI(path)
		if err != nil || tokens.AmbiguousPath(u) {
			t.Errorf("%q is ambiguous, %v", path, err)
		}
	}
}

// FuzzAmbiguousPath: what passes is what net/http serves as it is, decoded or not.
func FuzzAmbiguousPath(f *testing.F) {
	for _, path := range ambiguous {
		f.Add(path)
	}
	f.Add("/a/b")
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" || tokens.AmbiguousPath(u) {
			return
		}
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
		for _, p := range []string{u.EscapedPath(), (&url.URL{Path: u.Path}).EscapedPath()} {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, &http.Request{Method: "GET", URL: &url.URL{Path: u.Path, RawPath: p}, Host: "host"})
			if w.Code != http.StatusOK {
				t.Errorf("%q: %d %v", path, w.Code, w.Header())
			}
		}
	})
}
