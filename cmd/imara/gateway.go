package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/gateway"
)

type gatewayFlags struct {
	clientFlags
	listen, metrics, name, redisURL, logLevel string
	resources, requires, stale                []string
	lease                                     time.Duration
	tls                                       tlsFlags
}

// maxForwarded is how many bytes of header fields a request may have: those of the request
// that the proxy asks about, which it accepted.
const maxForwarded = 64 << 10

func gatewayCommand() *cobra.Command {
	var f gatewayFlags
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Answer GET /verify/NAME for proxies: 200, 401, 403, or 503 when it cannot know",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	f.clientFlags.add(flags)
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8090", "address to listen on")
	flags.StringVar(&f.redisURL, "redis-url", "", "follow over this Redis (IMARA_REDIS_URL, IMARA_REDIS_URL_FILE); over HTTP without")
	flags.StringArrayVar(&f.resources, "resource", nil, "NAME=AUDIENCE of an API behind the gateway, repeatable (required)")
	flags.StringArrayVar(&f.requires, "require", nil, "NAME=SCOPE that every token for NAME needs, repeatable")
	flags.DurationVar(&f.lease, "lease", tokens.DefaultLease, "how old its view of the revocations may become, 1s to 1m")
	flags.StringArrayVar(&f.stale, "stale", nil, `NAME=POLICY while its view of the revocations is older than the lease, repeatable:
refuse with 503 (default); introspect, which asks the server about each token;
or accept:DURATION, which accepts until the view is that old and waives the promise`)
	f.tls.add(flags, "")
	flags.StringVar(&f.metrics, "metrics-listen", "", "address of GET /metrics for Prometheus; none without")
	flags.StringVar(&f.name, "name", "", "name of this verifier, as operators see it (default gateway HOSTNAME)")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func (f *gatewayFlags) run(cmd *cobra.Command) error {
	logger, err := newLogger(f.logLevel, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if f.name == "" {
		hostname, err := os.Hostname()
		if err != nil {
			return err
		}
		f.name = "gateway " + hostname
	}
	if len(f.resources) == 0 {
		return usage("--resource NAME=AUDIENCE is needed")
	}
	credentials, err := f.credentials(cmd, authz.ManagementAudience(f.issuer), "revocations:read")
	if err != nil {
		return err
	}
	feed, err := f.feed(cmd.Context(), credentials, f.name, f.redisURL, f.lease, logger)
	if err != nil {
		return err
	}
	_, first, _ := strings.Cut(f.resources[0], "=")
	first, _, _ = strings.Cut(first, ",") // which policy refuses
	metadata, _ := tokens.MetadataURL(first, "oauth-protected-resource")
	verifier, err := tokens.NewVerifier(tokens.Config{Issuer: f.issuer, Audience: first,
		Feed: feed, InsecureHTTP: f.insecure, Logger: logger, ResourceMetadata: metadata})
	if err != nil {
		return usage("--resource NAME=AUDIENCE: %v", err)
	}
	resources, err := f.policy(verifier, &tokens.Introspection{
		URL: f.url + "/oauth2/introspect", ClientID: credentials.ClientID, ClientSecret: tokens.Secret(credentials.ClientSecret)})
	if err != nil {
		return err
	}
	f.tls.insecure = f.insecure
	secured, err := f.tls.config(logger)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(context.WithoutCancel(cmd.Context()))
	if f.metrics != "" {
		if err := serveMetrics(ctx, f.metrics, logger, &gatewayMetrics{feed.Revocations(), resources}); err != nil {
			cancel()
			return err
		}
	}
	serving, refused := context.WithCancelCause(cmd.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := verifier.Run(ctx); ctx.Err() == nil {
			refused(err)
		}
	})
	here := f.tls.scheme() + "://" + listener.Addr().String()
	running.Go(func() { f.announceReady(ctx, verifier, cmd.OutOrStdout(), here, logger) })
	defer func() { cancel(); running.Wait() }()

	verify, err := gateway.New(resources)
	if err != nil {
		return err
	}
	mux := web.NewMux(func(w http.ResponseWriter, r *http.Request, u web.Unserved) {
		if u.Allow != "" {
			status(w, u.Status())
			return
		}
		verify.ServeHTTP(w, r) // its answers to what is not there, and to ambiguous paths
	})
	mux.Handle("/verify/", verify)
	mux.Handle("/.well-known/oauth-protected-resource/", verify)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { status(w, http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if feed.Revocations().Fresh() != nil {
			status(w, http.StatusServiceUnavailable)
			return
		}
		status(w, http.StatusOK)
	})
	err = listening{listener, secured, maxForwarded, logger}.until(serving, web.Log(logger, mux))
	if err == nil && cmd.Context().Err() == nil {
		err = &exit{exitRefused, context.Cause(serving)}
	}
	return err
}

// policy reads --resource, --require and --stale.
func (f *gatewayFlags) policy(verifier *tokens.Verifier, introspection *tokens.Introspection) (map[string]gateway.Resource, error) {
	resources := make(map[string]gateway.Resource)
	for _, text := range f.resources {
		name, audience, ok := strings.Cut(text, "=")
		if !ok || name == "" || strings.ContainsAny(name, "/?#% ") {
			return nil, usage("--resource %q is not NAME=AUDIENCE", text)
		}
		if _, twice := resources[name]; twice {
			return nil, usage("--resource %s is given twice", name)
		}
		// The rest of a list that was taken for one.
		if strings.ContainsAny(audience, ",=; ") {
			return nil, usage("--resource %q: an audience has no comma and no =; say --resource once for each, "+
				"or IMARA_RESOURCE with commas between them", text)
		}
		v, err := verifier.WithAudience(audience)
		if err != nil {
			return nil, usage("--resource %s: %v", name, err)
		}
		resources[name] = gateway.Resource{Verifier: v}
	}
	for _, text := range f.requires {
		name, scope, _ := strings.Cut(text, "=")
		r, ok := resources[name]
		if !ok || scope == "" || strings.ContainsAny(scope, ",= ") {
			return nil, usage("--require %q is not NAME=SCOPE of a --resource", text)
		}
		r.Scopes = append(r.Scopes, scope)
		resources[name] = r
	}
	for _, text := range f.stale {
		name, policy, _ := strings.Cut(text, "=")
		r, ok := resources[name]
		stale, err := stalePolicy(policy, introspection)
		if !ok || err != nil {
			return nil, usage("--stale %q is not NAME=refuse, NAME=introspect or NAME=accept:DURATION of a --resource", text)
		}
		if r.Verifier, err = r.Verifier.WithStale(stale); err != nil {
			return nil, usage("--stale %s: %v", text, err)
		}
		resources[name] = r
	}
	return resources, nil
}

func stalePolicy(text string, introspection *tokens.Introspection) (tokens.Stale, error) {
	verb, bound, _ := strings.Cut(text, ":")
	switch {
	case text == "refuse":
		return tokens.Stale{}, nil
	case text == "introspect":
		return tokens.Stale{Introspect: introspection}, nil
	case verb == "accept":
		if until, err := time.ParseDuration(bound); err == nil && until > 0 {
			return tokens.Stale{AcceptUntil: until}, nil
		}
	}
	return tokens.Stale{}, errors.New("unknown")
}

// announceReady says that the gateway is ready, and what it protects in vain.
func (f *gatewayFlags) announceReady(ctx context.Context, verifier *tokens.Verifier, to io.Writer,
	here string, logger *slog.Logger) {
	if verifier.Ready(ctx) != nil {
		return
	}
	fmt.Fprintf(to, "imara gateway %s · ready · %s/verify/NAME\n", version, here)
	known, err := readServed(ctx, f.url)
	if err != nil {
		logger.Warn("not known whether the server has these resources and scopes", "error", err)
		return
	}
	for _, text := range f.unknown(known) {
		fmt.Fprintf(to, "! %s\n", text)
		logger.Warn("the server knows no such resource or scope", "setting", text)
	}
}

func status(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(map[string]string{"status": http.StatusText(code)})
}
