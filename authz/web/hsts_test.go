package web

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// TestBrowsersComeBackOverTLS: whoever reached the server over https is told to stay with
// it, by which way ever TLS came about, and nobody else (RFC 6797 §7.2).
func TestBrowsersComeBackOverTLS(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	const secure, plain = "https://auth.example.com", "http://127.0.0.1:8080"
	for name, row := range map[string]struct {
		issuer, url, peer, said string
		told                    bool
	}{
		"an https issuer behind its proxy": {secure, "http://x/", "192.0.2.1:1", "", true},
		"our own TLS":                      {plain, "https://x/", "192.0.2.1:1", "", true},
		"TLS at a trusted proxy":           {plain, "http://x/", "10.0.0.1:1", "https", true},
		"TLS at the first of two proxies":  {plain, "http://x/", "10.0.0.1:1", "HTTPS, http", true},
		"a stranger's word":                {plain, "http://x/", "192.0.2.1:1", "https", false},
		"http at a trusted proxy":          {plain, "http://x/", "10.0.0.1:1", "http", false},
		"http":                             {plain, "http://x/", "127.0.0.1:1", "", false},
	} {
		r := httptest.NewRequest("GET", row.url, nil)
		r.RemoteAddr = row.peer
		if row.said != "" {
			r.Header.Set("X-Forwarded-Proto", row.said)
		}
		w := httptest.NewRecorder()
		StrictTransport(row.issuer, trusted, http.NotFoundHandler()).ServeHTTP(w, r)
		if got := w.Header().Get("Strict-Transport-Security"); (got != "") != row.told {
			t.Errorf("%s: %q", name, got)
		}
	}
}
