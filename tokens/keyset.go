package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// A KeySet finds the signing keys of one issuer, from memory.
type KeySet interface {
	// Key returns the published key with this kid, [ErrUnknownKey] when there is
	// none, [ErrStale] when the set was never loaded or is too old to say.
	Key(kid string) (Key, error)
}

// The bounds of a remote key set.
const (
	keysRefresh  = 5 * time.Minute  // when all is well
	keysFloor    = 10 * time.Second // between two fetches, whoever asks with a token
	keysAgain    = time.Second      // that, after the log asked: not every server had read it
	keysRetry    = 250 * time.Millisecond
	keysMaxStale = 24 * time.Hour // then a set that could not be refreshed no longer counts
	fetchTimeout = 5 * time.Second
	fetchLimit   = 64 << 10 // bytes of a metadata or JWK Set document
)

// remoteKeySet holds the JWK Set that an issuer publishes. [remoteKeySet.Run]
// fetches it in the background; a kid that is not in the set asks for an early
// fetch but never waits for one, and an entry of the revocation log about a signing
// key for one at once. A bad answer never replaces a good set.
type remoteKeySet struct {
	issuer   string
	client   *http.Client
	insecure bool // Config.InsecureHTTP
	log      *slog.Logger
	changes  *changes // of the issuer's signing keys, as the log tells
	set      atomic.Pointer[keySet]
	trouble  atomic.Pointer[error] // of the last fetch
	loaded   chan struct{}
	early    chan struct{}
}

type keySet struct {
	keys    map[string]Key
	fetched time.Time
	changes uint64 // that the log had told of before it was fetched
}

// newRemoteKeySet follows the key set that the authorization server metadata of the
// issuer names (RFC 8414 §3). It is fetched, too, when changes tells of one.
func newRemoteKeySet(config Config, changes *changes) *remoteKeySet {
	bounded := withoutRedirects(config.Client)
	bounded.Timeout = fetchTimeout
	return &remoteKeySet{issuer: config.Issuer, client: bounded, insecure: config.InsecureHTTP,
		log: config.logger(), changes: changes,
		loaded: make(chan struct{}), early: make(chan struct{}, 1)}
}

