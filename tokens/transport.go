package tokens

import (
	"errors"
	"fmt"
	"net"
	"net/url"
)

// ErrPlain: what goes to an address could be read and changed on the way there.
var ErrPlain = errors.New("not encrypted, and to another machine")

// CheckTransport accepts an https URL, and an http one of this machine: localhost or a
// loopback address. Others are [ErrPlain]: signing keys, secrets and revocations that come
// or go that way are anybody's on it.
func CheckTransport(location string) error {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%.200q is not an absolute URL", location)
	}
	if u.Scheme == "https" || u.Scheme == "http" && Loopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%s://%s: %w: use https", u.Scheme, u.Host, ErrPlain)
}

// Loopback tells whether a host, without a port, is this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// transports refuses what the verifier would ask over plain http: the issuer for its keys,
// and about tokens.
func (c Config) transports() error {
	if c.InsecureHTTP {
		return nil
	}
	ask := c.Stale.Introspect
	if c.Keys == nil || ask != nil && ask.URL == "" {
		if err := CheckTransport(c.Issuer); err != nil {
			return fmt.Errorf("issuer: %w", err)
		}
	}
	if ask != nil && ask.URL != "" {
		if err := CheckTransport(ask.URL); err != nil {
			return fmt.Errorf("introspection: %w", err)
		}
	}
	return nil
}
