package tokens

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config of a [Verifier]. Issuer, Audience and Feed are required.
type Config struct {
	// Issuer is the iss claim, letter by letter, and where the metadata stands.
	Issuer string
	// Audience is the resource indicator of this API: the aud claim must hold it.
	Audience string
	// Feed brings the revocations. One feed may serve many verifiers.
	Feed Feed
	// Keys finds the issuer's signing keys; nil fetches the published JWK Set.
	Keys KeySet
	// Client makes the requests for the JWK Set; nil is a plain one.
	Client *http.Client
	// Stale is what to do while the view of the revocations is older than the lease
	// of Feed; the zero value refuses.
	Stale Stale
	// Leeway for clocks that differ, at most [MaxLeeway]; 0 is 5 seconds.
	Leeway time.Duration
	// CacheSize is how many verified tokens are remembered; 0 is 16384.
	CacheSize int
	// ResourceMetadata is the URL that challenges name (RFC 9728 §5.1), if any.
	ResourceMetadata string
	// InsecureHTTP lets keys come, and questions about tokens go, over plain http from and
	// to another machine: whoever is on the way can read and change them.
	InsecureHTTP bool
	// Logger takes what happens in the background; nil is [slog.Default].
	Logger *slog.Logger
}

// A Verifier accepts the access tokens of one issuer for one audience.
type Verifier struct {
	config Config
	keys   KeySet
	remote *remoteKeySet // what Run keeps current; nil when Keys was given
	cache  *cache
	// header is that of the last good token. An issuer has few, and one that was
	// checked needs no second look.
	header *atomic.Pointer[header]
	stale  *staleness
	// decided is of this audience.
	decided *decisions
	ended   *ended
}

// MaxLeeway is how much later than its end some verifier may still accept a token.
const MaxLeeway = time.Minute

// maxToken is longer than any token we sign, and short enough to refuse a flood
// before any of it is decoded.
const maxToken = 8 << 10

// NewVerifier checks config. It starts nothing: run [Verifier.Run].
func NewVerifier(config Config) (*Verifier, error) {
	if err := CheckIdentifier(config.Issuer); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if err := checkAudience(config.Audience); err != nil {
		return nil, err
	}
	switch {
	case config.Feed == nil:
		return nil, errors.New("a feed is required: without one a verifier cannot know what was revoked")
	case config.Leeway < 0 || config.Leeway > MaxLeeway:
		return nil, fmt.Errorf("the leeway must be between 0 and %v", MaxLeeway)
	}
	if config.Leeway == 0 {
		config.Leeway = 5 * time.Second
	}
	if config.CacheSize == 0 {
		config.CacheSize = 16384
	}
	if err := config.transports(); err != nil {
		return nil, err
	}
	stale, err := newStaleness(config)
	if err != nil {
		return nil, err
	}
	v := &Verifier{config: config, keys: config.Keys, cache: newCache(config.CacheSize), header: new(atomic.Pointer[header]),
		stale: stale, decided: new(decisions), ended: &ended{done: make(chan struct{})}}
	if v.keys == nil {
		v.remote = newRemoteKeySet(config, &config.Feed.Revocations().signing)
		v.keys = v.remote
	}
	return v, nil
}

// WithAudience returns a verifier for another audience of the same issuer. It
// shares keys, feed, cache and [Verifier.Run] with v. If v has a
// [Config.ResourceMetadata], the other one's challenges name the document that belongs
// to its audience (RFC 9728 §3.3), which stands where [MetadataURL] says.
func (v *Verifier) WithAudience(audience string) (*Verifier, error) {
	if err := checkAudience(audience); err != nil {
		return nil, err
	}
	config := v.config
	config.Audience = audience
	if config.ResourceMetadata != "" && audience != v.config.Audience {
		// None for an audience that is no URL.
		config.ResourceMetadata, _ = MetadataURL(audience, "oauth-protected-resource")
	}
	return v.with(config)
}

// Audience that the verifier accepts.
func (v *Verifier) Audience() string { return v.config.Audience }

// WithStale returns a verifier that does something else while its view is stale. It
// shares everything else with v, whose [Verifier.Run] must not have begun.
func (v *Verifier) WithStale(stale Stale) (*Verifier, error) {
	config := v.config
	config.Stale = stale
	if err := config.transports(); err != nil {
		return nil, err
	}
	return v.with(config)
}

// with returns v with another configuration, and with counts of its own.
func (v *Verifier) with(config Config) (*Verifier, error) {
	stale, err := newStaleness(config)
	if err != nil {
		return nil, err
	}
	other := *v
	other.config, other.stale, other.decided = config, stale, new(decisions)
	return &other, nil
}

// checkAudience accepts what a resource may be called (RFC 8707 §2): as an issuer, by
// [CheckIdentifier], or a URI of another scheme than http, such as urn:.
func checkAudience(audience string) error {
	u, err := url.Parse(audience)
	web := err == nil && (u.Scheme == "http" || u.Scheme == "https")
	if err != nil || !web && (u.Scheme == "" || strings.ContainsAny(audience, "\"\\ #")) {
		return fmt.Errorf("audience %q: it must be an absolute URI, since a verifier without one accepts tokens meant for others", audience)
	}
	if !web {
		return nil
	}
	if err := CheckIdentifier(audience); err != nil {
		return fmt.Errorf("audience: %w", err)
	}
	return nil
}

