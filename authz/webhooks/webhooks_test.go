package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// receiver takes deliveries, and refuses while it is told to.
type receiver struct {
	*httptest.Server
	refuse atomic.Int64 // status; 0 takes them
	mu     sync.Mutex
	got    []received
}

type received struct {
	header  http.Header
	body    []byte
	payload Payload
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		one := received{header: request.Header, body: body}
		json.Unmarshal(body, &one.payload)
		r.mu.Lock()
		r.got = append(r.got, one)
		r.mu.Unlock()
		if status := int(r.refuse.Load()); status != 0 {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) taken() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received{}, r.got...)
}

func newRegistry(t *testing.T) (*keys.Registry, *keystest.Memory) {
	t.Helper()
	store := keystest.NewMemory()
	r, err := keys.New(keys.Config{Store: store, Relay: store, Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))}, CheckpointKey: keystest.CheckpointKey,
		WebhookNetworks: loopback})
	if err != nil {
		t.Fatal(err)
	}
	by := keys.Program("test")
	if _, err := r.CreateOrganization(t.Context(), by, keys.Organization{ID: "org", Name: "Acme", Plan: "Starter"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.PutResource(t.Context(), by, keys.Resource{Audience: "https://api.example.com", Name: "API", Scopes: []keys.Scope{{Name: "alerts:read"}}}); err != nil {
		t.Fatal(err)
	}
	return r, store
}

func create(t *testing.T, r *keys.Registry, name string, ends time.Time) keys.Created {
	t.Helper()
	c, err := r.Create(t.Context(), keys.Program("test"), "org", keys.NewKey{Name: name, Access: keys.Access{Scopes: []string{"alerts:read"}, ExpiresAt: ends}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// all sends what is due, one organisation's deliveries one after the other.
func (s *Sender) all(t *testing.T) {
	t.Helper()
	for taken := 1; taken > 0; {
		var err error
		if taken, err = s.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.sending.Wait()
	}
}

// TestEventsArriveSigned: what happens to keys is sent to who wants it, once, with a
// signature over all of it and without a secret.
func TestEventsArriveSigned(t *testing.T) {
	r, _ := newRegistry(t)
	hooks := newReceiver(t)
	by := keys.Actor{ClientID: "panel", MemberID: "mem_1", Role: keys.Owner}
	w, err := r.AddWebhook(t.Context(), keys.Program("test"), keys.Webhook{OrganizationID: "org", URL: hooks.URL + "/hook"})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := r.WebhookSecret(w)
	if err != nil || !strings.HasPrefix(secret, "whsec_") || len(secret) != len("whsec_")+44 {
		t.Fatalf("%s, %v", secret, err)
	}
	c := create(t, r, "CI", time.Time{})
	create(t, r, "CD", time.Time{})
	if _, _, err := r.Revoke(t.Context(), by, "org", c.Key.ID, "unused"); err != nil {
		t.Fatal(err)
	}
	s := New(Config{Registry: r, Logger: slog.New(slog.DiscardHandler), Allow: loopback})
	s.all(t)
	s.all(t)
	got := map[string]int{}
	ids := map[string]bool{}
	for _, one := range hooks.taken() {
		got[one.payload.Type]++
		id, stamp := one.header.Get("Webhook-Id"), one.header.Get("Webhook-Timestamp")
		if ids[id] || one.header.Get("Webhook-Signature") != Sign(secret, id, stamp, one.body) || one.header.Get("Content-Type") != "application/json" {
			t.Errorf("%v", one.header)
		}
		if ids[id] = true; strings.Contains(string(one.body), c.Secret.Reveal()[20:40]) || one.payload.Data.Organization != "org" || one.payload.Data.Event == "" {
			t.Errorf("%s", one.body)
		}
		if d := one.payload.Data; one.payload.Type == "key.revoked" && (d.Target != c.Key.ID || d.ClientID != c.Key.ClientID || d.By != "mem_1" || d.Reason != "unused" || d.Changes["revoked_at"].To == "") {
			t.Errorf("%+v", d)
		}
	}
	if len(got) != 3 || got["key.created"] != 2 || got["key.revoked"] != 1 || got["key.limit_reached"] != 1 {
		t.Errorf("%v", got)
	}
	list, err := r.Deliveries(t.Context(), "org", w.ID, "", 10)
	if err != nil || len(list) != 4 {
		t.Fatalf("%d, %v", len(list), err)
	}
	for _, d := range list {
		if d.State != keys.DeliveryDelivered || d.Attempts != 1 || d.Status != 200 || d.Error != "" || d.TriedAt.IsZero() {
			t.Errorf("%+v", d)
		}
	}
}

// TestRevocationIsToldWithItsReceipt: not before it is known how far it has reached, and
// then with what is stored.
func TestRevocationIsToldWithItsReceipt(t *testing.T) {
	r, store := newRegistry(t)
	hooks := newReceiver(t)
	w, err := r.AddWebhook(t.Context(), keys.Program("test"), keys.Webhook{OrganizationID: "org", URL: hooks.URL, Events: []string{"key.revoked"}})
	if err != nil {
		t.Fatal(err)
	}
	commit, err := store.Append(t.Context(), keys.Entry{Kind: tokens.Cut, Subject: "c:1", OrganizationID: "org", Action: "key.revoke",
		Actor: keys.Program("test"), Target: "key_1"})
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Registry: r, Logger: slog.New(slog.DiscardHandler), Allow: loopback})
	s.all(t)
	list, err := r.Deliveries(t.Context(), "org", w.ID, "", 10)
	if err != nil || len(list) != 1 || list[0].State != keys.DeliveryPending || list[0].Attempts != 0 || len(hooks.taken()) > 0 {
		t.Fatalf("while a verifier is silent: %+v, %v, %d sent", list, err, len(hooks.taken()))
	}
	receipt := keys.Receipt{Position: commit.Position, Head: commit.Head, State: keys.LeaseEnded, Confirmed: 1, Total: 2, SettledAt: time.Now()}
	if _, err := store.PutReceipts(t.Context(), []keys.Receipt{receipt}); err != nil {
		t.Fatal(err)
	}
	if err := r.Redeliver(t.Context(), keys.Program("test"), "org", w.ID, list[0].ID); err != nil {
		t.Fatal(err)
	}
	s.all(t)
	got := hooks.taken()
	if len(got) != 1 {
		t.Fatalf("%d sent", len(got))
	}
	told := got[0].payload.Data.Receipt
	if told == nil || told.State != "lease_ended" || *told.Confirmed != 1 || *told.Total != 2 || told.Position != commit.Position || told.SettledAt == nil {
		t.Errorf("%+v", told)
	}
	// Nobody waits for a receipt that does not come.
	lost := keys.Event{At: time.Now().Add(-longestWait), Receipt: &keys.Receipt{State: keys.Waiting}}
	s.deliver(t.Context(), keys.Delivery{ID: "msg_lost", Webhook: w, Type: "key.revoked", Event: lost})
	if got = hooks.taken(); len(got) != 2 || got[1].payload.Data.Receipt.State != "waiting" {
		t.Errorf("%d sent", len(got))
	}
}

// TestDeliveryIsTriedAgain: with longer and longer waits, until it is taken, a day has
// passed, or the receiver is gone for good; and from the beginning when that is asked.
func TestDeliveryIsTriedAgain(t *testing.T) {
	begun := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	failed := &statusError{503}
	d := keys.Delivery{State: keys.DeliveryPending}
	t0, attempts, last := begun, 0, time.Duration(0)
	for d.State == keys.DeliveryPending && attempts < 100 {
		attempts++
		tried := t0
		d = outcome(d, 503, failed, tried)
		wait := d.NextAt.Sub(tried)
		if wait < firstWait || wait > lastWait*11/10 || wait < last*9/10 {
			t.Errorf("attempt %d waits %v after %v", attempts, wait, last)
		}
		if d.State == keys.DeliveryPending {
			t0, last = d.NextAt, wait
		}
	}
	if all := t0.Sub(begun); d.State != keys.DeliveryFailed || all < 23*time.Hour || all > 27*time.Hour || d.Error != "the answer was 503" {
		t.Errorf("%d attempts in %v: %+v", attempts, all, d)
	}
	if d = outcome(keys.Delivery{State: keys.DeliveryPending}, 410, &statusError{410}, begun); d.State != keys.DeliveryFailed {
		t.Errorf("gone: %+v", d)
	}
	r, _ := newRegistry(t)
	hooks := newReceiver(t)
	w, err := r.AddWebhook(t.Context(), keys.Program("test"), keys.Webhook{OrganizationID: "org", URL: hooks.URL, Events: []string{"key.created"}})
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Registry: r, Logger: slog.New(slog.DiscardHandler), Allow: loopback})
	create(t, r, "CI", time.Time{})
	for _, status := range []int64{500, 302} {
		hooks.refuse.Store(status)
		s.all(t)
		list, err := r.Deliveries(t.Context(), "org", w.ID, "", 10)
		if err != nil || len(list) != 1 || list[0].State != keys.DeliveryPending || list[0].Status != int(status) || !list[0].NextAt.After(time.Now()) {
			t.Fatalf("%+v, %v", list, err)
		}
		if err := r.Redeliver(t.Context(), keys.Program("test"), "org", w.ID, list[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	hooks.refuse.Store(0)
	s.all(t)
	if got := hooks.taken(); len(got) != 3 || got[0].header.Get("Webhook-Id") != got[2].header.Get("Webhook-Id") {
		t.Errorf("%d arrived", len(got))
	}
	if err := r.Redeliver(t.Context(), keys.Program("test"), "org", w.ID, "msg_x"); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// TestDeliveriesStayOutside: no name and no address leads inside, the one that is
// checked is the one that is used, and nobody learns what is there.
func TestDeliveriesStayOutside(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true,
		"127.0.0.1": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "0.0.0.0": false,
		"224.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false, "203.0.113.9": false, "192.0.0.8": false,
		"::1": false, "::": false, "fe80::1": false, "fc00::1": false, "ff02::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false,
		"64:ff9b::7f00:1": false, "2002:7f00:1::": false, "2001::1": false, "::127.0.0.1": false, "fe80::1%eth0": false,
		"168.63.129.16": false, "::ffff:0:127.0.0.1": false, "3fff::1": false, "5f00::1": false, "100:0:0:1::1": false,
	} {
		if got := keys.PublicAddress(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is public: %t", address, got)
		}
	}
	r, _ := newRegistry(t)
	hooks := newReceiver(t)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	port := hooks.URL[strings.LastIndexByte(hooks.URL, ':'):]
	for _, url := range []string{hooks.URL, secure.URL, "https://localhost" + port, "https://[::ffff:127.0.0.1]" + port} {
		if _, err := r.AddWebhook(t.Context(), keys.Program("test"), keys.Webhook{OrganizationID: "org", URL: url, Events: []string{"webhook.test"}}); err != nil {
			t.Fatal(err)
		}
	}
	list, _ := r.Webhooks(t.Context(), "org")
	for _, w := range list {
		if err := r.TestWebhook(t.Context(), keys.Program("test"), "org", w.ID); err != nil {
			t.Fatal(err)
		}
	}
	New(Config{Registry: r, Logger: slog.New(slog.DiscardHandler)}).all(t)
	if n := len(hooks.taken()); n != 0 {
		t.Errorf("%d arrived inside", n)
	}
	for _, w := range list {
		tried, err := r.Deliveries(t.Context(), "org", w.ID, "", 10)
		if err != nil || len(tried) != 1 || tried[0].Attempts != 1 || tried[0].Status != 0 || strings.Contains(tried[0].Error, "127") || strings.Contains(tried[0].Error, "refused") {
			t.Errorf("%s: %+v, %v", w.URL, tried, err)
		}
	}
}

// TestBadWebhooksAreRefused: with the field that is wrong, and nothing stored.
func TestBadWebhooksAreRefused(t *testing.T) {
	r, _ := newRegistry(t)
	var input *keys.InputError
	for name, w := range map[string]keys.Webhook{
		"no URL": {}, "another scheme": {URL: "file:///etc/passwd"}, "credentials": {URL: "https://me:secret@hooks.example.com"},
		"no host": {URL: "https:///x"}, "unknown event": {URL: "https://hooks.example.com", Events: []string{"key.eaten"}},
	} {
		w.OrganizationID = "org"
		if _, err := r.AddWebhook(t.Context(), keys.Program("test"), w); !errors.As(err, &input) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.AddWebhook(t.Context(), keys.Actor{MemberID: "x", Role: keys.Developer}, keys.Webhook{OrganizationID: "org", URL: "https://hooks.example.com"}); !errors.Is(err, keys.ErrForbidden) {
		t.Errorf("a developer: %v", err)
	}
	if list, _ := r.Webhooks(t.Context(), "org"); len(list) != 0 {
		t.Errorf("%d stored", len(list))
	}
}

// TestEndingKeysAreToldOnce: a week before and when it has happened, however often and
// on however many servers it is looked for.
func TestEndingKeysAreToldOnce(t *testing.T) {
	r, _ := newRegistry(t)
	hooks := newReceiver(t)
	if _, err := r.AddWebhook(t.Context(), keys.Program("test"), keys.Webhook{OrganizationID: "org", URL: hooks.URL, Events: []string{"key.expiring", "key.expired"}}); err != nil {
		t.Fatal(err)
	}
	create(t, r, "soon", time.Now().Add(6*24*time.Hour+20*time.Hour))
	create(t, r, "later", time.Now().Add(30*24*time.Hour))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 3 {
				if err := r.Tell(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	New(Config{Registry: r, Logger: slog.New(slog.DiscardHandler), Allow: loopback}).all(t)
	if got := hooks.taken(); len(got) != 1 || got[0].payload.Type != "key.expiring" {
		t.Errorf("%+v", got)
	}
}

// TestRunSendsUntilItEnds: nothing has to be asked for.
func TestRunSendsUntilItEnds(t *testing.T) {
	r, _ := newRegistry(t)
	hooks := newReceiver(t)
	if _, err := r.AddWebhook(t.Context(), keys.Program("test"), keys.Webhook{OrganizationID: "org", URL: hooks.URL, Events: []string{"key.created"}}); err != nil {
		t.Fatal(err)
	}
	create(t, r, "CI", time.Time{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- New(Config{Registry: r, Logger: slog.New(slog.DiscardHandler), Allow: loopback}).Run(ctx)
	}()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(hooks.taken()) == 0 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing arrived")
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestSlowReceiverHoldsUpItsOwnOnly: an organisation whose receiver does not answer has
// few deliveries on their way, and another's arrive meanwhile.
func TestSlowReceiverHoldsUpItsOwnOnly(t *testing.T) {
	r, _ := newRegistry(t)
	hooks := newReceiver(t)
	release := make(chan struct{})
	var stuck atomic.Int64
	tarpit := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		stuck.Add(1)
		<-release
	}))
	defer tarpit.Close()
	defer close(release)
	by := keys.Program("test")
	if _, err := r.CreateOrganization(t.Context(), by, keys.Organization{ID: "slow", Name: "Slow", Plan: "Starter"}); err != nil {
		t.Fatal(err)
	}
	var slow []keys.Webhook
	for range 10 {
		w, err := r.AddWebhook(t.Context(), by, keys.Webhook{OrganizationID: "slow", URL: tarpit.URL})
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, w)
	}
	if _, err := r.AddWebhook(t.Context(), by, keys.Webhook{OrganizationID: "slow", URL: tarpit.URL}); err == nil {
		t.Error("an eleventh webhook")
	}
	for _, w := range slow {
		for range 3 {
			if err := r.TestWebhook(t.Context(), by, "slow", w.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := r.AddWebhook(t.Context(), by, keys.Webhook{OrganizationID: "org", URL: hooks.URL, Events: []string{"key.created"}}); err != nil {
		t.Fatal(err)
	}
	create(t, r, "CI", time.Time{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := New(Config{Registry: r, Logger: slog.New(slog.DiscardHandler), Allow: loopback})
	go func() { done <- s.Run(ctx) }()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(hooks.taken()) == 0 || stuck.Load() < perOrganization {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d arrived, %d are stuck", len(hooks.taken()), stuck.Load())
		}
	}
	cancel()
	<-done
	if n := stuck.Load(); n > perOrganization {
		t.Errorf("%d of one organisation were on their way", n)
	}
}
