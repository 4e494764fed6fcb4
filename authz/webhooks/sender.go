package webhooks

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// Config of a [Sender]. Registry and Logger are required.
type Config struct {
	Registry *keys.Registry
	Logger   *slog.Logger
	// Allow are networks beside the public ones to which deliveries may go. To these
	// they may go over plain http, too.
	Allow []netip.Prefix
}

// A Sender sends what is due.
type Sender struct {
	config        Config
	secure, plain *http.Client // for https and http

	sending  sync.WaitGroup
	mu       sync.Mutex
	inFlight map[string]int // by organisation
}

// The bounds of sending.
const (
	timeout   = 10 * time.Second // of one attempt
	claim     = time.Minute      // after which another server tries what this one took
	slots     = 100              // deliveries on their way at once
	pause     = 2 * time.Second  // between two looks
	firstWait = 5 * time.Second  // before the second attempt; four times as long before the next
	lastWait  = 8 * time.Hour
	settling  = time.Second // between two looks at a receipt that waits
	// longestWait is more than the longest lease, for which a receipt waits.
	longestWait = 2 * time.Minute

	perOrganization = 2
	maxAttempts     = 10 // a day
)

// New returns a sender that has not begun.
func New(config Config) *Sender {
	return &Sender{config: config, secure: newClient(config.Allow, true), plain: newClient(config.Allow, false), inFlight: map[string]int{}}
}

func newClient(allowed []netip.Prefix, public bool) *http.Client {
	dialer := &net.Dialer{Timeout: timeout, Control: control(allowed, public)}
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: timeout, ForceAttemptHTTP2: true,
			MaxIdleConns: 100, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Run sends until ctx ends, and returns when nothing is on its way any more.
func (s *Sender) Run(ctx context.Context) error {
	for {
		taken, err := s.look(ctx)
		if err != nil && ctx.Err() == nil {
			s.config.Logger.Error("webhooks not sent", "error", err)
		}
		wait := pause
		if taken > 0 {
			wait = pause / 100 // there may be more
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			s.sending.Wait()
			return ctx.Err()
		}
	}
}

// look takes what is due and free, and begins to send it. One organisation's slow
// receiver holds up its own deliveries only: of each, at most perOrganization are on
// their way.
func (s *Sender) look(ctx context.Context) (taken int, err error) {
	s.mu.Lock()
	free := slots
	var busy []string
	for organization, n := range s.inFlight {
		if free -= n; n >= perOrganization {
			busy = append(busy, organization)
		}
	}
	s.mu.Unlock()
	if free <= 0 {
		return 0, nil
	}
	due, err := s.config.Registry.DueDeliveries(ctx, free, busy, claim)
	for _, d := range due {
		s.count(d, 1)
		s.sending.Go(func() {
			defer s.count(d, -1)
			s.deliver(ctx, d)
		})
	}
	return len(due), err
}

// count keeps how many deliveries of an organisation are on their way.
func (s *Sender) count(d keys.Delivery, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inFlight[d.Webhook.OrganizationID] += n; s.inFlight[d.Webhook.OrganizationID] == 0 {
		delete(s.inFlight, d.Webhook.OrganizationID)
	}
}

// deliver makes one attempt and stores what became of it. An event that cuts is told with
// its receipt, so it waits for that, but no longer than any verifier can be silent.
func (s *Sender) deliver(ctx context.Context, d keys.Delivery) {
	if unsettled(d.Event) && time.Since(d.Event.At) < longestWait {
		d.NextAt = time.Now().Add(settling).UTC().Truncate(time.Microsecond)
		s.keep(ctx, d)
		return
	}
	status, err := s.send(ctx, d)
	if ctx.Err() != nil {
		return // it is tried again after the claim
	}
	s.keep(ctx, outcome(d, status, err, time.Now().UTC().Truncate(time.Microsecond)))
}

// unsettled tells whether an event cuts, and it is not known yet how far that has reached.
func unsettled(e keys.Event) bool { return e.Receipt != nil && !e.Receipt.Settled() }

// keep stores what became of a delivery.
func (s *Sender) keep(ctx context.Context, d keys.Delivery) {
	store, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := s.config.Registry.Delivered(store, d); err != nil {
		s.config.Logger.Error("delivery not stored", "delivery", d.ID, "error", err)
	}
}

// outcome is a delivery after an attempt: done, due again, or given up.
func outcome(d keys.Delivery, status int, err error, t time.Time) keys.Delivery {
	d.Attempts, d.TriedAt, d.Status, d.Error = d.Attempts+1, t, status, ""
	if err == nil {
		d.State = keys.DeliveryDelivered
		return d
	}
	d.Error = explain(err)
	wait := min(firstWait<<(2*min(d.Attempts-1, 10)), lastWait)
	d.NextAt = t.Add(wait + rand.N(wait/10)).Truncate(time.Microsecond)
	if status == http.StatusGone || d.Attempts == maxAttempts {
		d.State = keys.DeliveryFailed
	}
	return d
}

// explain says what went wrong without saying what was found inside.
func explain(err error) string {
	var refused *statusError
	var lookup *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &refused):
		return refused.Error()
	case errors.Is(err, errAddress), errors.As(err, &lookup):
		return "the URL does not lead to a public address over https"
	case errors.As(err, &network) && network.Timeout():
		return fmt.Sprintf("no answer in %v", timeout)
	}
	return "the connection failed"
}

