package authz

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/redisfeed"
	"github.com/imara/apikeys/tokens/redisfeed/redistest"
	"github.com/imara/apikeys/tokens/signing"
)

const (
	demoAPI    = "https://api.example.com"
	billingAPI = "https://billing.example.com"
)

// house is a store on disk and what every test needs in it.
type house struct {
	t     testing.TB
	store keys.Store
	sql   *sqlstore.Store
	log   *syncBuffer
	dir   string
	// issuer is the first server's; replicas share it.
	issuer string
	url    string // of the database, when servers share it
	redis  *redistest.Redis
	// redisUser is as whom the server publishes; cluster that Redis is one.
	redisUser string
	cluster   bool
	stale     tokens.Stale // of verifiers that are made next
	// limits of servers that start, and how many tokens a key may buy.
	limits          keys.Limiter
	tokensPerMinute int
	// requireProof: servers that start refuse verifiers that fail their examination.
	requireProof bool
}

// redisOptions reaches a Redis as one of its users, whose password is any.
func (h *house) redisOptions(address, user string) *redis.UniversalOptions {
	o := &redis.UniversalOptions{Addrs: []string{address}, Username: user, IsClusterMode: h.cluster}
	if user != "" {
		o.Password = "x"
	}
	return o
}

func newHouse(t testing.TB) *house {
	t.Helper()
	dir := t.TempDir()
	sql, err := sqlstore.OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sql.Close() })
	return &house{t: t, store: sql, sql: sql, dir: dir, log: &syncBuffer{}}
}

// running is a server that listens on loopback.
type running struct {
	*Server
	*house
	registry *keys.Registry
	relay    *Relay
	ring     *signing.Ring
	url      string
	stop     func() // ends it as a clean shutdown does
}

// start runs a server on the house's store. A second one is a replica.
func (h *house) start(lease time.Duration) *running {
	t := h.t
	t.Helper()
	ctx := context.Background()
	logger := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	listening := httptest.NewUnstartedServer(nil)
	address := "http://" + listening.Listener.Addr().String()
	if h.issuer == "" {
		h.issuer = address
	}
	issuer := h.issuer
	var publisher *redisfeed.Publisher
	if h.redis != nil {
		publisher = redisfeed.NewPublisher(h.redisOptions(h.redis.Address(), h.redisUser), issuer, make([]byte, 32))
		t.Cleanup(func() { publisher.Close() })
	}
	ring, err := signing.NewRing(ctx, signing.Config{Issuer: issuer, KEK: tokens.Secret(make([]byte, 32)), Store: SigningStore(h.store)})
	if err != nil {
		t.Fatal(err)
	}
	relay := newRelay(t, RelayConfig{Log: h.store, Publisher: publisher, Ring: ring, Name: "server", Lease: lease, Alone: h.url == "", Logger: logger})
	registry, err := keys.New(keys.Config{Store: h.store, Relay: relay, Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))}, CheckpointKey: keystest.CheckpointKey,
		SigningRing: SigningRing(ring, relay)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(ctx, Config{Issuer: issuer, Registry: registry, Relay: relay, Ring: ring, Ping: h.sql.Ping,
		ExaminationKey: tokens.Secret(make([]byte, 32)), RequireProof: h.requireProof, Logger: logger,
		Limits: h.limits, TokensPerMinute: h.tokensPerMinute})
	if err != nil {
		t.Fatal(err)
	}
	background, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); s.Run(background) }()
	wait, stopWaiting := context.WithTimeout(ctx, 30*time.Second)
	defer stopWaiting()
	if err := s.WaitReady(wait); err != nil {
		t.Fatal(err)
	}
	listening.Config.Handler = web.Log(logger, s.Handler())
	listening.Start()
	r := &running{Server: s, house: h, registry: registry, relay: relay, ring: ring, url: address}
	r.stop = sync.OnceFunc(func() {
		listening.CloseClientConnections()
		listening.Close()
		cancel()
		<-done
	})
	t.Cleanup(r.stop)
	r.furnish()
	return r
}

// newRelay is [NewRelay] with a configuration that is right.
func newRelay(t testing.TB, config RelayConfig) *Relay {
	t.Helper()
	relay, err := NewRelay(config)
	if err != nil {
		t.Fatal(err)
	}
	return relay
}

// furnish fills an empty store: two APIs, a customer, the operator.
func (r *running) furnish() {
	t, ctx := r.t, context.Background()
	t.Helper()
	for _, res := range []keys.Resource{
		{Audience: ManagementAudience(r.issuer), Name: "Management", Scopes: ManagementScopes()},
		{Audience: demoAPI, Name: "Demo", Scopes: []keys.Scope{{Name: "alerts:read"}, {Name: "alerts:write"}}},
		{Audience: billingAPI, Name: "Billing", TokenTTL: time.Minute, Scopes: []keys.Scope{{Name: "invoices:read"}}},
		{Audience: "https://legacy.example.com", Name: "Legacy", Algorithm: tokens.RS256, Scopes: []keys.Scope{{Name: "legacy:read"}}},
	} {
		if _, err := r.registry.PutResource(ctx, keys.Program("test"), res); err != nil && !strings.Contains(err.Error(), "exists") {
			t.Fatal(err)
		}
	}
	for _, o := range []keys.Organization{{ID: "org", Name: "Acme", Plan: "Enterprise"}, {ID: "operator", Name: "Operator", Plan: "Enterprise", Operator: true}} {
		if _, err := r.registry.CreateOrganization(ctx, keys.Program("test"), o); err != nil && err != keys.ErrExists {
			t.Fatal(err)
		}
	}
}

