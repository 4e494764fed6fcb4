// Package tokenstest lets authors of resource servers test what they protect: an
// issuer in the test's own process, tokens good and bad, and a revoke button.
//
//	issuer := tokenstest.New(t)
//	handler := api.New(issuer.Verifier("https://api.example.com"))
//	request.Header.Set("Authorization", "Bearer "+issuer.Token("https://api.example.com", "alerts:read"))
//	issuer.Revoke(tokenstest.ClientID)
package tokenstest

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// What tokens say, unless a test changes it.
const (
	URL          = "https://issuer.example"
	ClientID     = "imara_ci_00000000000000000000"
	Organization = "org_test"
)

// An Issuer signs tokens and revokes them. It uses no network.
type Issuer struct {
	t           testing.TB
	ring        *signing.Ring
	revocations *tokens.Revocations

	mu       sync.Mutex
	position uint64
}

// New returns an issuer with one ES256 key.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t, revocations: tokens.NewRevocations(time.Hour), position: 1000}
	var err error
	i.ring, err = signing.NewRing(t.Context(), signing.Config{Issuer: URL, KEK: tokens.Secret(make([]byte, 32)), Store: &shelf{}})
	if err == nil {
		err = i.ring.Ensure(t.Context(), tokens.ES256)
	}
	if err != nil {
		t.Fatal(err)
	}
	i.revocations.Start(nil, i.position, 1)
	i.Recover()
	return i
}

// Verifier returns a verifier that trusts the issuer. It needs no Run.
func (i *Issuer) Verifier(audience string) *tokens.Verifier {
	i.t.Helper()
	v, err := tokens.NewVerifier(tokens.Config{Issuer: URL, Audience: audience, Feed: i, Keys: i.ring})
	if err != nil {
		i.t.Fatal(err)
	}
	return v
}

// Keys finds the issuer's signing key, for verifiers with a configuration of their own.
func (i *Issuer) Keys() tokens.KeySet { return i.ring }

// Token returns a good token for an audience.
func (i *Issuer) Token(audience string, scopes ...string) string {
	i.t.Helper()
	return i.TokenWith(func(c *tokens.Claims) {
		c.Audience, c.Scope = tokens.Audience{audience}, strings.Join(scopes, " ")
	})
}

// TokenWith returns a token whose claims change has the last word on.
func (i *Issuer) TokenWith(change func(*tokens.Claims)) string {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	c := &tokens.Claims{Issuer: URL, Subject: ClientID, ClientID: ClientID, Organization: Organization, ID: rand.Text(),
		IssuedAt: now.Unix(), ExpiresAt: now.Add(10 * time.Minute).Unix(), Position: i.position}
	change(c)
	raw, err := i.ring.Sign(tokens.ES256, c)
	if err != nil {
		i.t.Fatal(err)
	}
	return raw
}

// Expired returns a token that ended a minute ago.
func (i *Issuer) Expired(audience string, scopes ...string) string {
	i.t.Helper()
	return i.TokenWith(func(c *tokens.Claims) {
		c.Audience, c.Scope = tokens.Audience{audience}, strings.Join(scopes, " ")
		c.IssuedAt, c.ExpiresAt = c.IssuedAt-3600, c.IssuedAt-60
	})
}

// Revoke cuts a client: no token that it has by now is accepted when Revoke returns, and
// its streams have ended.
func (i *Issuer) Revoke(clientID string) { i.Cut(tokens.Client(clientID)) }

// Cut cuts any subject.
func (i *Issuer) Cut(subject tokens.Subject) {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.position++
	if err := i.revocations.Apply([]tokens.Entry{{Position: i.position, Subject: subject, Kind: tokens.Cut}}); err != nil {
		i.t.Fatal(err)
	}
}

// Stall makes the verifiers lose contact for longer than their lease: they answer
// 503, or what their [tokens.Stale] says, until [Issuer.Recover]. What is revoked
// meanwhile does not reach them.
func (i *Issuer) Stall() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.revocations.Lapse()
	i.revocations.Start(nil, i.position, i.position)
}

// Recover brings contact back.
func (i *Issuer) Recover() { i.revocations.Confirm(time.Now(), 0) }

// Revocations implements [tokens.Feed].
func (i *Issuer) Revocations() *tokens.Revocations { return i.revocations }

// Run implements [tokens.Feed].
func (i *Issuer) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// shelf keeps the issuer's signing keys.
type shelf struct{ keys []signing.Sealed }

func (s *shelf) SigningKeys(context.Context) ([]signing.Sealed, error) { return s.keys, nil }

func (s *shelf) AddSigningKey(_ context.Context, k signing.Sealed) error {
	s.keys = append(s.keys, k)
	return nil
}
