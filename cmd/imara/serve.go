package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/limits"
	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/authz/panel"
	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/authz/webhooks"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/redisfeed"
	"github.com/imara/apikeys/tokens/signing"
)

type serveFlags struct {
	listen, issuer, data, databaseURL, redisURL, masterKeyFile, logLevel string
	name                                                                 string
	gitHubKeys, sso, verifiers, metrics                                  string
	proxies, webhooks                                                    []string
	trusted, allowed                                                     []netip.Prefix // these, parsed
	demo, nameVerifiers, insecure                                        bool
	issuerFromVariable                                                   bool // and not from a flag
	lease                                                                time.Duration
	tokensPerMinute                                                      int
	tls                                                                  tlsFlags
	providerDomains                                                      []string // of the file of --sso
}

func serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the authorization server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.issuerFromVariable = isVariable(cmd.Flags().Lookup("issuer"))
			if f.tls.cache == "" {
				f.tls.cache = filepath.Join(f.data, "acme")
			}
			return serve(cmd.Context(), f, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	f.addStore(flags)
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8080", "address to listen on")
	flags.StringVar(&f.issuer, "issuer", "", "issuer identifier, the URL that clients use (default http://LISTEN, https:// with a certificate)")
	flags.StringVar(&f.name, "name", "",
		"name of this server among the verifiers, in its log and on the health page (default HOSTNAME)")
	flags.StringVar(&f.redisURL, "redis-url", "", "Redis to publish revocations to (IMARA_REDIS_URL, IMARA_REDIS_URL_FILE)")
	flags.StringVar(&f.masterKeyFile, "master-key-file", "", "file with the master key, the same for every server of a database (default DATA/master.key, made on the first start)")
	flags.DurationVar(&f.lease, "lease", tokens.DefaultLease, "how old this server's own view of the revocations may become")
	flags.IntVar(&f.tokensPerMinute, "tokens-per-minute", 300_000,
		"how many tokens a key may buy for which nothing else is set; 0 is without end")
	flags.StringSliceVar(&f.proxies, "trusted-proxy", nil, "network of a proxy whose X-Forwarded-For is believed, repeatable")
	flags.StringSliceVar(&f.webhooks, "webhook-network", nil, "network beside the public ones to which webhooks may lead, repeatable")
	flags.StringVar(&f.gitHubKeys, "github-keys", "", "URL of the keys that sign GitHub's reports of leaked secrets, to take such reports")
	flags.StringVar(&f.sso, "sso", "", "file with the OpenID Connect providers through which people sign in to the panel")
	flags.StringVar(&f.metrics, "metrics-listen", "",
		"address of GET /metrics for Prometheus; none without")
	flags.StringVar(&f.verifiers, "verifiers", observeProof,
		`what happens to verifiers that fail the examination of a join, or are too old:
observe admits and marks them, require refuses them`)
	flags.BoolVar(&f.nameVerifiers, "name-verifiers", false,
		"name verifiers in the receipts of customers too, not only in the operator's")
	addInsecure(flags, &f.insecure)
	f.tls.add(flags, "")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.BoolVar(&f.demo, "demo", false, "begin with an organisation, keys and a protected API to try")
	return cmd
}

// The choices of --verifiers.
const (
	observeProof = "observe"
	requireProof = "require"
)

// addStore adds the flags that say which store is meant.
func (f *serveFlags) addStore(flags *pflag.FlagSet) {
	flags.StringVar(&f.data, "data", "data", "directory of the embedded store, and of demo.env")
	flags.StringVar(&f.databaseURL, "database-url", "", "Postgres instead of the embedded store (IMARA_DATABASE_URL, IMARA_DATABASE_URL_FILE)")
}

