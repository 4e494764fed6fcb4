package keys

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
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
	// Replaced: [Registry.PutResource] put it in place of another. It is not stored.
	Replaced bool
}

func (res *Resource) fields() map[string]string {
	f := map[string]string{"audience": res.Audience, "name": res.Name, "algorithm": res.Algorithm, "token_ttl": res.TokenTTL.String()}
	for _, s := range res.Scopes {
		f["scope."+s.Name] = fmt.Sprintf("%s %s restricted=%t granted_by=%s %s", s.Level, s.Group, s.Restricted, s.GrantedBy, s.Description)
	}
	return f
}

// Version changes whenever the resource does.
func (res *Resource) Version() string { return version(res.fields()) }

// A Scope is something that a key may be allowed to do. Its name belongs to one
// resource, so that a scope says which API is meant.
type Scope struct {
	Name        string
	Description string
	// Group is a heading under which it is shown; may be empty.
	Group string
	// Level is read or write; empty is read for a name that ends in :read, and write
	// for every other.
	Level string
	// GrantedBy is the least role that may give it to a key: empty, Admin or Owner.
	// A token may give what it has, whether it acts for such a member or for itself.
	GrantedBy Role
	// Restricted scopes are for keys of the operator's organisation only.
	Restricted bool
}

// Writes tells whether the scope lets its bearer change something.
func (s Scope) Writes() bool {
	return s.Level == "write" || s.Level == "" && !strings.HasSuffix(s.Name, ":read")
}

