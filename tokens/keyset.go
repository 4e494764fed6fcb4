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
	"net/url"
	"strings"
	"sync/atomic"
	"time"
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
	keysFloor    = 10 * time.Second // between two fetches, whoever asks
	keysMaxStale = 24 * time.Hour   // then a set that could not be refreshed no longer counts
	fetchTimeout = 5 * time.Second
	fetchLimit   = 64 << 10 // bytes of a metadata or JWK Set document
)

// remoteKeySet holds the JWK Set that an issuer publishes. [remoteKeySet.run]
// fetches it in the background; a kid that is not in the set asks for an early
// fetch but never waits for one. A bad answer never replaces a good set.
type remoteKeySet struct {
	issuer string
	client *http.Client
	log    *slog.Logger
	set    atomic.Pointer[keySet]
	loaded chan struct{}
	early  chan struct{}
}

type keySet struct {
	keys    map[string]Key
	fetched time.Time
}

// newRemoteKeySet follows the key set that the authorization server metadata of
// issuer names (RFC 8414 §3). A nil client is one that follows no redirects. A
// nil logger is silent.
func newRemoteKeySet(issuer string, client *http.Client, log *slog.Logger) *remoteKeySet {
	bounded := withoutRedirects(client)
	bounded.Timeout = fetchTimeout
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &remoteKeySet{issuer: issuer, client: bounded, log: log,
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

// Key implements [KeySet].
func (s *remoteKeySet) Key(kid string) (Key, error) {
	set := s.set.Load()
	if set == nil || time.Since(set.fetched) > keysMaxStale {
		return Key{}, fmt.Errorf("%w: the issuer's signing keys are not loaded", ErrStale)
	}
	key, ok := set.keys[kid]
	if !ok {
		select {
		case s.early <- struct{}{}:
		default:
		}
		return Key{}, ErrUnknownKey
	}
	return key, nil
}

// Ready is closed when the set has been loaded for the first time.
func (s *remoteKeySet) Ready() <-chan struct{} { return s.loaded }

// Run keeps the set current until ctx ends.
func (s *remoteKeySet) Run(ctx context.Context) error {
	retry := 250 * time.Millisecond
	for {
		wait := keysRefresh - time.Duration(rand.Int64N(int64(keysRefresh/5)))
		if err := s.refresh(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("signing keys not refreshed", "issuer", s.issuer, "error", err)
			wait, retry = retry, min(2*retry, keysFloor)
		} else {
			retry = keysFloor
		}
		if !s.rest(ctx, wait) {
			return ctx.Err()
		}
	}
}

// rest waits, at least the floor once a set is there, until it is time to fetch.
func (s *remoteKeySet) rest(ctx context.Context, wait time.Duration) bool {
	if s.set.Load() != nil {
		select {
		case <-time.After(min(wait, keysFloor)):
			wait -= min(wait, keysFloor)
		case <-ctx.Done():
			return false
		}
		select {
		case <-s.early:
			return true
		case <-time.After(wait):
			return true
		case <-ctx.Done():
			return false
		}
	}
	select {
	case <-time.After(wait):
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *remoteKeySet) refresh(ctx context.Context) error {
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
	if body, err = s.fetch(ctx, metadata.JWKSURI); err != nil {
		return err
	}
	keys, err := parseJWKSet(body)
	if err != nil {
		return fmt.Errorf("%s: %w", metadata.JWKSURI, err)
	}
	if s.set.Swap(&keySet{keys: keys, fetched: time.Now()}) == nil {
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

// CheckIdentifier accepts what may identify an issuer or a resource: an
// absolute http or https URL without user, query, fragment or trailing slash
// (RFC 8414 §2, RFC 8707 §2).
func CheckIdentifier(identifier string) error {
	u, err := url.Parse(identifier)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q is not an absolute http or https URL", identifier)
	case u.User != nil || strings.ContainsAny(identifier, "?# "):
		return fmt.Errorf("%q has a user, a query, a fragment or a space", identifier)
	case strings.HasSuffix(identifier, "/"):
		return fmt.Errorf("%q ends with a slash", identifier)
	case u.String() != identifier:
		return errors.New("write it as " + u.String())
	}
	return nil
}
