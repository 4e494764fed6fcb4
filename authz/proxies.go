package authz

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// forwarded is an address of X-Forwarded-For, with a port or without; invalid when it
// is none.
func forwarded(hop string) netip.Addr {
	a, err := netip.ParseAddr(hop)
	if err != nil {
		if p, err := netip.ParseAddrPort(hop); err == nil {
			a = p.Addr()
		}
	}
	if a.Zone() != "" {
		return netip.Addr{}
	}
	return a.Unmap()
}

// BehindProxies returns middleware that sets RemoteAddr to the client's address
// when the request came through trusted proxies: the last one in X-Forwarded-For
// that is not such a proxy's. What stands before it is the client's own claim.
func BehindProxies(trusted []netip.Prefix, next http.Handler) http.Handler {
	isTrusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddr(Address(r))
		if err != nil || !isTrusted(peer.Unmap()) {
			next.ServeHTTP(w, r)
			return
		}
		var client netip.Addr // of a request that says nothing, none: it is in no network
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for _, hop := range slices.Backward(hops) {
			if client = forwarded(strings.TrimSpace(hop)); !client.IsValid() || !isTrusted(client) {
				break
			}
		}
		r = r.WithContext(r.Context()) // a shallow copy: the caller's stays as it is
		if r.RemoteAddr = "unknown"; client.IsValid() {
			r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
		}
		next.ServeHTTP(w, r)
	})
}

// Address is where a request came from, without the port.
func Address(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}
