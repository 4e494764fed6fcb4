package authz

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// FuzzForwardedFor: behind a trusted proxy the client is the last hop that is no such
// proxy, if it is an address, and unknown otherwise; without one the header changes
// nothing. What is written before that hop never matters.
func FuzzForwardedFor(f *testing.F) {
	for _, seed := range []string{"203.0.113.7", "203.0.113.7, 10.0.0.1", "1.2.3.4:5, [::1]:80", "::ffff:10.0.0.9", "fe80::1%eth0", "x,,", "unknown",
		"10.0.0.1,10.0.0.2", "203.0.113.7\r\nX: y", "0x7f.1", "127.1"} {
		f.Add("10.0.0.1:1234", seed)
		f.Add("198.51.100.1:1234", seed)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	asked := func(peer, header string) (remote string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {header}}, URL: &url.URL{Path: "/"}}
		proxies := &Proxies{Trusted: trusted, Logger: slog.New(slog.DiscardHandler)}
		proxies.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { remote = r.RemoteAddr })).ServeHTTP(httptest.NewRecorder(), r)
		return remote
	}
	f.Fuzz(func(t *testing.T, peer, header string) {
		got := asked(peer, header)
		from, err := netip.ParseAddr(Address(&http.Request{RemoteAddr: peer}))
		if err != nil || !trusted[0].Contains(from.Unmap()) {
			if got != peer {
				t.Fatalf("%q is not trusted, and %q made it %q", peer, header, got)
			}
			return
		}
		if strings.Trim(header, ", \t") == "" {
			return // empty items say nothing: what stands before them is the last
		}
		if with := asked(peer, "192.0.2.66, "+header); with != got && !trusts(trusted[0], header) {
			t.Fatalf("what stands before %q changes %q to %q", header, got, with)
		}
		if got == "unknown" {
			return
		}
		client, err := netip.ParseAddrPort(got)
		if err != nil || client.Addr().Zone() != "" || !strings.Contains(header, client.Addr().String()) &&
			!strings.Contains(strings.ToLower(header), ":") {
			t.Fatalf("%q: %q, %v", header, got, err)
		}
	})
}

// trusts tells whether every hop of a header is in a network.
func trusts(network netip.Prefix, header string) bool {
	for hop := range strings.SplitSeq(header, ",") {
		if hop = strings.TrimSpace(hop); hop != "" && !network.Contains(forwarded(hop)) {
			return false
		}
	}
	return true
}
