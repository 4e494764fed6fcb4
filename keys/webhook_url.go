package keys

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// WebhookNetworks are networks, beside the public ones, to which webhooks may lead: by http
// too, which leads nowhere else.
type WebhookNetworks []netip.Prefix

// Admit tells whether a webhook may connect to an address, by https or by http.
func (n WebhookNetworks) Admit(a netip.Addr, https bool) bool {
	return https && PublicAddress(a) ||
		slices.ContainsFunc(n, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

// check refuses what can never be delivered to: another scheme, what is no address of a
// server, and a literal address, in whatever spelling, to which nothing may connect. Where a
// name leads is known when it is dialed. Errors: an [InputError].
func (n WebhookNetworks) check(text string) error {
	if err := checkText("url", text, 2000); err != nil {
		return err
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return invalid("url", "use an https URL without credentials")
	}
	https := u.Scheme == "https"
	if !https && len(n) == 0 {
		return invalid("url", "use https: http leads to networks of --webhook-network only, and there are none")
	}
	if port := u.Port(); port != "" {
		if number, err := strconv.Atoi(port); err != nil || number < 1 || number > 65535 {
			return invalid("url", "there is no port %.10s", port)
		}
	}
	return n.checkHost(u.Hostname(), https)
}

// checkHost judges a host as a connection would understand it.
func (n WebhookNetworks) checkHost(host string, https bool) error {
	host = spelled(host)
	if len(host) > 253 || strings.HasPrefix(host, ".") || strings.Contains(host, "..") || host == "" {
		return invalid("url", "its host is no name")
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if !n.Admit(a, https) {
			return notPublic(https)
		}
		return nil
	}
	if endsInNumber(host) {
		return invalid("url", "write the address as 203.0.113.7")
	}
	if local(host) && !n.Admit(netip.MustParseAddr("127.0.0.1"), https) && !n.Admit(netip.IPv6Loopback(), https) {
		return notPublic(https)
	}
	return nil
}

func notPublic(https bool) error {
	if !https {
		return invalid("url", "use https: http leads to networks of --webhook-network only")
	}
	return invalid("url", "the address is not a public one")
}

// spelled is a host in the letters that it comes down to: some scripts have digits and dots
// of their own, which mean these.
func spelled(host string) string {
	host = strings.NewReplacer("\u3002", ".", "\uff61", ".").Replace(host)
	host = strings.ToLower(norm.NFKC.String(host))
	return strings.TrimSuffix(host, ".")
}

// endsInNumber tells whether a host is an IPv4 address in one of its other spellings, or none
// at all: decimal, octal, hexadecimal, short (WHATWG URL, "ends in a number").
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if digits, hex := strings.CutPrefix(last, "0x"); hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// local tells whether a name is one of this machine's (RFC 6761 §6.3), or customary for it.
func local(host string) bool {
	first, _, _ := strings.Cut(host, ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		host == "localhost.localdomain" || first == "localhost6" || first == "ip6-localhost" || first == "ip6-loopback"
}
