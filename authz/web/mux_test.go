package web

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestMuxRedirectsNobody: whatever the form of its patterns.
func TestMuxRedirectsNobody(t *testing.T) {
	mux := NewMux(nil)
	for _, pattern := range []string{"GET /tree/", "/any/", "GET /exact", "GET /files/{name...}", "GET /home", "POST /home/{$}", "GET /of/{id}/", "GET /of/{id}/rest/{name...}"} {
		mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
	}
	for _, row := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/tree", 200, ""}, {"GET", "/tree/x", 200, ""}, {"POST", "/tree", 405, "GET, HEAD"}, {"POST", "/any", 200, ""},
		{"GET", "/exact/", 404, ""}, {"OPTIONS", "/exact", 405, "GET, HEAD"}, {"GET", "/files", 404, ""}, {"GET", "/files/", 200, ""},
		{"POST", "/files/x", 405, "GET, HEAD"}, {"GET", "/home", 200, ""}, {"POST", "/home", 405, "GET, HEAD"}, {"POST", "/home/", 200, ""},
		{"GET", "/home/", 405, "POST"}, {"GET", "/of/1", 200, ""}, {"GET", "/of/1/rest", 404, ""}, {"GET", "/of/1/rest/x", 200, ""}, {"GET", "//exact", 404, ""},
		{"CONNECT", "/exact", 405, "GET, HEAD"}, {"GET", "/exact/../tree", 404, ""},
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(row.method, row.path, nil))
		if w.Code != row.status || w.Header().Get("Allow") != row.allow {
			t.Errorf("%s %s: %d %v, want %d %q", row.method, row.path, w.Code, w.Header(), row.status, row.allow)
		}
	}
}
