package web

import (
	"bytes"
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

// TestForwardedForIsBelievedOfTrustedProxiesOnly: what a client writes itself stays
// its own claim.
func TestForwardedForIsBelievedOfTrustedProxiesOnly(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	for name, row := range map[string]struct {
		peer, want string
		forwarded  []string
	}{
		"no proxy":              {"198.51.100.1:1", "198.51.100.1", []string{"203.0.113.9"}},
		"a proxy":               {"10.0.0.1:1", "203.0.113.9", []string{"203.0.113.9"}},
		"a claim before it":     {"10.0.0.1:1", "203.0.113.9", []string{"192.0.2.1, 203.0.113.9"}},
		"two proxies":           {"10.0.0.1:1", "203.0.113.9", []string{"203.0.113.9, 10.0.0.2"}},
		"two headers":           {"10.0.0.1:1", "203.0.113.9", []string{"192.0.2.1", "203.0.113.9,10.9.9.9"}},
		"nothing forwarded":     {"10.0.0.1:1", "unknown", nil},
		"brackets":              {"10.0.0.1:1", "2001:db9::1", []string{"[2001:db9::1]"}},
		"brackets and port":     {"10.0.0.1:1", "2001:db9::1", []string{"[2001:db9::1]:443"}},
		"brackets, then ours":   {"10.0.0.1:1", "2001:db9::1", []string{" [2001:db9::1] , [::ffff:10.0.0.2]"}},
		"a final comma":         {"10.0.0.1:1", "192.0.2.7", []string{"192.0.2.7, "}},
		"empty items":           {"10.0.0.1:1", "192.0.2.7", []string{",192.0.2.7,,10.0.0.2,\t,", ""}},
		"only commas":           {"10.0.0.1:1", "unknown", []string{" , ,"}},
		"brackets and zone":     {"10.0.0.1:1", "fe80::1", []string{"[fe80::1%eth0]"}},
		"an interface":          {"10.0.0.1:1", "fe80::1", []string{"fe80::1%eth0"}},
		"half a bracket":        {"10.0.0.1:1", "unknown", []string{"[2001:db8::1"}},
		"brackets around IPv4":  {"10.0.0.1:1", "unknown", []string{"[192.0.2.7]"}},
		"brackets twice":        {"10.0.0.1:1", "unknown", []string{"[[2001:db8::1]]"}},
		"a space inside":        {"10.0.0.1:1", "unknown", []string{"[2001:db8 ::1]"}},
		"garbage":               {"10.0.0.1:1", "unknown", []string{"203.0.113.9, x"}},
		"garbage before it":     {"10.0.0.1:1", "203.0.113.9", []string{"x, 203.0.113.9"}},
		"IPv6":                  {"[2001:db8::1]:1", "2001:db9::7", []string{"2001:db9::7"}},
		"IPv4 in IPv6":          {"[::ffff:10.0.0.1]:1", "203.0.113.9", []string{"::ffff:203.0.113.9"}},
		"all of them ours":      {"10.0.0.1:1", "10.0.0.3", []string{"10.0.0.3, 10.0.0.2"}},
		"an address and port":   {"10.0.0.1:1", "203.0.113.9", []string{"203.0.113.9:99"}},
		"a zone":                {"10.0.0.1:1", "unknown", []string{"fe80::1%=cmd"}},
		"IPv6 and port":         {"10.0.0.1:1", "2001:db9::7", []string{"[2001:db9::7]:99"}},
		"a peer without a name": {"@", "@", []string{"203.0.113.9"}},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = row.peer
		for _, value := range row.forwarded {
			r.Header.Add("X-Forwarded-For", value)
		}
		var got string
		proxies := &Proxies{Trusted: trusted, Logger: slog.New(slog.DiscardHandler)}
		proxies.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = Address(r) })).ServeHTTP(httptest.NewRecorder(), r)
		if got != row.want || r.RemoteAddr != row.peer && !strings.HasPrefix(row.peer, "@") {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}

// TestAProxyThatIsNotTrustedIsNoticed: once in the log, and on the page of the server's
// health; what comes from outside is no proxy, and trusted ones are as they should be.
func TestAProxyThatIsNotTrustedIsNoticed(t *testing.T) {
	for name, row := range map[string]struct {
		peer, header string
		want         bool
	}{
		"a proxy here":           {"127.0.0.1:1", "X-Forwarded-For", true},
		"a proxy in our network": {"192.168.1.7:1", "Forwarded", true},
		"a proxy over IPv6":      {"[fd00::1]:1", "X-Real-Ip", true},
		"a trusted one":          {"10.0.0.1:1", "X-Forwarded-For", false},
		"somebody outside":       {"203.0.113.9:1", "X-Forwarded-For", false},
		"no header":              {"127.0.0.1:1", "X-Request-Id", false},
	} {
		var log bytes.Buffer
		p := &Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		for range 3 {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = row.peer
			r.Header.Set(row.header, "203.0.113.77")
			p.Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
		}
		lines := strings.Count(log.String(), "--trusted-proxy")
		if (p.Undeclared() != nil) != row.want || (lines == 1) != row.want || lines > 1 || strings.Contains(log.String(), "203.0.113.77") {
			t.Errorf("%s: %v, %s", name, p.Undeclared(), log.String())
		}
	}
}
