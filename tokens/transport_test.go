package tokens_test

import (
	"errors"
	"testing"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/tokenstest"
)

func TestPlainHTTPIsForThisMachine(t *testing.T) {
	for location, plain := range map[string]bool{
		"https://auth.example.com":       false,
		"http://localhost:8080":          false,
		"http://127.0.0.1:8080/x":        false,
		"http://127.9.9.9":               false,
		"http://[::1]:8080":              false,
		"http://auth.example.com":        true,
		"http://10.0.0.1":                true,
		"http://0.0.0.0:8080":            true,
		"http://[fe80::1]":               true,
		"http://localhost.example.com":   true,
		"http://127.0.0.1.example.com":   true,
		"http://2130706433":              true, // which some resolvers take for 127.0.0.1
		"http://localhost@evil.example/": true,
		"HTTP://auth.example.com":        true,
		"ws://auth.example.com":          true,
	} {
		err := tokens.CheckTransport(location)
		if errors.Is(err, tokens.ErrPlain) != plain || (err != nil) != plain {
			t.Errorf("%s: %v", location, err)
		}
	}
	for _, location := range []string{"", "auth.example.com", "/x", "http://"} {
		if tokens.CheckTransport(location) == nil {
			t.Errorf("%q is accepted", location)
		}
	}
}

// TestNothingOfAVerifierGoesOverPlainHTTP: neither what it learns of revocations, nor the
// keys that it trusts, nor the secrets that it asks with.
func TestNothingOfAVerifierGoesOverPlainHTTP(t *testing.T) {
	const here, there = "http://127.0.0.1:8080", "http://auth.example.com"
	feed := func(url string, insecure bool) error {
		_, err := httpfeed.New(httpfeed.Config{URL: url, Name: "api", ClientID: "i",
			ClientSecret: "s", InsecureHTTP: insecure})
		return err
	}
	issuer := tokenstest.New(t)
	verifier := func(config tokens.Config) error {
		config.Audience, config.Feed = "https://api.example.com", issuer
		_, err := tokens.NewVerifier(config)
		return err
	}
	ask := tokens.Stale{Introspect: &tokens.Introspection{URL: there + "/oauth2/introspect",
		ClientID: "i", ClientSecret: "s"}}
	for name, err := range map[string]error{
		"the feed":      feed(there, false),
		"the keys":      verifier(tokens.Config{Issuer: there}),
		"introspection": verifier(tokens.Config{Issuer: here, Stale: ask}),
		"introspection at the issuer": verifier(tokens.Config{Issuer: there, Keys: issuer.Keys(),
			Stale: tokens.Stale{Introspect: &tokens.Introspection{ClientID: "i", ClientSecret: "s"}}}),
	} {
		if !errors.Is(err, tokens.ErrPlain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"the feed, here":         feed(here, false),
		"the feed, as told":      feed(there, true),
		"the keys, here":         verifier(tokens.Config{Issuer: here}),
		"the keys, as told":      verifier(tokens.Config{Issuer: there, InsecureHTTP: true}),
		"keys that are there":    verifier(tokens.Config{Issuer: there, Keys: issuer.Keys()}),
		"introspection, as told": verifier(tokens.Config{Issuer: there, InsecureHTTP: true, Stale: ask}),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAudienceIsOneThatTokensCanHave: any other would refuse every token, and not say why.
func TestAudienceIsOneThatTokensCanHave(t *testing.T) {
	issuer := tokenstest.New(t)
	for audience, good := range map[string]bool{
		"https://api.example.com": true, "http://127.0.0.1:8080/demo": true, "urn:example:api": true,
		"": false, "api": false, "https://api.example.com/": false, "https://api.example.com#x": false,
		"https://api.example.com/a b": false, "//api.example.com": false, "urn:example:\"": false,
		"https://user@api.example.com": false, "https://": false,
	} {
		_, err := tokens.NewVerifier(tokens.Config{Issuer: tokenstest.URL, Audience: audience,
			Feed: issuer, Keys: issuer.Keys()})
		_, other := issuer.Verifier("https://a.example").WithAudience(audience)
		if (err == nil) != good || (other == nil) != good {
			t.Errorf("%q: %v, %v", audience, err, other)
		}
	}
}