// withoutRedirects returns a copy of client, or of a plain one, that follows none:
// what we ask is answered where we ask it.
func withoutRedirects(client *http.Client) *http.Client {
	c := http.Client{}
	if client != nil {
		c = *client
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// Key implements [KeySet]. A kid that the set lacks while a newer one is being fetched
// is [ErrStale]: it may be in that.
func (s *remoteKeySet) Key(kid string) (Key, error) {
	set := s.set.Load()
	if set == nil || time.Since(set.fetched) > keysMaxStale {
		err := fmt.Errorf("%w: the issuer's signing keys were never loaded, or not for a day", ErrStale)
		return Key{}, errors.Join(err, s.why())
	}
	key, ok := set.keys[kid]
	if ok {
		return key, nil
	}
	if changes, _ := s.changes.seen(); changes > set.changes {
		return Key{}, fmt.Errorf("%w: the issuer's signing keys are being fetched", ErrStale)
	}
	select {
	case s.early <- struct{}{}:
	default:
	}
	return Key{}, ErrUnknownKey
}

// why the last fetch failed; nil if it did not.
func (s *remoteKeySet) why() error {
	if err := s.trouble.Load(); err != nil && *err != nil {
		return fmt.Errorf("signing keys: %w", *err)
	}
	return nil
}

// Ready is closed when the set has been loaded for the first time.
func (s *remoteKeySet) Ready() <-chan struct{} { return s.loaded }

// Run keeps the set current until ctx ends.
func (s *remoteKeySet) Run(ctx context.Context) error {
	for told, retry := false, keysRetry; ; {
		changes, changed := s.changes.seen()
		floor, wait := keysFloor, keysRefresh-time.Duration(rand.Int64N(int64(keysRefresh/5)))
		if told {
			floor = keysAgain
		}
		err := s.refresh(ctx, changes)
		s.trouble.Store(&err)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("signing keys not refreshed", "issuer", s.issuer, "error", err)
			floor, wait, retry = retry, retry, min(2*retry, keysFloor)
		} else {
			retry = keysFloor
		}
		if told = s.rest(ctx, floor, wait, changed); told {
			retry = keysRetry
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// rest waits until it is time to fetch: for wait, or no longer than the floor once
// somebody has asked. It tells whether the log has, which waits for nothing.
func (s *remoteKeySet) rest(ctx context.Context, floor, wait time.Duration, changed <-chan struct{}) (told bool) {
	begun := time.Now()
	select {
	case <-time.After(floor):
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
	select {
	case <-s.early:
		return false
	case <-time.After(wait - time.Since(begun)):
		return false
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *remoteKeySet) refresh(ctx context.Context, changes uint64) error {
	location, err := MetadataURL(s.issuer, "oauth-authorization-server")
	if err != nil {
		return err
	}
	body, err := s.fetch(ctx, location)
	if err != nil {
		return err
	}
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &metadata); err != nil {
		return fmt.Errorf("%s: %w", location, err)
	}
	if metadata.Issuer != s.issuer {
		return fmt.Errorf("%s: issuer is %.200q, not %q", location, metadata.Issuer, s.issuer)
	}
	if !s.insecure {
		if err := CheckTransport(metadata.JWKSURI); err != nil {
			return fmt.Errorf("%s: jwks_uri: %w", location, err)
		}
	}
	if body, err = s.fetch(ctx, metadata.JWKSURI); err != nil {
		return err
	}
	keys, err := parseJWKSet(body)
	if err != nil {
		return fmt.Errorf("%s: %w", metadata.JWKSURI, err)
	}
	if s.set.Swap(&keySet{keys, time.Now(), changes}) == nil {
		close(s.loaded)
	}
	return nil
}

func (s *remoteKeySet) fetch(ctx context.Context, location string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Cache-Control", "no-cache") // what is published now, not what a cache holds
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", location, response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, fetchLimit+1))
	if err == nil && len(body) > fetchLimit {
		err = fmt.Errorf("%s: more than %d bytes", location, fetchLimit)
	}
	return body, err
}

// MetadataURL inserts /.well-known/<name> between the host and the path of an
// issuer or resource identifier (RFC 8414 §3.1, RFC 9728 §3.1).
func MetadataURL(identifier, name string) (string, error) {
	if err := CheckIdentifier(identifier); err != nil {
		return "", err
	}
	u, _ := url.Parse(identifier)
	return u.Scheme + "://" + u.Host + "/.well-known/" + name + u.EscapedPath(), nil
}

// maxIdentifier keeps a token that names an issuer and several audiences below the
// longest that verifiers read.
const maxIdentifier = 1000

// CheckIdentifier accepts what may identify an issuer or a resource: an absolute http or
// https URL without user, query, fragment or trailing slash (RFC 8414 §2, RFC 8707 §2), of
// at most 1000 bytes, that names a host in ASCII and a path with nothing in it that a
// server or proxy would clean away. What it accepts can be served, and verified for.
func CheckIdentifier(identifier string) error {
	u, err := url.Parse(identifier)
	switch {
	case len(identifier) > maxIdentifier:
		return fmt.Errorf("%.60q… is longer than %d bytes", identifier, maxIdentifier)
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q is not an absolute http or https URL", identifier)
	case u.User != nil || strings.ContainsAny(identifier, "?# "):
		return fmt.Errorf("%q has a user, a query, a fragment or a space", identifier)
	case strings.HasSuffix(identifier, "/"):
		return fmt.Errorf("%q ends with a slash", identifier)
	case !plainHost(u):
		return fmt.Errorf("%q does not name a host: a name of letters, digits, hyphens and "+
			"underscores, or an IP address, and a port from 1 to 65535 or none", identifier)
	case u.String() != identifier:
		return errors.New("write it as " + u.String())
	case u.Path != "" && (AmbiguousPath(u) || strings.ContainsFunc(u.Path, unprintable)):
		return fmt.Errorf("%q has a path that programs may read as another: with an empty segment, one "+
			"that ends with a dot, an encoded slash or the like", identifier)
	}
	return nil
}

// plainHost tells whether the host of u is a name or an address, and its port a number.
func plainHost(u *url.URL) bool {
	name, port := u.Hostname(), u.Port()
	if port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return false
		}
	}
	if strings.HasPrefix(u.Host, "[") {
		address, err := netip.ParseAddr(name)
		return err == nil && address.Is6() && address.Zone() == "" && !strings.HasSuffix(u.Host, ":")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return false
		}
		for i := range len(label) {
			if !urlSafe(label[i]) {
				return false
			}
		}
	}
	return len(name) <= 253 && !strings.HasSuffix(u.Host, ":")
}

// unprintable tells whether a character of a path is not to be seen, or stands for one that
// could not be read.
func unprintable(c rune) bool { return c == utf8.RuneError || !unicode.IsPrint(c) }