// PutResource stores a resource, replacing the one with its audience. An empty
// ID, Algorithm and TokenTTL are filled in. It takes no scope from a key: while one that is
// not revoked has a scope that would go, it is an [InUseError]. Other errors: an
// [InputError], [ErrChanged].
func (r *Registry) PutResource(ctx context.Context, by Actor, res Resource) (Resource, error) {
	if err := by.May("resource.set"); err != nil {
		return Resource{}, err
	}
	if res.ID == "" && !by.DryRun {
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
	if err := checkAlgorithm(res.Algorithm); err != nil {
		return Resource{}, err
	}
	if res.TokenTTL < time.Minute || res.TokenTTL > MaxTokenTTL {
		return Resource{}, invalid("token_ttl", "it must be between a minute and %v", MaxTokenTTL)
	}
	if len(res.Scopes) > MaxResourceScopes {
		return Resource{}, invalid("scopes", "at most %d", MaxResourceScopes)
	}
	for _, s := range res.Scopes {
		if !ValidScope(s.Name) {
			return Resource{}, invalid("scopes", "%q is not a scope (RFC 6749 §3.3)", s.Name)
		}
		if s.Level != "" && s.Level != "read" && s.Level != "write" {
			return Resource{}, invalid("scopes", "the level of %q is read or write", s.Name)
		}
		if s.GrantedBy != "" && s.GrantedBy != Admin && s.GrantedBy != Owner {
			return Resource{}, invalid("scopes", "%q is granted by admin or owner", s.Name)
		}
		for field, text := range map[string]string{"description": s.Description, "group": s.Group} {
			if text != "" {
				if err := checkText("scopes/"+s.Name+"/"+field, text, 200); err != nil {
					return Resource{}, err
				}
			}
		}
	}
	catalogue, err := r.Catalogue(ctx)
	if err != nil {
		return Resource{}, err
	}
	old, known := catalogue.Resource(res.Audience)
	if res.Replaced = known; known {
		res.ID = old.ID
	}
	if !known && by.IfMatch != "" {
		return Resource{}, ErrChanged
	}
	if err := by.agree(old.Version()); err != nil {
		return Resource{}, err
	}
	owners := catalogue.owners()
	for _, s := range res.Scopes {
		if other, taken := owners[s.Name]; taken && other.ID != res.ID {
			return Resource{}, invalid("scopes", "%q belongs to %s", s.Name, other.Audience)
		}
	}
	entry := by.did("resource.set", "", res.ID, tokens.Touch, tokens.Resource(res.ID))
	entry.Changes = diff(old.fields(), res.fields())
	gone := old.without(res)
	if r.config.SigningRing != nil && !by.DryRun { // before the first token, so that none is refused
		if err := r.config.SigningRing.Ensure(ctx, res.Algorithm); err != nil {
			return Resource{}, err
		}
	}
	at, err := r.config.Store.PutResource(ctx, res, entry, func(users []KeyUse) error {
		return cmp.Or(losing(users, gone), by.trial())
	})
	if errors.Is(err, errTrial) {
		return res, nil
	}
	if err != nil {
		return Resource{}, err
	}
	_, err = r.settle(ctx, by, at)
	return res, err
}

func checkAlgorithm(algorithm string) error {
	if !slices.Contains(tokens.Algorithms(), algorithm) {
		return invalid("algorithm", "there is no %.20q: use one of %s", algorithm, strings.Join(tokens.Algorithms(), ", "))
	}
	return nil
}

// without are the scopes that other does not have.
func (res *Resource) without(other Resource) (gone []string) {
	for _, s := range res.Scopes {
		if !slices.ContainsFunc(other.Scopes, func(x Scope) bool { return x.Name == s.Name }) {
			gone = append(gone, s.Name)
		}
	}
	return gone
}

// losing is an [InUseError] with the keys that have one of these scopes, nil for none.
func losing(users []KeyUse, gone []string) error {
	var e InUseError
	for _, k := range users {
		lost := slices.DeleteFunc(slices.Clone(k.Scopes), func(s string) bool { return !slices.Contains(gone, s) })
		if len(lost) > 0 {
			e.Keys, e.Scopes = append(e.Keys, k), distinct(append(e.Scopes, lost...))
		}
	}
	if len(e.Keys) == 0 {
		return nil
	}
	return &e
}

// RemoveResource takes a resource and its scopes out of the catalogue. Errors:
// [ErrNotFound], an [InUseError] while a key that is not revoked may call it.
func (r *Registry) RemoveResource(ctx context.Context, by Actor, id string) error {
	if err := by.May("resource.remove"); err != nil {
		return err
	}
	catalogue, err := r.Catalogue(ctx)
	if err != nil {
		return err
	}
	place := slices.IndexFunc(catalogue, func(res Resource) bool { return res.ID == id })
	if place < 0 {
		return ErrNotFound
	}
	if err := by.agree(catalogue[place].Version()); err != nil {
		return err
	}
	entry := by.did("resource.remove", "", id, tokens.Touch, tokens.Resource(id))
	entry.Changes = diff(catalogue[place].fields(), nil)
	at, err := r.config.Store.RemoveResource(ctx, id, entry, func(users []KeyUse) error {
		if len(users) > 0 {
			return &InUseError{Keys: users}
		}
		return by.trial()
	})
	if errors.Is(err, errTrial) {
		return nil
	}
	if err == nil {
		_, err = r.settle(ctx, by, at)
	}
	return err
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

// owners is which resource each scope belongs to.
func (c Catalogue) owners() map[string]*Resource {
	of := make(map[string]*Resource)
	for i := range c {
		for _, s := range c[i].Scopes {
			of[s.Name] = &c[i]
		}
	}
	return of
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
	// Networks from which it may ask for tokens; none is all.
	Networks []netip.Prefix
	// TokenTTL, unless 0, is how long its tokens live at most.
	TokenTTL time.Duration
}

func (a Access) equal(b Access) bool {
	return slices.Equal(a.Scopes, b.Scopes) && slices.Equal(a.Resources, b.Resources) && a.ExpiresAt.Equal(b.ExpiresAt) &&
		slices.Equal(a.Networks, b.Networks) && a.TokenTTL == b.TokenTTL
}

// How many a list may have. What is longer is refused before anything looks at it, so
// that no request costs more than its length.
const (
	MaxScopes         = 100 // of a key, or of a preset
	MaxResources      = 100 // of a key
	MaxResourceScopes = 500 // of a resource
)

// checkAccess fills in the resources and drops what repeats, and tells whether a
// scope writes. What the key had it may keep.
func (r *Registry) checkAccess(ctx context.Context, by Actor, o Organization, a Access, had []string) (_ Access, writes bool, err error) {
	switch {
	case len(a.Scopes) == 0:
		return Access{}, false, invalid("scopes", "at least one is required")
	case len(a.Scopes) > MaxScopes:
		return Access{}, false, invalid("scopes", "at most %d", MaxScopes)
	case len(a.Resources) > MaxResources:
		return Access{}, false, invalid("resources", "at most %d", MaxResources)
	case !a.ExpiresAt.IsZero() && !a.ExpiresAt.After(now()):
		return Access{}, false, invalid("expires_at", "it has passed")
	case a.TokenTTL != 0 && (a.TokenTTL < time.Minute || a.TokenTTL > MaxTokenTTL):
		return Access{}, false, invalid("token_ttl_seconds", "it must be between a minute and %v", MaxTokenTTL)
	}
	if a.Networks, err = checkNetworks(a.Networks); err != nil {
		return Access{}, false, err
	}
	a.Scopes, a.Resources = distinct(a.Scopes), distinct(a.Resources)
	catalogue, err := r.Catalogue(ctx)
	if err != nil {
		return Access{}, false, err
	}
	for _, audience := range a.Resources {
		if _, ok := catalogue.Resource(audience); !ok {
			return Access{}, false, invalid("resources", "there is no resource %q", audience)
		}
	}
	chosen := len(a.Resources) > 0
	for _, name := range a.Scopes {
		scope, resource, ok := catalogue.Scope(name)
		switch {
		case !ok:
			return Access{}, false, invalid("scopes", "there is no scope %q", name)
		case scope.Restricted && !o.Operator, !by.MayGrant(scope) && !slices.Contains(had, name):
			return Access{}, false, fmt.Errorf("%w: %s", ErrScope, name)
		case !chosen:
			a.Resources = distinct(append(a.Resources, resource.Audience))
		case !slices.Contains(a.Resources, resource.Audience):
			return Access{}, false, invalid("scopes", "%q belongs to %s, which is not among the resources", name, resource.Audience)
		}
		writes = writes || scope.Writes()
	}
	a.ExpiresAt = a.ExpiresAt.UTC().Truncate(time.Microsecond)
	return a, writes, nil
}

// MayGrant tells whether the actor may give a key a scope: by the member's role, and by the
// token it acts with. A restricted one is for keys of the operator's organisation only,
// whoever grants it.
func (by Actor) MayGrant(scope Scope) bool {
	return by.tokenGrants(scope) && by.roleGrants(scope)
}

// tokenGrants tells whether the actor's token may give a key a scope, for whomever it acts:
// what is for some roles to give, it may if it has that itself.
func (by Actor) tokenGrants(scope Scope) bool {
	return by.Scopes == nil || scope.GrantedBy == "" && !scope.Restricted ||
		slices.Contains(by.Scopes, OperatorScope) || slices.Contains(by.Scopes, scope.Name)
}

// roleGrants tells whether the member's role may; that of a key which acts for itself is
// its token.
func (by Actor) roleGrants(scope Scope) bool {
	switch {
	case by.Operator:
		return true
	case scope.Restricted:
		return false
	case scope.GrantedBy == "":
		return true
	case by.MemberID == "":
		return slices.Contains(by.Scopes, scope.Name)
	}
	return by.Role == Owner || by.Role == scope.GrantedBy
}

// mayHold refuses an actor that would get by a key what it may not grant. A key of
// its own is a member's to use, but not more than a token's that acts for the member.
func (r *Registry) mayHold(ctx context.Context, by Actor, k *Key) error {
	if by.MemberID != "" && by.MemberID == k.OwnerID {
		return r.allGranted(ctx, k, by.tokenGrants)
	}
	return r.allGranted(ctx, k, by.MayGrant)
}

// allGranted is [ErrScope] for a scope of the key that may not be granted.
func (r *Registry) allGranted(ctx context.Context, k *Key, may func(Scope) bool) error {
	catalogue, err := r.Catalogue(ctx)
	if err != nil {
		return err
	}
	for _, name := range k.Scopes {
		if scope, _, ok := catalogue.Scope(name); ok && !may(scope) {
			return fmt.Errorf("%w: %s", ErrScope, name)
		}
	}
	return nil
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
	ttl := func(a Access) time.Duration { return cmp.Or(a.TokenTTL, MaxTokenTTL) }
	if len(b.Networks) > 0 && !slices.Equal(a.Networks, b.Networks) || ttl(a) > ttl(b) {
		return false
	}
	return b.ExpiresAt.IsZero() || !a.ExpiresAt.IsZero() && !a.ExpiresAt.After(b.ExpiresAt)
}

// cuts tells whether tokens bought with a before t may do more than b allows. An end that
// is further away than any token lives takes nothing from them.
func (a Access) cuts(b Access, t time.Time) bool {
	if b.ExpiresAt.After(t.Add(MaxTokenTTL)) {
		b.ExpiresAt = time.Time{}
	}
	return !a.within(b)
}

// distinct drops what repeats.
func distinct(list []string) []string {
	out, seen := make([]string, 0, len(list)), make(map[string]bool, len(list))
	for _, x := range list {
		if !seen[x] {
			seen[x] = true
			out = append(out, x)
		}
	}
	return out
}
