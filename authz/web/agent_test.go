package web

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestRequestLinesSayFromWhere: each has the address and the family of the program, and
// never what the caller wrote as User-Agent.
func TestRequestLinesSayFromWhere(t *testing.T) {
	for agent, want := range map[string]string{
		"": "none",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                "Firefox",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36":       "Chrome",
		"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0":     "Edge",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15": "Safari",
		"curl/8.5.0":                          "curl",
		"python-requests/2.32":                "Python",
		"Go-http-client/1.1":                  "Go",
		"secret\n\"level\":\"x\"":             "other",
		strings.Repeat("x", 9000) + " curl/8": "other",
	} {
		var log bytes.Buffer
		handler := Log(slog.New(slog.NewJSONHandler(&log, nil)), http.NotFoundHandler())
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "[2001:db8::7]:4711"
		r.Header.Set("User-Agent", agent)
		handler.ServeHTTP(httptest.NewRecorder(), r)
		line := log.String()
		if !strings.Contains(line, `"agent":"`+want+`"`) || !strings.Contains(line, `"address":"2001:db8::7"`) ||
			strings.Contains(line, "secret") || len(line) > 1000 {
			t.Errorf("%.40q: %s", agent, line)
		}
	}
}
