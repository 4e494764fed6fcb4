package keys

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/imara/apikeys/tokens"
)

// MaxTokenTTL is the longest life of an access token. The revocation log keeps
// a cut for this long and five minutes more, so it is not configuration.
const MaxTokenTTL = time.Hour

// DefaultTokenTTL is the life of an access token unless its resource says otherwise.
const DefaultTokenTTL = 10 * time.Minute

// A Resource is an API that keys may call.
type Resource struct {
	ID string
	// Audience is its resource indicator (RFC 8707), the aud of its tokens.
	Audience string
	Name     string
	// Algorithm signs its tokens: tokens.ES256, RS256 or EdDSA.
	Algorithm string
	TokenTTL  time.Duration
	Scopes    []Scope
}

// A Scope is something that a key may be allowed to do. Its name belongs to one
// resource, so that a scope says which API is meant.
type Scope struct {
	Name        string
	Description string
	// Restricted scopes are for keys of the operator's organisation only.
	Restricted bool
}

// PutResource stores a resource, replacing the one with its audience. An empty
// ID, Algorithm and TokenTTL are filled in.
func (r *Registry) PutResource(ctx context.Context, by Actor, res Resource) (Resource, error) {
	if res.ID == "" {
		res.ID = "res_" + rand.Text()
	}
	if res.Algorithm == "" {
		res.Algorithm = tokens.ES256
	}
	if res.TokenTTL == 0 {
		res.TokenTTL = DefaultTokenTTL
	}
	if err := checkText("name", res.Name, 80); err != nil {
		return Resource{}, err
	}
	if err := tokens.CheckIdentifier(res.Audience); err != nil {
		return Resource{}, invalid("audience", "%v", err)
	}
	switch res.Algorithm {
	case tokens.ES256, tokens.RS256, tokens.EdDSA:
	default:
		return Resource{}, invalid("algorithm", "there is no algorithm %q", res.Algorithm)
	}
	if res.TokenTTL < time.Minute || res.TokenTTL > MaxTokenTTL {
		return Resource{}, invalid("token_ttl", "it must be between a minute and %v", MaxTokenTTL)
	}
	for _, s := range res.Scopes {
		if !ValidScope(s.Name) {
			return Resource{}, invalid("scopes", "%q is not a scope (RFC 6749 §3.3)", s.Name)
		}
	}
	catalogue, err := r.Catalogue(ctx)
	if err != nil {
		return Resource{}, err
	}
	if old, ok := catalogue.Resource(res.Audience); ok {
		res.ID = old.ID
	}
	at, err := r.config.Store.PutResource(ctx, res, by.entry(tokens.Touch, tokens.Resource(res.ID), "resource"))
	if err != nil {
		return Resource{}, err
	}
	_, err = r.settle(ctx, at, "")
	return res, err
}

// Catalogue returns all resources.
func (r *Registry) Catalogue(ctx context.Context) (Catalogue, error) {
	resources, err := r.config.Store.Resources(ctx)
	return Catalogue(resources), err
}

// A Catalogue is all resources of a server.
type Catalogue []Resource

// Resource returns the one with this audience.
func (c Catalogue) Resource(audience string) (Resource, bool) {
	for _, res := range c {
		if res.Audience == audience {
			return res, true
		}
	}
	return Resource{}, false
}

// Scope returns a scope and the resource that it belongs to.
func (c Catalogue) Scope(name string) (Scope, Resource, bool) {
	for _, res := range c {
		for _, s := range res.Scopes {
			if s.Name == name {
				return s, res, true
			}
		}
	}
	return Scope{}, Resource{}, false
}

// ValidScope is the syntax of one scope (RFC 6749 §3.3), 1 to 128 characters.
func ValidScope(s string) bool {
	if len(s) == 0 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// An Access is what a key may do, and until when.
type Access struct {
	// Scopes it may ask for, at least one.
	Scopes []string
	// Resources are the audiences it may call, the default first. Empty means
	// those that the scopes belong to.
	Resources []string
	// ExpiresAt ends the key; zero is never.
	ExpiresAt time.Time
}

const maxScopes = 100 // of one key

// checkAccess fills in the resources and drops what repeats. restricted says which
// restricted scopes may be granted, beside that the organisation is the operator's.
func (r *Registry) checkAccess(ctx context.Context, o Organization, a Access, restricted func(scope string) bool) (Access, error) {
	catalogue, err := r.Catalogue(ctx)
	if err != nil {
		return Access{}, err
	}
	a.Scopes, a.Resources = distinct(a.Scopes), distinct(a.Resources)
	switch {
	case len(a.Scopes) == 0:
		return Access{}, invalid("scopes", "at least one is required")
	case len(a.Scopes) > maxScopes:
		return Access{}, invalid("scopes", "at most %d", maxScopes)
	case !a.ExpiresAt.IsZero() && !a.ExpiresAt.After(now()):
		return Access{}, invalid("expires_at", "it has passed")
	}
	for _, audience := range a.Resources {
		if _, ok := catalogue.Resource(audience); !ok {
			return Access{}, invalid("resources", "there is no resource %q", audience)
		}
	}
	chosen := len(a.Resources) > 0
	for _, name := range a.Scopes {
		scope, resource, ok := catalogue.Scope(name)
		switch {
		case !ok:
			return Access{}, invalid("scopes", "there is no scope %q", name)
		case scope.Restricted && (!o.Operator || !restricted(name)):
			return Access{}, fmt.Errorf("%w: %s", ErrScope, name)
		case !chosen:
			a.Resources = distinct(append(a.Resources, resource.Audience))
		case !slices.Contains(a.Resources, resource.Audience):
			return Access{}, invalid("scopes", "%q belongs to %s, which is not among the resources", name, resource.Audience)
		}
	}
	a.ExpiresAt = a.ExpiresAt.UTC().Truncate(time.Microsecond)
	return a, nil
}

// within tells whether a allows nothing that b does not: tokens minted under a
// are still right under b.
func (a Access) within(b Access) bool {
	for _, s := range a.Scopes {
		if !slices.Contains(b.Scopes, s) {
			return false
		}
	}
	for _, res := range a.Resources {
		if !slices.Contains(b.Resources, res) {
			return false
		}
	}
	return b.ExpiresAt.IsZero() || !a.ExpiresAt.IsZero() && !a.ExpiresAt.After(b.ExpiresAt)
}

func distinct(list []string) []string {
	out := make([]string, 0, len(list))
	for _, x := range list {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}
