package main

import (
	"errors"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/redisfeed"
)

// addInsecure adds the flag that lets secrets go over a network as they are.
func addInsecure(flags *pflag.FlagSet, insecure *bool) {
	flags.BoolVar(insecure, "insecure-http", false,
		"allow plain http and redis:// to other machines: who is on the way reads secrets and tokens")
}

// parseRedis reads a URL of a Redis, and refuses one without TLS on another machine.
func parseRedis(flag, text string, insecure bool) (*redis.UniversalOptions, error) {
	options, err := redisfeed.ParseURL(text)
	if err != nil {
		return nil, usage("%s: %v", flag, err)
	}
	if insecure {
		return options, nil
	}
	if err := redisfeed.RequireTLS(options); err != nil {
		return nil, usage("%s: %v, or say --insecure-http", flag, err)
	}
	return options, nil
}

// checkTransport refuses plain http to another machine.
func checkTransport(flag, location string, insecure bool) error {
	err := tokens.CheckTransport(location)
	switch {
	case err == nil || insecure && errors.Is(err, tokens.ErrPlain):
		return nil
	case errors.Is(err, tokens.ErrPlain):
		return usage("%s: %v, or say --insecure-http", flag, err)
	}
	return usage("%s: %v", flag, err)
}
