package keys

import (
	"net/netip"
	"time"
)

// A Rate is how often something may happen: Burst times at once, and once more each Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// A Limited is whose budget is meant: of what, of whom, from where. Each may be empty.
type Limited struct{ What, Who, From string }

// A Budget is what is left of a [Rate].
type Budget struct {
	// Left is how often it may happen at once now.
	Left int
	// Wait is how long until it may; 0: it may now.
	Wait time.Duration
}

// A Limiter counts what happens, over all servers that share it.
type Limiter interface {
	// Take takes n of a budget, or nothing when there is less: then Wait says when there
	// is enough. 0 only looks whether there is one; a negative n gives back.
	Take(of Limited, r Rate, n int) Budget
}

// unlimited is the limiter of a registry without one.
type unlimited struct{}

func (unlimited) Take(Limited, Rate, int) Budget { return Budget{Left: 1} }

// Network is the network of an address that one machine, or one customer of a provider, may
// have whole: a /48 of IPv6, an address of IPv4.
func Network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if network, err := ip.Prefix(48); err == nil {
			return network.String()
		}
	}
	return ip.String()
}