// serve runs until ctx ends, then answers what it has begun.
func serve(ctx context.Context, f serveFlags, stdout, stderr io.Writer) (err error) {
	logger, err := newLogger(f.logLevel, stderr)
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	logger = logger.With("server", f.name)
	secured, err := f.tls.config(logger)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	here := f.tls.scheme() + "://" + listener.Addr().String()
	if f.issuer == "" {
		f.issuer = here
	}
	if f.demo && f.issuerFromVariable && f.issuer != here {
		return usage("IMARA_ISSUER says %s, and this demo listens on %s: unset it, or give --issuer", f.issuer, here)
	}
	p, err := open(ctx, f, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.store.Close()) }()

	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { p.server.Run(background) })
	running.Go(func() { p.limits.Run(background) })
	running.Go(func() {
		webhooks.New(webhooks.Config{Registry: p.registry, Logger: logger, Allow: f.allowed}).Run(background)
	})
	running.Go(func() {
		p.registry.RecordSignIns(background, func(err error) { logger.Error("sign-ins not recorded", "error", err) })
	})
	defer func() {
		stop()
		running.Wait()
	}()
	if err := p.prepare(ctx); err != nil {
		return err
	}
	if f.metrics != "" {
		err := serveMetrics(background, f.metrics, logger, &serverMetrics{p.relay, p.server, p.store})
		if err != nil {
			return err
		}
	}
	store := "embedded, " + f.data
	if f.databaseURL != "" {
		store = "Postgres"
	}
	fmt.Fprintf(stdout, "imara %s · issuer %s · listening on %s\n✓ store ready (%s)   ✓ signing keys ready\n", version, f.issuer, here, store)
	handler, err := p.handler()
	if err != nil {
		return err
	}
	if f.demo {
		demo, err := p.startDemo(ctx, f.data)
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		demo.announce(stdout)
		handler = demo.mount(handler)
	} else if err := p.announceFounding(ctx, stdout); err != nil {
		return err
	}
	// Whoever waits for a receipt is told at once that it is not there yet.
	defer context.AfterFunc(ctx, p.relay.Stopping)()
	handler = p.proxies.Handler(web.Log(logger, handler))
	return listening{listener, secured, 16 << 10, logger}.until(ctx,
		web.StrictTransport(f.issuer, f.trusted, handler))
}

// check refuses what cannot be right before anything is opened.
func (f *serveFlags) check() error {
	if err := f.checkName(); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return usage("--listen: %v", err)
	}
	if f.demo {
		if err := checkDemo(host); err != nil {
			return err
		}
	}
	if ip := net.ParseIP(host); f.issuer == "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		return usage("--listen %s is every address of this machine: say with --issuer which URL clients use", f.listen)
	}
	if f.issuer != "" {
		if err := checkIdentifier("issuer", f.issuer); err != nil {
			return err
		}
	}
	if err := f.checkTransports(); err != nil {
		return err
	}
	if f.trusted, err = parseNetworks("--trusted-proxy", f.proxies); err != nil {
		return err
	}
	if f.allowed, err = parseNetworks("--webhook-network", f.webhooks); err != nil {
		return err
	}
	if f.verifiers != observeProof && f.verifiers != requireProof {
		return usage("--verifiers: use %s or %s", observeProof, requireProof)
	}
	if f.tokensPerMinute < 0 || f.tokensPerMinute > keys.MaxTokensPerMinute {
		return usage("--tokens-per-minute must be between 0 and %d", keys.MaxTokensPerMinute)
	}
	if f.lease < httpfeed.MinLease || f.lease > httpfeed.MaxLease {
		return usage("--lease must be between %v and %v", httpfeed.MinLease, httpfeed.MaxLease)
	}
	return nil
}

// checkName fills in the name of the machine, and refuses what no list can show.
func (f *serveFlags) checkName() (err error) {
	if f.name == "" {
		f.name, err = os.Hostname()
		return err
	}
	if len(f.name) > 100 || strings.ContainsFunc(f.name, func(c rune) bool { return c < ' ' || c > '~' }) {
		return usage("--name: use at most 100 printable characters of ASCII")
	}
	return nil
}

// checkTransports refuses what would go over a network as it is.
func (f *serveFlags) checkTransports() error {
	f.tls.insecure = f.insecure
	issuer := cmp.Or(f.issuer, f.tls.scheme()+"://"+f.listen)
	if err := checkTransport("--issuer", issuer, f.insecure); err != nil {
		return err
	}
	if _, err := f.redisOptions(); err != nil {
		return err
	}
	if f.gitHubKeys == "" {
		return nil
	}
	return checkTransport("--github-keys", f.gitHubKeys, f.insecure)
}

func parseNetworks(flag string, texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, usage("%s %s: use a network such as 10.0.0.0/8", flag, text)
		}
		list = append(list, p)
	}
	return list, nil
}

// program is the server's parts.
type program struct {
	issuer   string
	master   masterKey
	store    *sqlstore.Store
	registry *keys.Registry
	server   *authz.Server
	relay    *authz.Relay
	ring     *signing.Ring
	limits   *limits.Limiter
	proxies  *web.Proxies
	logger   *slog.Logger
	// gitHubKeys is where the keys of GitHub's secret scanning are.
	gitHubKeys string
	name       string // serveFlags.name
	// nameVerifiers is what serveFlags has.
	nameVerifiers bool
	providers     []panel.Provider
}

