package web

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
)

// hops are the addresses of X-Forwarded-For, the nearest last. An empty item of the list
// is none (RFC 9110 section 5.6.1).
func hops(r *http.Request) (list []string) {
	for hop := range strings.SplitSeq(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",") {
		if hop = strings.Trim(hop, " \t"); hop != "" {
			list = append(list, hop)
		}
	}
	return list
}

// forwarded is an address of X-Forwarded-For, with a port or without, in brackets or
// without; invalid when it is none. A zone is the proxy's name of an interface, which means
// nothing here.
func forwarded(hop string) netip.Addr {
	bare := hop
	if inner, ok := strings.CutPrefix(hop, "["); ok && strings.HasSuffix(inner, "]") {
		if bare = strings.TrimSuffix(inner, "]"); !strings.Contains(bare, ":") {
			return netip.Addr{}
		}
	}
	a, err := netip.ParseAddr(bare)
	if err != nil {
		if p, err := netip.ParseAddrPort(hop); err == nil {
			a = p.Addr()
		}
	}
	if strings.Trim(a.Zone(), interfaceName) != "" {
		return netip.Addr{}
	}
	return a.WithZone("").Unmap()
}

// interfaceName is what the name of an interface is made of.
const interfaceName = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.-_"

// Proxies are those through which requests come.
type Proxies struct {
	Trusted []netip.Prefix
	// Logger is told, once, of a proxy that is not trusted.
	Logger *slog.Logger

	undeclared atomic.Pointer[netip.Addr]
}

func (p *Proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p.Trusted, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Handler sets RemoteAddr to the client's address when the request came through trusted
// proxies: the last one in X-Forwarded-For that is not such a proxy's. What stands before it
// is the client's own claim.
func (p *Proxies) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddr(Address(r))
		if err != nil || !p.trusts(peer.Unmap()) {
			p.notice(peer.Unmap(), r.Header)
			next.ServeHTTP(w, r)
			return
		}
		var client netip.Addr // of a request that says nothing, none: it is in no network
		for _, hop := range slices.Backward(hops(r)) {
			if client = forwarded(hop); !client.IsValid() || !p.trusts(client) {
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

// notice remembers that a request came through a proxy that is not trusted: then all people
// seem to come from one address, and each is slowed down for what others do. Only addresses
// of inner networks are taken for proxies: whoever comes from outside can send any header.
func (p *Proxies) notice(peer netip.Addr, h http.Header) {
	if p.undeclared.Load() != nil || !peer.IsPrivate() && !peer.IsLoopback() && !peer.IsLinkLocalUnicast() {
		return
	}
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
		if h.Get(name) != "" && p.undeclared.CompareAndSwap(nil, &peer) {
			p.Logger.Warn("a proxy is not trusted: every client that comes through it has its address",
				"proxy", peer.String(), "header", name, "flag", "--trusted-proxy")
			return
		}
	}
}

// Undeclared returns an error when requests came through a proxy that is not trusted.
func (p *Proxies) Undeclared() error {
	peer := p.undeclared.Load()
	if peer == nil {
		return nil
	}
	return fmt.Errorf("%s sends X-Forwarded-For and is not trusted: if it is a proxy of yours, "+
		"start the server with --trusted-proxy", peer)
}

// Address is where a request came from, without the port.
func Address(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}