// A statusError is an answer that is no success.
type statusError struct{ status int }

func (e *statusError) Error() string { return "the answer was " + strconv.Itoa(e.status) }

// Payload is the body of a delivery.
type Payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // of the event
	Data      Data      `json:"data"`
}

// Data is what is said of an event.
type Data struct {
	Event        string       `json:"event"` // its id in the audit log
	Organization string       `json:"organization"`
	Target       string       `json:"target"`              // id of what was changed
	ClientID     string       `json:"client_id,omitempty"` // of the key that it is about
	By           string       `json:"by"`                  // member, key or part of the server
	Reason       string       `json:"reason,omitempty"`
	Changes      keys.Changes `json:"changes,omitempty"`
	// Receipt says how far an event that cuts has reached.
	Receipt *authz.Receipt `json:"receipt,omitempty"`
}

// send makes one attempt.
func (s *Sender) send(ctx context.Context, d keys.Delivery) (status int, err error) {
	e := d.Event
	about, ok := strings.CutPrefix(string(e.Subject), "c:")
	if !ok {
		about = ""
	}
	data := Data{Event: e.ID(), Organization: e.OrganizationID, Target: e.Target, ClientID: about,
		By: cmp.Or(e.MemberID, e.ClientID), Reason: e.Reason, Changes: e.Changes}
	if e.Receipt != nil {
		data.Receipt = authz.ShowReceipt(*e.Receipt)
	}
	body, err := json.Marshal(Payload{d.Type, e.At, data})
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Webhook.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	client := s.secure
	if r.URL.Scheme != "https" {
		client = s.plain
	}
	secret, err := s.config.Registry.WebhookSecret(d.Webhook)
	if err != nil {
		return 0, err
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Imara-Webhooks/1")
	r.Header.Set("Webhook-Id", d.ID)
	r.Header.Set("Webhook-Timestamp", stamp)
	r.Header.Set("Webhook-Signature", Sign(secret, d.ID, stamp, body))
	response, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	if response.StatusCode/100 != 2 {
		return response.StatusCode, &statusError{response.StatusCode}
	}
	return response.StatusCode, nil
}

// Sign is the signature of a delivery (Standard Webhooks): v1, a comma, and the
// Base64 of HMAC-SHA-256 over id, timestamp and body with dots between.
func Sign(secret, id, timestamp string, body []byte) string {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return ""
	}
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "%s.%s.", id, timestamp)
	m.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}