// open wires the parts of a server. It starts nothing.
func open(ctx context.Context, f serveFlags, logger *slog.Logger) (*program, error) {
	providers, err := readProviders(f.sso)
	if err != nil {
		return nil, err
	}
	for _, q := range providers {
		f.providerDomains = append(f.providerDomains, q.Domains...)
	}
	p, err := openParts(ctx, f, "server", logger)
	if err != nil {
		return nil, err
	}
	p.proxies = &web.Proxies{Trusted: f.trusted, Logger: logger}
	p.gitHubKeys, p.providers, p.nameVerifiers = f.gitHubKeys, providers, f.nameVerifiers
	p.name = f.name
	p.server, err = authz.New(ctx, authz.Config{Issuer: f.issuer, Registry: p.registry,
		Relay: p.relay, Ring: p.ring, Ping: p.store.Ping, Logger: logger,
		ExaminationKey: tokens.Secret(p.master.derive("examination v1")),
		RequireProof:   f.verifiers == requireProof,
		Limits:         p.limits, TokensPerMinute: f.tokensPerMinute})
	if err != nil {
		return nil, errors.Join(err, p.store.Close())
	}
	return p, nil
}

// openParts wires what a server has below its endpoints. Operators see it as what on
// this machine. Without an issuer it is the one whose signing keys are in the store.
func openParts(ctx context.Context, f serveFlags, what string, logger *slog.Logger) (p *program, err error) {
	p = &program{issuer: f.issuer, logger: logger}
	store, err := p.openStore(ctx, f)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	p.store = store
	store.OnDamage(func(err error) { logger.Error("damaged row", "error", err) })
	if p.issuer == "" {
		if p.issuer, err = issuerOf(ctx, store); err != nil {
			return nil, err
		}
	}
	if err := f.checkName(); err != nil {
		return nil, err
	}
	options, err := f.redisOptions()
	if err != nil {
		return nil, err
	}
	publisher, err := openRedis(ctx, options, p.issuer, p.master.derive("acknowledgement v1"), logger)
	if err != nil {
		return nil, err
	}
	p.ring, err = signing.NewRing(ctx, signing.Config{Issuer: p.issuer, KEK: tokens.Secret(p.master.derive("key-encryption key v1")),
		Store: authz.SigningStore(p.store), Logger: logger})
	switch {
	case errors.Is(err, signing.ErrIssuer):
		return nil, fmt.Errorf("%w: give --issuer, or another store", err)
	case errors.Is(err, signing.ErrUnseal):
		return nil, fmt.Errorf("%w: start with the master key with which this store was made", err)
	case err != nil:
		return nil, err
	}
	p.relay, err = authz.NewRelay(authz.RelayConfig{Log: p.store, Publisher: publisher, Ring: p.ring,
		Name: what + " " + f.name, Lease: f.lease, Alone: f.databaseURL == "", Logger: logger})
	if err != nil {
		return nil, err
	}
	p.limits, err = limits.New(limits.Config{Redis: options, Issuer: p.issuer,
		Secret: tokens.Secret(p.master.derive("limits v1")), Logger: logger})
	if err != nil {
		return nil, err
	}
	p.registry, err = keys.New(keys.Config{Store: p.store, Relay: p.relay, Limiter: p.limits, Peppers: keys.Peppers{1: tokens.Secret(p.master.derive("pepper v1"))},
		CheckpointKey: tokens.Secret(p.master.derive("audit checkpoint v1")),
		SigningRing:   authz.SigningRing(p.ring, p.relay), WebhookNetworks: f.allowed,
		ProviderDomains: f.providerDomains})
	return p, err
}

// issuerOf is whose store it is.
func issuerOf(ctx context.Context, store *sqlstore.Store) (string, error) {
	stored, err := store.SigningKeys(ctx)
	switch {
	case err != nil:
		return "", err
	case len(stored) == 0:
		return "", usage("no server has run on this store: give --issuer")
	}
	return stored[0].Issuer, nil
}

// openStore reads the master key and opens the database that it belongs to.
func (p *program) openStore(ctx context.Context, f serveFlags) (store *sqlstore.Store, err error) {
	if f.databaseURL != "" {
		if f.masterKeyFile == "" {
			return nil, usage("--database-url needs --master-key-file, the same for every server: openssl rand -base64 32 > FILE; chmod 600 FILE")
		}
		if p.master, err = loadMasterKey(f.masterKeyFile, false); err != nil {
			return nil, err
		}
		return sqlstore.OpenPostgres(ctx, f.databaseURL)
	}
	path := f.masterKeyFile
	if path == "" {
		path = filepath.Join(f.data, "master.key")
	}
	// A new master key beside an old database would open nothing in it.
	_, noDatabase := os.Stat(filepath.Join(f.data, "imara.db"))
	if p.master, err = loadMasterKey(path, f.masterKeyFile == "" && noDatabase != nil); err != nil {
		return nil, err
	}
	return sqlstore.OpenSQLite(ctx, f.data)
}

