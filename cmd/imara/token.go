package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/redisfeed"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Get, read and verify access tokens", RunE: group, Args: cobra.ArbitraryArgs}
	cmd.AddCommand(tokenGet(), tokenInspect(), tokenVerify(), tokenRevoke())
	return cmd
}

func tokenGet() *cobra.Command {
	var f clientFlags
	var scopes []string
	var resource string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "get", Short: "Exchange a key for an access token", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			credentials, err := f.credentials(cmd, resource, scopes...)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
			defer cancel()
			token, err := credentials.Token(ctx)
			if err != nil {
				return failure(err)
			}
			if !asJSON {
				fmt.Fprintln(cmd.OutOrStdout(), token.AccessToken)
				return nil
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{
				"access_token": token.AccessToken, "token_type": token.TokenType,
				"expires_in": token.ExpiresIn, "scope": token.Extra("scope")})
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "a scope to ask for, repeatable (default: all of the key)")
	cmd.Flags().StringVar(&resource, "resource", "", "audience of the API to call (default: the key's first)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the server's answer")
	return cmd
}

// readToken reads a token from a file or, for - and by default, standard input.
// A token is a secret: it is never an argument.
func readToken(cmd *cobra.Command, args []string) (string, error) {
	if len(args) == 0 || args[0] == "-" {
		data, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 16<<10))
		if err != nil {
			return "", err
		}
		return fileText("standard input", data)
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return "", usage("the token is read from a file or, for -, from standard input")
	}
	return fileText("the file of the token", data)
}

func tokenRevoke() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use: "revoke [FILE|-]", Short: "End one access token of the key, everywhere (RFC 7009)", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			credentials, err := f.credentials(cmd, "")
			if err != nil {
				return err
			}
			raw, err := readToken(cmd, args)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url+"/oauth2/revoke", strings.NewReader(url.Values{"token": {raw}}.Encode()))
			if err != nil {
				return err
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.SetBasicAuth(url.QueryEscape(credentials.ClientID), url.QueryEscape(credentials.ClientSecret))
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				return failure(err)
			}
			defer response.Body.Close()
			var refused struct {
				Code        string `json:"error"`
				Description string `json:"error_description"`
			}
			if response.StatusCode != http.StatusOK {
				json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&refused)
				return &exit{exitCode(&refusal{Status: response.StatusCode}), fmt.Errorf("not revoked: %s (%s)", refused.Description, refused.Code)}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "Revoked: no verifier accepts this token any more.")
			return nil
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func tokenInspect() *cobra.Command {
	return &cobra.Command{
		Use: "inspect [FILE|-]", Short: "Show what a token says, without verifying it", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := readToken(cmd, args)
			if err != nil {
				return err
			}
			unverified, err := tokens.Inspect(raw)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "not verified: anybody can write this")
			encoder := json.NewEncoder(cmd.OutOrStdout())
			encoder.SetIndent("", "  ")
			return encoder.Encode(map[string]any{
				"header": map[string]string{"typ": unverified.Header.Type, "alg": unverified.Header.Algorithm, "kid": unverified.Header.KeyID},
				"claims": unverified.Claims})
		},
	}
}

func tokenVerify() *cobra.Command {
	var f clientFlags
	var audience string
	var scopes []string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "verify [FILE|-]", Short: "Verify a token as a resource server would", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := readToken(cmd, args)
			if err != nil {
				return err
			}
			if raw == "" {
				return usage("no token on standard input")
			}
			claims, err := f.verify(cmd, raw, audience)
			if err == nil {
				err = claims.Need(scopes...)
			}
			if asJSON {
				verdict := map[string]any{"valid": err == nil}
				if err != nil {
					verdict["reason"] = err.Error()
				} else {
					verdict["claims"] = claims
				}
				if e := json.NewEncoder(cmd.OutOrStdout()).Encode(verdict); e != nil {
					return e
				}
			} else if err == nil {
				describe(cmd.OutOrStdout(), claims)
			}
			return verdictOf(err)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&audience, "audience", "", "audience to verify for (default: the one that the token names)")
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "a scope that the token must have, repeatable")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the verdict as JSON")
	return cmd
}

func describe(w io.Writer, c *tokens.Claims) {
	fmt.Fprintf(w, "✓ signature · issuer · audience %s · %s left · not revoked\n  client %s · scope %s\n",
		strings.Join(c.Audience, " "), time.Until(c.Expires()).Round(time.Second), c.ClientID, c.Scope)
}

func verdictOf(err error) error {
	var e *exit
	switch {
	case err == nil || errors.As(err, &e):
		return err
	case errors.Is(err, tokens.ErrStale):
		return &exit{exitUnavailable, err}
	}
	return &exit{exitRefused, err}
}

// verifyLease is short: if this command is killed, the next revocation waits for it.
const verifyLease = 2 * time.Second

// verify follows the issuer until it knows, decides, and takes leave.
func (f *clientFlags) verify(cmd *cobra.Command, raw, audience string) (*tokens.Claims, error) {
	unverified, err := tokens.Inspect(raw)
	if err != nil {
		return nil, err
	}
	if audience == "" && len(unverified.Claims.Audience) > 0 {
		audience = unverified.Claims.Audience[0]
	}
	credentials, err := f.credentials(cmd, authz.ManagementAudience(f.issuer), "revocations:read")
	if err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	feed, err := f.feed(cmd.Context(), credentials, "imara token verify", "", verifyLease, quiet)
	if err != nil {
		return nil, err
	}
	verifier, err := tokens.NewVerifier(tokens.Config{Issuer: f.issuer, Audience: audience,
		Feed: feed, InsecureHTTP: f.insecure, Logger: quiet})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	done := make(chan struct{})
	go func() { defer close(done); verifier.Run(ctx) }()
	defer func() { cancel(); <-done }()
	wait, stop := context.WithTimeout(ctx, min(f.timeout, 10*time.Second))
	defer stop()
	if err := verifier.Ready(wait); err != nil {
		return nil, &exit{exitUnavailable, fmt.Errorf("the revocation log is not reached: %w", err)}
	}
	return verifier.Verify(raw)
}

// feed returns a feed of the issuer's revocations, over Redis if redisURL is given.
// It asks for a token first, so
// that wrong credentials are a clear error instead of a feed that never starts.
func (f *clientFlags) feed(ctx context.Context, credentials *clientcredentials.Config, name, redisURL string, lease time.Duration, logger *slog.Logger) (feed tokens.Feed, err error) {
	http := httpfeed.Config{URL: f.url, Name: name, Lease: lease, InsecureHTTP: f.insecure,
		ClientID: credentials.ClientID, ClientSecret: tokens.Secret(credentials.ClientSecret), Logger: logger}
	if redisURL == "" {
		feed, err = httpfeed.New(http)
	} else if options, e := parseRedis("--redis-url", redisURL, f.insecure); e != nil {
		err = e
	} else {
		feed, err = redisfeed.New(redisfeed.Config{Redis: options, Issuer: f.issuer, HTTP: http})
	}
	if err != nil {
		return nil, usage("%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := credentials.Token(ctx); err != nil {
		if e := failure(err); e.(*exit).code == exitRefused {
			return nil, e
		}
	}
	return feed, nil
}
