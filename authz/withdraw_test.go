package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/history"
	"github.com/imara/apikeys/tokens/redisfeed/redistest"
	"github.com/imara/apikeys/tokens/signing"
)

const legacyAPI = "https://legacy.example.com"

// signingKey is the kid of the one that is in a state.
func (r *running) signingKey(algorithm string, state signing.KeyState) string {
	r.t.Helper()
	if err := r.ring.Load(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	for _, k := range r.ring.Keys() {
		if k.Algorithm == algorithm && k.State == state {
			return k.ID
		}
	}
	r.t.Fatalf("no %s key of %s", state, algorithm)
	return ""
}

func (r *running) withdraw(kid string) keys.Receipt {
	r.t.Helper()
	receipt, err := r.registry.WithdrawSigningKey(context.Background(), keys.Program("test"), kid, "stolen")
	if err != nil {
		r.t.Fatalf("%v\n%s", err, r.log)
	}
	return receipt
}

func signer(t testing.TB, raw string) string {
	t.Helper()
	token, err := tokens.Inspect(raw)
	if err != nil {
		t.Fatal(err)
	}
	return token.Header.KeyID
}

// stolen is a store with one key in it, which signs: whoever has that needs no more.
type stolen struct {
	signing.Store
	kid string
}

func (s stolen) SigningKeys(ctx context.Context) ([]signing.Sealed, error) {
	all, err := s.Store.SigningKeys(ctx)
	i := slices.IndexFunc(all, func(k signing.Sealed) bool { return k.ID == s.kid })
	if i < 0 {
		return nil, errors.Join(err, errors.New("not there"))
	}
	all[i].ActiveAt = time.Time{}
	return all[i : i+1], err
}

// thief signs with a key whatever is asked of it.
func (r *running) thief(kid string) func(audience, scope string, change func(*tokens.Claims)) string {
	r.t.Helper()
	ring, err := signing.NewRing(context.Background(), signing.Config{Issuer: r.issuer, KEK: tokens.Secret(make([]byte, 32)),
		Store: stolen{SigningStore(r.store), kid}})
	if err != nil {
		r.t.Fatal(err)
	}
	return func(audience, scope string, change func(*tokens.Claims)) string {
		now := time.Now()
		const client = "imara_ci_00000000000000000000"
		claims := &tokens.Claims{Issuer: r.issuer, Subject: client, ClientID: client, Organization: "operator",
			Audience: tokens.Audience{audience}, Scope: scope, ID: rand.Text(), Position: 1 << 50,
			IssuedAt: now.Unix(), ExpiresAt: now.Add(time.Hour).Unix()}
		change(claims)
		raw, err := ring.Sign(ring.Keys()[0].Algorithm, claims)
		if err != nil {
			r.t.Fatal(err)
		}
		return raw
	}
}

// forgeries are what a thief can write to be accepted for longer.
var forgeries = map[string]func(*tokens.Claims){
	"as it is":              func(*tokens.Claims) {},
	"the greatest rv":       func(c *tokens.Claims) { c.Position = 1<<53 - 1 },
	"made in the future":    func(c *tokens.Claims) { c.IssuedAt += 4 },
	"good for ever":         func(c *tokens.Claims) { c.ExpiresAt = 1<<53 - 1 },
	"of nobody":             func(c *tokens.Claims) { c.ClientID, c.Organization = "nobody", "none" },
	"of the operator's own": func(c *tokens.Claims) { c.ClientID = "command" },
}

// drill is a fleet under traffic.
type drill struct {
	t         *testing.T
	servers   []*running
	verifiers []*apiVerifier
	decisions history.History
	withdrawn atomic.Pointer[string] // kid, once its receipt is there
	stolen    string
	bought    atomic.Int64 // tokens
	accepted  atomic.Int64
}

// use is an integration that keeps a token until it is refused, then buys another: at all
// verifiers, without a pause.
func (d *drill) use(ctx context.Context, who int, key keys.Created, audience string) {
	raw := ""
	var at []*tokens.Verifier
	for _, v := range d.verifiers {
		of, err := v.WithAudience(audience)
		if err != nil {
			d.t.Error(err)
			return
		}
		at = append(at, of)
	}
	for n := who; ctx.Err() == nil; n++ {
		if raw == "" || n%50 == 0 {
			returned := d.withdrawn.Load()
			raw = d.servers[n%len(d.servers)].token(key)
			d.bought.Add(1)
			if returned != nil && signer(d.t, raw) == *returned {
				d.t.Errorf("a server signs with %s after the receipt", *returned)
			}
		}
		kid := signer(d.t, raw)
		for i, v := range at {
			began := time.Now()
			_, err := v.Verify(raw)
			switch stolen := kid == d.stolen; {
			case err == nil:
				d.accepted.Add(1)
				if stolen {
					d.decisions.Accepted(fmt.Sprint(i), kid, began)
				}
			case !stolen:
				d.t.Errorf("%s of %s is refused: %v", kid, audience, err)
			case errors.Is(err, tokens.ErrRevoked), errors.Is(err, tokens.ErrUnknownKey):
				d.decisions.Refused(fmt.Sprint(i), kid, time.Now())
				raw = ""
			default:
				d.t.Errorf("a token of %s: %v", kid, err)
			}
			if raw == "" {
				break
			}
		}
	}
}

// TestWithdrawalUnderTraffic is the drill: two servers, verifiers over HTTP and Redis with
// the default lease, and integrations whose tokens two keys sign. One of the keys was
// stolen. After the receipt no verifier accepts anything that it signed, whatever that
// says; no token of the other key is refused, and who buys another succeeds at once.
func TestWithdrawalUnderTraffic(t *testing.T) {
	h := newSharedHouse(t)
	h.redis = redistest.New(t)
	d := &drill{t: t, servers: []*running{h.replica(0), h.replica(0)}}
	one, two := d.servers[0], d.servers[1]
	d.verifiers = []*apiVerifier{one.follow("one", 0), two.follow("two", 0), one.followRedis("three", 0, h.redis.Address())}
	d.stolen = one.signingKey(tokens.ES256, signing.Current)
	next := one.signingKey(tokens.ES256, signing.Next)
	forge := one.thief(d.stolen)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() { d.use(ctx, i, one.demoKey(), demoAPI) })
		all.Go(func() { d.use(ctx, i, one.key("org", keys.Access{Scopes: []string{"legacy:read"}}), legacyAPI) })
	}
	all.Go(func() {
		for ctx.Err() == nil {
			for i, v := range d.verifiers {
				began := time.Now()
				if _, err := v.Verify(forge(demoAPI, "alerts:read", func(*tokens.Claims) {})); err == nil {
					d.decisions.Accepted(fmt.Sprint(i), d.stolen, began)
				}
			}
		}
	})
	traffic := func(more int64) {
		t.Helper()
		before := d.bought.Load()
		eventually(t, "traffic", func() bool { return d.bought.Load() >= before+more || t.Failed() })
	}
	traffic(20)
	for what, change := range forgeries {
		if _, err := d.verifiers[0].Verify(forge(demoAPI, "alerts:read", change)); err != nil {
			t.Errorf("%s: refused before it is withdrawn: %v", what, err)
		}
	}

	claims, err := d.verifiers[0].Verify(forge(demoAPI, "alerts:read", forgeries["the greatest rv"]))
	if err != nil {
		t.Fatal(err)
	}
	stream, leave := d.verifiers[0].Watch(ctx, claims)
	defer leave()

	d.decisions.Revoking(d.stolen, time.Now())
	receipt := two.withdraw(d.stolen)
	d.decisions.Returned(d.stolen, time.Now())
	d.withdrawn.Store(&d.stolen)
	if receipt.State != keys.Confirmed || receipt.Confirmed != 5 || receipt.Total != 5 {
		t.Errorf("receipt %+v", receipt)
	}
	if cause := context.Cause(stream); !errors.Is(cause, tokens.ErrRevoked) {
		t.Errorf("a stream goes on: %v", cause)
	}
	late, third, key := two.follow("late", 0), h.replica(0), one.demoKey()
	for what, change := range forgeries {
		for i, v := range append(slices.Clone(d.verifiers), late) {
			if _, err := v.Verify(forge(demoAPI, "alerts:read", change)); err == nil {
				t.Errorf("%s: verifier %d accepts it", what, i)
			}
		}
		for i, s := range append(slices.Clone(d.servers), third) {
			raw := forge(ManagementAudience(s.issuer), "operator revocations:read", change)
			if _, err := s.Verifier().Verify(raw); err == nil {
				t.Errorf("%s: server %d accepts it", what, i)
			}
			request, _ := http.NewRequest("GET", s.url+"/feed/sessions/x?nonce=x&after=1&head=1&wait_ms=0", nil)
			request.Header.Set("Authorization", "Bearer "+raw)
			if a := send(t, request); a.status != 401 {
				t.Errorf("%s: server %d lets it follow: %d", what, i, a.status)
			}
			mine := forge(demoAPI, "alerts:read", func(c *tokens.Claims) { change(c); c.ClientID = key.Key.ClientID })
			a := s.post("/oauth2/introspect", key.Key.ClientID, key.Secret.Reveal(), "token", mine)
			if a.status != 200 || a.json["active"] != false {
				t.Errorf("%s: server %d says %s", what, i, a.body)
			}
		}
	}
	for i, s := range append(slices.Clone(d.servers), third) {
		set, err := s.ring.JWKSet()
		if err != nil || slices.ContainsFunc(set.Keys, func(k tokens.JWK) bool { return k.ID == d.stolen }) {
			t.Errorf("server %d publishes it: %v", i, err)
		}
		if now := signer(t, s.token(key)); now != next {
			t.Errorf("server %d signs with %s, not with %s", i, now, next)
		}
	}
	traffic(20)
	// The feeds' own tokens were of that key, too.
	if err := one.ring.Ensure(t.Context(), tokens.EdDSA); err != nil {
		t.Fatal(err)
	}
	receipt = one.withdraw(one.signingKey(tokens.EdDSA, signing.Current))
	if receipt.State != keys.Confirmed || receipt.Total != 7 {
		t.Errorf("the next receipt: %+v", receipt)
	}
	stop()
	all.Wait()
	for _, violation := range d.decisions.Violations() {
		t.Error(violation)
	}
	if d.accepted.Load() == 0 {
		t.Error("nothing was accepted")
	}
}

