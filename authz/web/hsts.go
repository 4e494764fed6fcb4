package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// strictTransport is the policy of RFC 6797 for a year, for the host and those below it.
const strictTransport = "max-age=31536000; includeSubDomains"

// StrictTransport returns middleware that tells browsers to reach the server over https
// only, whenever they did: the issuer is https, the connection is TLS, or a trusted proxy
// says so with X-Forwarded-Proto. It goes around [BehindProxies], which hides the proxy.
func StrictTransport(issuer string, trusted []netip.Prefix, next http.Handler) http.Handler {
	always := strings.HasPrefix(issuer, "https://")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if always || r.TLS != nil || throughTLS(r, trusted) {
			w.Header().Set("Strict-Transport-Security", strictTransport)
		}
		next.ServeHTTP(w, r)
	})
}

// throughTLS tells whether a trusted proxy says that the client's connection is TLS.
func throughTLS(r *http.Request, trusted []netip.Prefix) bool {
	said := r.Header.Get("X-Forwarded-Proto")
	if said == "" {
		return false
	}
	peer, err := netip.ParseAddr(Address(r))
	known := func(p netip.Prefix) bool { return p.Contains(peer.Unmap()) }
	if err != nil || !slices.ContainsFunc(trusted, known) {
		return false
	}
	first, _, _ := strings.Cut(said, ",")
	return strings.EqualFold(strings.TrimSpace(first), "https")
}
