package webhooks

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/imara/apikeys/keys"
)

// errAddress: the URL leads to where a customer has no business.
var errAddress = errors.New("the address is not a public one")

// control refuses connections to what is not allowed, nor public if that is enough.
// It is asked with the address that the name has led to.
func control(allowed []netip.Prefix, publicToo bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		a, err := netip.ParseAddr(host)
		if err != nil {
			return err
		}
		if keys.WebhookNetworks(allowed).Admit(a, publicToo) {
			return nil
		}
		return fmt.Errorf("%w: %s", errAddress, a)
	}
}