// TestEveryKeyIsWithdrawnEverywhere: one that has signed nothing yet, and one that signs no
// more; and the key that takes over may be withdrawn at once.
func TestEveryKeyIsWithdrawnEverywhere(t *testing.T) {
	s := newHouse(t).start(0)
	api, key := s.follow("api", 0), s.demoKey()
	for i, state := range []signing.KeyState{signing.Next, signing.Current, signing.Current, signing.Next} {
		kid := s.signingKey(tokens.ES256, state)
		forge := s.thief(kid)
		eventually(t, "the verifier has the key", func() bool {
			_, err := api.Verify(forge(demoAPI, "alerts:read", func(*tokens.Claims) {}))
			return err == nil
		})
		receipt := s.withdraw(kid)
		if receipt.State != keys.Confirmed || receipt.Total != 2 {
			t.Errorf("%d: receipt %+v", i, receipt)
		}
		for what, change := range forgeries {
			if _, err := api.Verify(forge(demoAPI, "alerts:read", change)); err == nil {
				t.Errorf("%d, %s: a token of a %s key is accepted", i, what, state)
			}
		}
		if again := s.withdraw(kid); again.Position != receipt.Position {
			t.Errorf("%d: again: %+v", i, again)
		}
		raw := s.token(key)
		if signer(t, raw) == kid {
			t.Errorf("%d: the server signs with it", i)
		}
		eventually(t, "a new token is accepted", func() bool {
			_, err := api.Verify(raw)
			if err != nil && !errors.Is(err, tokens.ErrStale) {
				t.Fatalf("%d: %v", i, err)
			}
			return err == nil
		})
	}
	_, err := s.registry.WithdrawSigningKey(context.Background(), keys.Program("test"), "2026-01-01-none", "")
	if !errors.Is(err, keys.ErrNotFound) {
		t.Error(err)
	}
}