// key creates one in an organisation.
func (r *running) key(organization string, access keys.Access) keys.Created {
	r.t.Helper()
	c, err := r.registry.Create(context.Background(), keys.Program("test"), organization, keys.NewKey{Name: "key " + rand.Text(), Access: access})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *running) demoKey() keys.Created {
	r.t.Helper()
	return r.key("org", keys.Access{Scopes: []string{"alerts:read", "alerts:write"}})
}

// token gets an access token over HTTP.
func (r *running) token(c keys.Created, parameters ...string) string {
	r.t.Helper()
	answer := r.post("/oauth2/token", c.Key.ClientID, c.Secret.Reveal(), append([]string{"grant_type", "client_credentials"}, parameters...)...)
	if answer.status != 200 {
		r.t.Fatalf("no token: %d %s", answer.status, answer.body)
	}
	return answer.json["access_token"].(string)
}

type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

// post sends a form with Basic credentials, if id is not empty.
func (r *running) post(path, id, secret string, parameters ...string) answer {
	r.t.Helper()
	form := url.Values{}
	for i := 0; i < len(parameters); i += 2 {
		form.Add(parameters[i], parameters[i+1])
	}
	request, err := http.NewRequest("POST", r.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id != "" {
		request.SetBasicAuth(id, secret)
	}
	return send(r.t, request)
}

func send(t testing.TB, request *http.Request) answer {
	t.Helper()
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: string(body)}
	json.Unmarshal(body, &a.json)
	return a
}

// apiVerifier is a verifier of the demo API in this process, over the HTTP feed.
type apiVerifier struct {
	*tokens.Verifier
	feed tokens.Feed
	key  keys.Created // as which it follows
	stop func()
}

func (r *running) follow(name string, lease time.Duration) *apiVerifier {
	r.t.Helper()
	return r.followWith(name, lease, nil)
}

// feedKey is a key with which verifiers may have such a lease, and waive the promise if the
// house's verifiers do.
func (r *running) feedKey(lease time.Duration) keys.Created {
	r.t.Helper()
	access := keys.Access{Scopes: []string{keys.FeedScope}}
	if r.stale.AcceptUntil > 0 {
		access.Scopes = append(access.Scopes, keys.WaiveScope)
	}
	key := r.key("operator", access)
	if lease > keys.DefaultMaxLease {
		grant := func(e *keys.KeyEdit) { e.Verifier.Lease = lease }
		if _, _, err := r.registry.Edit(context.Background(), keys.Program("test"), "operator", key.Key.ID, grant); err != nil {
			r.t.Fatal(err)
		}
	}
	return key
}

// followWith follows over a network of the test's own.
func (r *running) followWith(name string, lease time.Duration, network http.RoundTripper) *apiVerifier {
	t := r.t
	t.Helper()
	key := r.feedKey(lease)
	config := httpfeed.Config{URL: r.url, Name: name, Lease: lease, ClientID: key.Key.ClientID, ClientSecret: tokens.Secret(key.Secret.Reveal()),
		Client: &http.Client{Transport: network}, Logger: slog.New(slog.NewJSONHandler(r.log, nil))}
	feed, err := httpfeed.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return r.verifier(key, feed)
}

// followRedis follows over Redis, at an address that a test may have its hand on.
func (r *running) followRedis(name string, lease time.Duration, address string) *apiVerifier {
	r.t.Helper()
	return r.followRedisAs(name, lease, address, "")
}

func (r *running) followRedisAs(name string, lease time.Duration, address, user string) *apiVerifier {
	r.t.Helper()
	key := r.feedKey(lease)
	return r.verifier(key, r.redisFeed(key, name, lease, address, user))
}

func (r *running) redisFeed(key keys.Created, name string, lease time.Duration, address, user string) tokens.Feed {
	r.t.Helper()
	feed, err := redisfeed.New(redisfeed.Config{Issuer: r.issuer, Redis: r.redisOptions(address, user),
		HTTP: httpfeed.Config{URL: r.url, Name: name, Lease: lease, ClientID: key.Key.ClientID, ClientSecret: tokens.Secret(key.Secret.Reveal()),
			Logger: slog.New(slog.NewJSONHandler(r.log, nil))}})
	if err != nil {
		r.t.Fatal(err)
	}
	return feed
}

// verifier runs a verifier of the demo API on a feed, and waits until it is ready.
func (r *running) verifier(key keys.Created, feed tokens.Feed) *apiVerifier {
	f := r.startVerifier(key, feed)
	r.waitReady(f)
	return f
}

func (r *running) startVerifier(key keys.Created, feed tokens.Feed) *apiVerifier {
	t := r.t
	t.Helper()
	v, err := tokens.NewVerifier(tokens.Config{Issuer: r.issuer, Audience: demoAPI, Feed: feed, Stale: r.stale,
		Client: &http.Client{Transport: &detour{RoundTripper: http.DefaultTransport, to: r.url}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); v.Run(ctx) }()
	f := &apiVerifier{Verifier: v, feed: feed, key: key, stop: sync.OnceFunc(func() { cancel(); <-done })}
	t.Cleanup(f.stop)
	return f
}

func (r *running) waitReady(v *apiVerifier) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := v.Ready(ctx); err != nil {
		r.t.Fatalf("verifier: %v\n%s", err, r.log)
	}
}

// eventually waits for a condition by asking again, and fails when it does not come.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
