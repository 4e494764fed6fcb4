package web

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestRequestIDOfTheProxyIsKept if it can stand in a log and a header, and nothing else is.
func TestRequestIDOfTheProxyIsKept(t *testing.T) {
	var log strings.Builder
	handler := Log(slog.New(slog.NewJSONHandler(&log, nil)), http.NotFoundHandler())
	for _, row := range []struct {
		given []string
		kept  bool
	}{
		{[]string{"from-proxy-1"}, true},
		{[]string{"1-5759e988-bd862e3fe1be46a994272793"}, true},
		{[]string{"7c1f:8080/a_b.c+d=@e"}, true},
		{[]string{strings.Repeat("x", 128)}, true},
		{[]string{strings.Repeat("x", 129)}, false},
		{nil, false},
		{[]string{""}, false},
		{[]string{"one", "two"}, false},
		{[]string{"a b"}, false},
		{[]string{"a\x01"}, false},
		{[]string{"é"}, false},
		{[]string{`a","level":"ERROR`}, false},
		{[]string{"<script>"}, false},
	} {
		log.Reset()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["X-Request-Id"] = row.given
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		id := w.Header().Get("X-Request-Id")
		kept := len(row.given) == 1 && id == row.given[0]
		if kept != row.kept || id == "" || !strings.Contains(log.String(), `"request_id":"`+id+`"`) {
			t.Errorf("%q: %q, %s", row.given, id, log.String())
		}
	}
}