// redisOptions reads the URL of the Redis, and refuses one without TLS on another machine;
// nil without a URL.
func (f *serveFlags) redisOptions() (*redis.UniversalOptions, error) {
	if f.redisURL == "" {
		return nil, nil
	}
	return parseRedis(settingName("redis-url", f.redisURL), f.redisURL, f.insecure)
}

// openRedis returns nil without options. It refuses a Redis that evicts; one that is
// not reached now will be.
func openRedis(
	ctx context.Context, options *redis.UniversalOptions, issuer string, secret []byte, logger *slog.Logger,
) (*redisfeed.Publisher, error) {
	if options == nil {
		return nil, nil
	}
	publisher := redisfeed.NewPublisher(options, issuer, secret)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := publisher.Check(ctx); errors.Is(err, redisfeed.ErrEvicts) {
		return nil, errors.Join(err, publisher.Close())
	} else if err != nil {
		logger.Warn("Redis is not reached; verifiers follow over HTTP until it is", "error", err)
	}
	return publisher, nil
}

// prepare waits for the running server and puts its own API in the catalogue.
func (p *program) prepare(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := p.server.WaitReady(wait); err != nil {
		return err
	}
	return p.ensureResource(ctx, keys.Resource{Audience: authz.ManagementAudience(p.issuer), Name: "Imara management API", Scopes: authz.ManagementScopes()})
}

// ensureResource stores a resource unless it is there as it should be.
func (p *program) ensureResource(ctx context.Context, want keys.Resource) error {
	catalogue, err := p.registry.Catalogue(ctx)
	if err != nil {
		return err
	}
	have, ok := catalogue.Resource(want.Audience)
	for _, s := range have.Scopes { // what somebody added is theirs to take away
		if !slices.ContainsFunc(want.Scopes, func(w keys.Scope) bool { return w.Name == s.Name }) {
			want.Scopes = append(want.Scopes, s)
		}
	}
	if ok && have.Name == want.Name && slices.Equal(have.Scopes, want.Scopes) {
		return nil
	}
	_, err = p.registry.PutResource(ctx, keys.Program("server"), want)
	return err
}

// announceFounding prints a link for the first owner of a server that has none.
func (p *program) announceFounding(ctx context.Context, to io.Writer) error {
	token, l, err := p.registry.NewFoundingLink(ctx, keys.Program("server"))
	if errors.Is(err, keys.ErrExists) {
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "→ nobody owns this server yet; become its owner (the link works once, until %s):\n    %s\n",
		l.ExpiresAt.UTC().Format("2006-01-02 15:04 MST"), authz.PanelLink(p.issuer, token))
	return nil
}

func (p *program) handler() (http.Handler, error) {
	mux := web.NewMux(nil)
	mux.Handle("/", p.server.Handler())
	api, err := management.New(management.Config{Issuer: p.issuer, Registry: p.registry, Verifier: p.server.Verifier(), Relay: p.relay, Ring: p.ring, GitHubKeys: p.gitHubKeys,
		CursorKey: tokens.Secret(p.master.derive("cursor v1")), Throttle: p.server.Throttle(), NameVerifiers: p.nameVerifiers, Logger: p.logger})
	if err != nil {
		return nil, err
	}
	mux.Handle(authz.IssuerPath(p.issuer)+"/v1/", api)
	pages, err := panel.New(panel.Config{Issuer: p.issuer, Registry: p.registry, Relay: p.relay, Ring: p.ring, Check: p.server.Check, Health: p.health,
		Name: p.name, Logger: p.logger, Providers: p.providers, Throttle: p.server.Throttle()})
	if err != nil {
		return nil, err
	}
	mux.Handle(authz.IssuerPath(p.issuer)+"/panel/", pages)
	return mux, nil
}

// health is what the page of the server's health shows.
func (p *program) health(ctx context.Context) []authz.Check {
	return append(p.server.Health(ctx), authz.Check{Name: "proxies", Err: p.proxies.Undeclared()})
}

func newLogger(level string, to io.Writer) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usage("--log-level: use debug, info, warn or error")
	}
	return slog.New(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: l})), nil
}
