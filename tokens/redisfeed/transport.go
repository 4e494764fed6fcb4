package redisfeed

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/imara/apikeys/tokens"
)

// RequireTLS makes options lead to this machine, by a loopback address or a Unix socket, or
// to others over TLS that is verified: else [tokens.ErrPlain]. It holds for the nodes, too,
// that a cluster or a Sentinel names later. Options with a Dialer know by themselves how
// their connections are guarded.
func RequireTLS(options *redis.UniversalOptions) error {
	if options.Dialer != nil {
		return nil
	}
	if verified(options.TLSConfig) {
		return nil
	}
	for _, address := range options.Addrs {
		if !local(address) {
			return notLocal(address)
		}
	}
	options.Dialer = dialLocal(options.TLSConfig)
	return nil
}

func verified(c *tls.Config) bool {
	return c != nil && (!c.InsecureSkipVerify || c.VerifyConnection != nil ||
		c.VerifyPeerCertificate != nil)
}

func notLocal(address string) error {
	return fmt.Errorf("redis at %s: %w: use rediss://, with its certificate verified",
		address, tokens.ErrPlain)
}

// local tells whether an address of Redis is on this machine: also that of a node of a
// cluster which does not know its own host, as Go dials it.
func local(address string) bool {
	if strings.HasPrefix(address, "/") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	return host == "" || tokens.Loopback(host)
}

// dialLocal connects to this machine only, and over TLS if that is configured.
func dialLocal(c *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if !local(address) {
			return nil, notLocal(address)
		}
		dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 5 * time.Minute}
		if c == nil {
			return dialer.DialContext(ctx, network, address)
		}
		return (&tls.Dialer{NetDialer: dialer, Config: c}).DialContext(ctx, network, address)
	}
}