// blind is a store whose signing keys cannot be read for a while.
type blind struct {
	keys.Store
	away atomic.Bool
}

func (b *blind) SigningKeys(ctx context.Context) ([]keys.SigningKey, error) {
	if b.away.Load() {
		return nil, keys.ErrUnavailable
	}
	return b.Store.SigningKeys(ctx)
}

// TestServerThatCannotReadItsRingDoesNotConfirm: the receipt waits until it issues no
// tokens; when it can read, it signs with the next key.
func TestServerThatCannotReadItsRingDoesNotConfirm(t *testing.T) {
	h := newSharedHouse(t)
	one := h.replica(0)
	blinded := &blind{Store: h.store}
	h.store = blinded
	two := h.start(time.Second)
	key := two.demoKey()
	stolen := one.signingKey(tokens.ES256, signing.Current)
	if signer(t, two.token(key)) != stolen {
		t.Fatal("another key signs")
	}
	blinded.away.Store(true)
	receipt := one.withdraw(stolen)
	if receipt.State != keys.LeaseEnded || receipt.Confirmed != 1 || receipt.Total != 2 {
		t.Errorf("receipt %+v", receipt)
	}
	a := two.post("/oauth2/token", key.Key.ClientID, key.Secret.Reveal(), "grant_type", "client_credentials")
	if a.status != 503 {
		t.Errorf("it issues a token: %d %s", a.status, a.body)
	}
	blinded.away.Store(false)
	eventually(t, "it follows again", func() bool { return two.Ready(context.Background()) == nil })
	if signer(t, two.token(key)) == stolen {
		t.Error("it signs with the stolen key")
	}
}
