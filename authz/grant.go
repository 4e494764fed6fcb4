package authz

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// grant is what a token will allow.
type grant struct {
	audience  tokens.Audience
	algorithm string
	ttl       time.Duration
	scope     string
}

// maxScope is how long a scope parameter may be, in bytes.
const maxScope = 4 << 10

// decide applies the rules of scope and resource (RFC 6749 §3.3, RFC 8707 §2.2).
//
// With resource, the token is for these, and every scope asked for must belong
// to one of them. Without, it is for the one resource that the scopes belong to;
// without scope as well, for the key's first. Scopes that are not asked for are
// all that the key has there. What was not granted is an error, never silently
// less.
func decide(catalogue keys.Catalogue, key *keys.Key, scope string, resources []string) (grant, error) {
	wanted, err := parseScope(scope)
	if err != nil {
		return grant{}, err
	}
	has := effective(catalogue, key)
	var refused []string
	for _, name := range wanted {
		if !slices.Contains(has, name) {
			refused = append(refused, name)
		}
	}
	if len(refused) > 0 {
		return grant{}, invalidScope("Not granted to this key: %s. Granted: %s.",
			strings.Join(refused, " "), cmp.Or(strings.Join(has, " "), "none"))
	}
	audience, err := audienceOf(catalogue, key, wanted, resources)
	if err != nil {
		return grant{}, err
	}
	g := grant{audience: audience, ttl: cmp.Or(key.TokenTTL, keys.MaxTokenTTL)}
	for _, a := range audience {
		resource, _ := catalogue.Resource(a)
		if g.algorithm != "" && g.algorithm != resource.Algorithm {
			return grant{}, invalidTarget("These resources use different signature algorithms. Ask for one token each.")
		}
		g.algorithm, g.ttl = resource.Algorithm, min(g.ttl, resource.TokenTTL)
	}
	granted := wanted
	if len(wanted) == 0 {
		granted = has
	}
	var names []string
	for _, name := range granted {
		_, resource, _ := catalogue.Scope(name)
		if audience.Has(resource.Audience) {
			names = append(names, name)
		} else if len(wanted) > 0 {
			return grant{}, invalidScope("%s belongs to another resource.", name)
		}
	}
	g.scope = strings.Join(names, " ")
	return g, nil
}

// effective are the scopes of a key that still belong to a resource.
func effective(catalogue keys.Catalogue, key *keys.Key) []string {
	return slices.DeleteFunc(slices.Clone(key.Scopes), func(name string) bool {
		_, _, ok := catalogue.Scope(name)
		return !ok
	})
}

func audienceOf(catalogue keys.Catalogue, key *keys.Key, scopes, resources []string) (tokens.Audience, error) {
	for _, resource := range resources {
		if _, ok := catalogue.Resource(resource); !ok || !slices.Contains(key.Resources, resource) {
			return nil, invalidTarget("Unknown resource. This key has " +
				strings.Join(key.Resources, " ") + ".")
		}
	}
	if len(resources) > 0 {
		slices.Sort(resources)
		return tokens.Audience(slices.Compact(resources)), nil
	}
	if len(scopes) == 0 {
		for _, resource := range key.Resources {
			if _, ok := catalogue.Resource(resource); ok {
				return tokens.Audience{resource}, nil
			}
		}
		return nil, invalidTarget("This key has no resource.")
	}
	_, first, _ := catalogue.Scope(scopes[0])
	for _, name := range scopes[1:] {
		if _, other, _ := catalogue.Scope(name); other.Audience != first.Audience {
			return nil, invalidScope("%s and %s belong to different resources. Name them with resource, or ask for one token each.", scopes[0], name)
		}
	}
	if !slices.Contains(key.Resources, first.Audience) {
		return nil, invalidTarget("This key was not given the resource of these scopes.")
	}
	return tokens.Audience{first.Audience}, nil
}

// meets refuses an audience parameter that asks for another token than this one: some
// servers take it for resource (RFC 8707), and who comes from them would learn of it at
// the API only.
func (g grant) meets(audience string) error {
	if audience == "" || len(g.audience) == 1 && g.audience[0] == audience {
		return nil
	}
	return invalidTarget("The audience that was asked for is not that of the token, which would be " +
		"for " + strings.Join(g.audience, " ") + ". Name the API with resource, and leave audience out.")
}

// parseScope returns the distinct scopes in the order given.
func parseScope(scope string) ([]string, error) {
	// A list that was put together ends in a space now and then.
	if scope = strings.Trim(scope, " "); scope == "" {
		return nil, nil
	}
	if len(scope) > maxScope {
		return nil, invalidScope("scope is longer than %d bytes.", maxScope)
	}
	if strings.Count(scope, " ") >= maxParameters {
		return nil, invalidScope("More than %d scopes.", maxParameters)
	}
	var names []string
	for _, name := range strings.Split(scope, " ") {
		if !keys.ValidScope(name) {
			return nil, invalidScope("scope is not a list of scopes with single spaces between them.")
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func invalidScope(format string, args ...any) error {
	return &oauthError{http.StatusBadRequest, "invalid_scope", fmt.Sprintf(format, args...)}
}

func invalidTarget(description string) error {
	return &oauthError{http.StatusBadRequest, "invalid_target", description}
}