// Run follows the feed, and the JWK Set unless the keys were given, until ctx
// ends. Call it once, on one of the verifiers that share a feed. It returns early, with
// the reason, when the issuer refuses the credentials of the feed.
func (v *Verifier) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var keys sync.WaitGroup
	if v.remote != nil {
		keys.Go(func() { v.remote.Run(ctx) })
	}
	err := v.config.Feed.Run(ctx)
	if ctx.Err() == nil && err != nil {
		v.logger().Error("the verifier cannot follow", "error", err)
		v.config.Feed.Revocations().Explain(err)
	}
	v.ended.once.Do(func() { close(v.ended.done) })
	cancel()
	keys.Wait()
	return err
}

// ended tells those who wait that Run has returned.
type ended struct {
	once sync.Once
	done chan struct{}
}

// Ready returns nil once keys and revocations are current for the first time; or an error
// that says what is missing, and why, when ctx ends or [Verifier.Run] has.
func (v *Verifier) Ready(ctx context.Context) error {
	for _, ready := range []<-chan struct{}{v.keysReady(), v.config.Feed.Revocations().Ready()} {
		select {
		case <-ready:
		case <-v.ended.done:
			return v.notReady(errors.New("the verifier runs no more"))
		case <-ctx.Done():
			return v.notReady(ctx.Err())
		}
	}
	return nil
}

// keysReady is closed when there are keys.
func (v *Verifier) keysReady() <-chan struct{} {
	if v.remote != nil {
		return v.remote.Ready()
	}
	there := make(chan struct{})
	close(there)
	return there
}

// notReady adds what was last heard of keys and feed to the end of a wait.
func (v *Verifier) notReady(end error) error {
	var keys error
	if v.remote != nil {
		keys = v.remote.why()
	}
	why := errors.Join(keys, v.config.Feed.Revocations().why())
	if why == nil {
		why = errors.New("nothing was heard of the issuer yet: does Run run?")
	}
	return fmt.Errorf("%w: %w", end, why)
}

// logger is Logger, or the program's own.
func (c Config) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	return slog.Default()
}

func (v *Verifier) logger() *slog.Logger { return v.config.logger() }

// Verify returns the claims of a good token, or an error that wraps one of the
// sentinels of this package. It never waits and never asks another process; see
// [Verifier.VerifyContext] for that. The decision is about now: before a late
// commit, verify again.
func (v *Verifier) Verify(raw string) (*Claims, error) {
	token, err := v.good(raw)
	if err != nil {
		return nil, err
	}
	return v.decide(token)
}

// good returns a token that passes unless the revocations say otherwise.
func (v *Verifier) good(raw string) (verified, error) {
	token, err := v.read(raw)
	if err == nil {
		err = v.admit(token)
	}
	return token, err
}

// read returns a token whose signature and form are good, now or when it was
// seen before.
func (v *Verifier) read(raw string) (verified, error) {
	if !compact(raw) {
		return verified{}, malformed(raw)
	}
	key := sha256.Sum256([]byte(raw))
	seen, ok := v.cache.get(key)
	if !ok {
		seen, err := v.parse(raw)
		if err == nil {
			v.cache.put(key, seen)
		}
		return seen, err
	}
	_, err := v.keys.Key(seen.kid)
	return seen, err
}

// own is the caller's own copy, in one piece for the one audience that tokens have.
func (t verified) own() *Claims {
	own := &struct {
		Claims
		audience [1]string
	}{Claims: *t.claims}
	own.Audience = append(own.audience[:0], own.Audience...)
	own.kid = t.kid
	return &own.Claims
}

// VerifySignature returns the claims of a token that this issuer signed with a
// published key, whatever its time and audience, and whether or not it is
// revoked. It admits nobody: an issuer asks it what there is to revoke.
func (v *Verifier) VerifySignature(raw string) (*Claims, error) {
	if !compact(raw) {
		return nil, ErrMalformed
	}
	parsed, err := v.parse(raw)
	if err == nil && parsed.claims.Issuer != v.config.Issuer {
		err = fmt.Errorf("%w: iss", ErrNotForUs)
	}
	if err != nil {
		return nil, err
	}
	return parsed.claims, nil
}

// malformed is the error of a text that is no compact JWS.
func malformed(raw string) error {
	if strings.HasPrefix(raw, "imara_cs_") || strings.HasPrefix(raw, "imara_ci_") {
		return ErrSecret
	}
	return ErrMalformed
}

// compact is the form of a compact JWS: three parts of the base64url alphabet,
// at most maxToken bytes. Decoders skip line breaks; one token must have one
// spelling (RFC 8725 §3.11 and its successor).
func compact(raw string) bool {
	if len(raw) == 0 || len(raw) > maxToken {
		return false
	}
	dots, part := 0, 0
	for i := range len(raw) {
		if c := raw[i]; urlSafe(c) {
			part++
		} else if c == '.' && part > 0 && dots < 2 {
			dots, part = dots+1, 0
		} else {
			return false
		}
	}
	return dots == 2 && part > 0
}

// admit decides what may change between two uses of the same token, and between
// audiences. The revocations come after it: their verdict is about this moment.
func (v *Verifier) admit(t verified) error {
	now, leeway := time.Now(), v.config.Leeway
	switch c := t.claims; {
	case c.Issuer != v.config.Issuer:
		return fmt.Errorf("%w: iss", ErrNotForUs)
	case !c.Audience.Has(v.config.Audience):
		return &AudienceError{For: c.Audience, Here: v.config.Audience}
	// A whole second is before a moment exactly when it is before the moment's second.
	case now.Add(-leeway).Unix() >= c.ExpiresAt:
		return ErrExpired
	case now.Add(leeway).Unix() < c.IssuedAt:
		return fmt.Errorf("%w: iat", ErrNotForUs)
	case now.Add(leeway).Unix() < c.NotBefore:
		return fmt.Errorf("%w: nbf", ErrNotForUs)
	}
	return nil
}
