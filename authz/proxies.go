package authz

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// BehindProxies returns middleware that sets RemoteAddr to the client's address
// when the request came through trusted proxies: the last one in X-Forwarded-For
// that is not such a proxy's. What stands before it is the client's own claim.
func BehindProxies(trusted []netip.Prefix, next http.Handler) http.Handler {
	isTrusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddr(host(r.RemoteAddr))
		if err != nil || !isTrusted(peer.Unmap()) {
			next.ServeHTTP(w, r)
			return
		}
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for _, hop := range slices.Backward(hops) {
			a, err := netip.ParseAddr(strings.TrimSpace(hop))
			if err != nil {
				break
			}
			peer = a.Unmap()
			if !isTrusted(peer) {
				break
			}
		}
		r = r.WithContext(r.Context()) // a shallow copy: the caller's stays as it is
		r.RemoteAddr = netip.AddrPortFrom(peer, 0).String()
		next.ServeHTTP(w, r)
	})
}
