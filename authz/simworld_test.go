package authz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/history"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/redisfeed"
)

// simulation runs the relays, publishers and feeds of this repository over a
// network, a Redis and a database of its own, in a bubble whose clock is fake. Its
// faults come from a seed: requests that are lost, late, or executed after their
// caller gave up; a Redis that is flushed, rolled back, paused, or two at once; a
// database that fails, or commits and does not say so; servers that die. The order
// of goroutines is not the seed's: a seed that fails may need a few runs.
type simulation struct {
	t       *testing.T
	rand    *rand.Rand
	redis   *simRedis
	store   *keystest.Memory
	history history.History
	logger  *slog.Logger
	servers [2]*simServer
	feeds   []*simVerifier

	mu       sync.Mutex
	tokens   []simToken
	revoked  int
	outcomes map[string]int
	faults   int
	checks   map[string]int

	members     []keys.Session // what membersAreOld tells
	membersRead time.Time
	ended       map[string]bool // clients whose sessions were ended
	sessions    []simSession    // that verifiers have joined under
	calm        time.Time       // when the faults end
}

// simToken is a token, and what of it may be cut: its name in the history.
type simToken struct {
	name   string
	claims tokens.Claims
}

type simSession struct{ name, client, id string }

type simVerifier struct {
	name string
	feed tokens.Feed
	cut  *simCut
	to   int // server

	// client is the key as which it follows, and joined that of its newest session.
	client, joined string
}

// view names what a verifier knows by sessions of a key, in the history.
func view(client string) string { return "view of " + client }

// simServer is a server that may die and be started again.
type simServer struct {
	relay *Relay
	stop  func(crash bool) // a crash is the end of its database, too
	cut   *simCut          // from Redis
	lag   *simCut          // it reads nothing of the log
}

// simCut is a partition between one party and the rest.
type simCut struct {
	mu   sync.Mutex
	held chan struct{}
}

func (c *simCut) hold(hold bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hold && c.held == nil {
		c.held = make(chan struct{})
	} else if !hold && c.held != nil {
		close(c.held)
		c.held = nil
	}
}

func (c *simCut) wait(ctx context.Context) error {
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	if held == nil {
		return nil
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const (
	simLease  = 2 * time.Second
	simLength = 20 * time.Second // of a world
)

// simLog is the database as one server sees it.
type simLog struct {
	keys.Log
	s    *simulation
	dead *bool
	lag  *simCut
}

// trouble is a delay, and now and then an error.
func (l *simLog) trouble(ctx context.Context) error {
	l.s.pause(2 * time.Millisecond)
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if *l.dead || l.s.rand.IntN(100) == 0 {
		return keys.ErrUnavailable
	}
	return ctx.Err()
}

func (l *simLog) Append(ctx context.Context, e keys.Entry) (keys.Commit, error) {
	if err := l.trouble(ctx); err != nil {
		return keys.Commit{}, err
	}
	commit, err := l.Log.Append(ctx, e)
	if err == nil {
		l.s.history.Bound(string(e.Subject), time.Now().Add(simLease+margin(simLease)))
	}
	if trouble := l.trouble(ctx); trouble != nil {
		return keys.Commit{}, trouble // committed, and nobody hears of it
	}
	return commit, err
}

// revokeKey revokes a verifier's key, and ends its sessions in the same commit.
func (l *simLog) revokeKey(ctx context.Context, client string) (keys.Commit, error) {
	if err := l.trouble(ctx); err != nil {
		return keys.Commit{}, err
	}
	entry := keys.Entry{Kind: tokens.Cut, Subject: tokens.Client(client), EndSessions: client}
	revoke := func(_ keys.Organization, _ int, k *keys.Key) (keys.Entry, error) {
		k.RevokedAt = time.Now()
		return entry, nil
	}
	_, commit, err := l.s.store.ChangeKey(ctx, client, client, revoke)
	if err == nil {
		bound := time.Now().Add(simLease + margin(simLease))
		l.s.history.Bound(string(entry.Subject), bound)
		l.s.history.Bound(view(client), bound)
		l.s.mu.Lock()
		l.s.ended[client] = true
		l.s.mu.Unlock()
	}
	if trouble := l.trouble(ctx); trouble != nil {
		return keys.Commit{}, trouble
	}
	return commit, err
}

func (l *simLog) Read(ctx context.Context, after uint64, limit int) (keys.LogPage, error) {
	if err := errors.Join(l.lag.wait(ctx), l.trouble(ctx)); err != nil {
		return keys.LogPage{}, err
	}
	page, err := l.Log.Read(ctx, after, limit)
	l.s.pause(time.Millisecond)
	if l.s.redis.lie == roundsAlwaysCount {
		l.s.pause(400 * time.Millisecond) // long rounds: more of them end in another data set
	}
	return page, err
}

func (l *simLog) Snapshot(ctx context.Context) (keys.LogSnapshot, error) {
	if err := l.trouble(ctx); err != nil {
		return keys.LogSnapshot{}, err
	}
	return l.Log.Snapshot(ctx)
}

func (l *simLog) Sessions(ctx context.Context) ([]keys.Session, error) {
	if err := l.trouble(ctx); err != nil {
		return nil, err
	}
	return l.Log.Sessions(ctx)
}

func (l *simLog) Roll(ctx context.Context, positions ...uint64) (keys.Roll, error) {
	if err := l.trouble(ctx); err != nil {
		return keys.Roll{}, err
	}
	roll, err := l.Log.Roll(ctx, positions...)
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	switch l.s.redis.lie {
	case endedIsGone:
		roll.Sessions = slices.DeleteFunc(roll.Sessions, func(x keys.Session) bool { return l.s.ended[x.ClientID] })
	case membersAreOld:
		if time.Since(l.s.membersRead) < 3*time.Second {
			roll.Sessions = slices.Clone(l.s.members)
			return roll, nil
		}
		l.s.members, l.s.membersRead = slices.Clone(roll.Sessions), time.Now()
	}
	return roll, err
}

func (l *simLog) Receipt(ctx context.Context, position uint64) (keys.Receipt, error) {
	if err := l.trouble(ctx); err != nil {
		return keys.Receipt{}, err
	}
	receipt, err := l.Log.Receipt(ctx, position)
	if l.s.redis.lie == handedOverIsSeen && receipt.State == keys.Waiting {
		receipt.Members = slices.Clone(receipt.Members)
		for i := range receipt.Members {
			receipt.Members[i].State, receipt.Members[i].At = keys.Confirmed, time.Now()
		}
	}
	return receipt, err
}

func (l *simLog) PutReceipts(ctx context.Context, receipts []keys.Receipt) ([]keys.Receipt, error) {
	if err := l.trouble(ctx); err != nil {
		return nil, err
	}
	return l.Log.PutReceipts(ctx, receipts)
}

func (l *simLog) Join(ctx context.Context, s keys.Session, admit keys.AdmitSession) error {
	if err := l.trouble(ctx); err != nil {
		return err
	}
	return l.Log.Join(ctx, s, admit)
}

func (l *simLog) Leave(ctx context.Context, id string) error {
	if err := l.trouble(ctx); err != nil {
		return err
	}
	return l.Log.Leave(ctx, id)
}

func (l *simLog) Report(ctx context.Context, server string, applied map[string]keys.Ack) error {
	if err := l.trouble(ctx); err != nil {
		return err
	}
	return l.Log.Report(ctx, server, applied)
}

func (l *simLog) RaiseFloor(ctx context.Context, t time.Time) error {
	// Tokens of this world live for ten seconds: the floor follows closely.
	return l.Log.RaiseFloor(ctx, t.Add(keys.Retention-10*time.Second))
}

// number is a random one below n.
func (s *simulation) number(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

// pause lasts about d, and once in a while much longer.
func (s *simulation) pause(d time.Duration) {
	if s.number(60) == 0 {
		d *= 100
	}
	time.Sleep(time.Duration(s.number(int(d) + 1)))
}

// start runs a server. Which one it was before, nobody knows any more.
func (s *simulation) start(ctx context.Context, i int) {
	dead := false
	cut, lag := &simCut{}, &simCut{}
	if old := s.servers[i]; old != nil {
		cut = old.cut
	}
	relay := newRelay(s.t, RelayConfig{Log: &simLog{s.store, s, &dead, lag}, Name: fmt.Sprint("server ", i), Lease: simLease, Logger: s.logger,
		Publisher: redisfeed.NewPublisher(s.redis.options(cut), "https://sim.example", make([]byte, 32))})
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { relay.Run(ctx) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[i] = &simServer{relay: relay, cut: cut, lag: lag, stop: func(crash bool) {
		s.mu.Lock()
		dead = crash
		s.mu.Unlock()
		cancel()
		running.Wait()
		relay.config.Publisher.Close()
	}}
}

func (s *simulation) server(i int) *simServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.servers[i]
}

// roundTrip is the HTTP network of one verifier, to the server that it knows or,
// when that is gone, to the other.
func (v *simVerifier) roundTrip(s *simulation, r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if err := v.cut.wait(ctx); err != nil {
		return nil, err
	}
	type result struct {
		answer any
		err    error
	}
	answered := make(chan result, 1)
	body := []byte{}
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	// The request is on its way whether or not its sender waits.
	go func() {
		s.pause(3 * time.Millisecond)
		relay := s.server((v.to + s.number(20)/19) % 2).relay
		s.mu.Lock()
		client := v.client
		s.mu.Unlock()
		var res result
		path := strings.TrimPrefix(r.URL.Path, "/feed/sessions")
		switch {
		case r.URL.Path == "/oauth2/token":
			res.answer = map[string]any{"access_token": "token", "token_type": "Bearer", "expires_in": 3600}
		case r.Method == "POST":
			var join httpfeed.Join
			json.Unmarshal(body, &join)
			if join.Ticket == "" { // of the examination only the way matters here
				res.answer = httpfeed.Examined{Protocol: httpfeed.Protocol, Examination: &httpfeed.Examination{
					Ticket: "ticket", Issuer: "https://sim.example", Audience: "https://sim.example/v1"}}
				break
			}
			joined, err := relay.join(context.WithoutCancel(ctx), join, client, "")
			res.answer, res.err = joined, err
			if s.mu.Lock(); err == nil {
				s.sessions = append(s.sessions, simSession{v.name, client, joined.Session})
			}
			if err == nil && client == v.client {
				v.joined = client
			}
			s.mu.Unlock()
		case r.Method == "DELETE":
			if res.err = relay.attached(context.WithoutCancel(ctx), path[1:], client); res.err == nil {
				res.err = relay.end(context.WithoutCancel(ctx), path[1:])
			}
		default:
			q := r.URL.Query()
			number := func(name string) uint64 { n, _ := strconv.ParseUint(q.Get(name), 10, 64); return n }
			poll, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			page, err := relay.poll(poll, path[1:], client, number("after"), number("head"), time.Duration(number("wait_ms"))*time.Millisecond)
			cancel()
			page.Session, page.Nonce = path[1:], q.Get("nonce")
			res.answer, res.err = page, err
		}
		s.pause(3 * time.Millisecond)
		answered <- res
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case res := <-answered:
		if err := v.cut.wait(ctx); err != nil {
			return nil, err
		}
		response := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}
		switch {
		case errors.Is(res.err, keys.ErrNotFound), errors.Is(res.err, errHistory):
			response.StatusCode = 404
		case res.err != nil:
			response.StatusCode = 503
		default:
			text, _ := json.Marshal(res.answer)
			response.Body = io.NopCloser(bytes.NewReader(text))
		}
		return response, nil
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// verifier starts one that follows over Redis, or over HTTP only.
func (s *simulation) verifier(ctx context.Context, i int, overRedis bool) func() {
	v := &simVerifier{name: fmt.Sprint("verifier ", i), cut: &simCut{}, to: i % 2}
	v.client = v.name
	s.admit(v.client)
	config := httpfeed.Config{URL: "https://sim.example", Name: v.name, Lease: simLease, ClientID: v.name, ClientSecret: "x", Logger: s.logger,
		Client: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) { return v.roundTrip(s, r) })}}
	var err error
	if overRedis {
		v.feed, err = redisfeed.New(redisfeed.Config{Redis: s.redis.options(v.cut), Issuer: "https://sim.example", HTTP: config})
	} else {
		v.feed, err = httpfeed.New(config)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.feeds = append(s.feeds, v)
	var running sync.WaitGroup
	running.Go(func() { v.feed.Run(ctx) })
	running.Go(func() { s.check(ctx, v) })
	return running.Wait
}

// admit stores a key with which a verifier may follow.
func (s *simulation) admit(clientID string) {
	touch := keys.Entry{Kind: tokens.Touch, Subject: tokens.Client(clientID)}
	_, err := s.store.CreateOrganization(context.Background(), keys.Organization{ID: clientID}, touch)
	if err == nil {
		key := keys.Key{ID: clientID, OrganizationID: clientID, ClientID: clientID, Access: keys.Access{Scopes: []string{keys.FeedScope}}}
		_, err = s.store.CreateKey(context.Background(), key, touch, func(keys.Organization, int, *keys.Entry) error { return nil })
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// check lets a verifier decide on some of the tokens, every few milliseconds, and more
// seldom when the faults have ended.
func (s *simulation) check(ctx context.Context, v *simVerifier) {
	for ctx.Err() == nil {
		s.mu.Lock()
		sample := append([]simToken(nil), s.tokens[max(0, len(s.tokens)-10):]...)
		if n := len(s.tokens); n > 10 {
			sample = append(sample, s.tokens[s.rand.IntN(n)])
		}
		s.mu.Unlock()
		for _, token := range sample {
			s.decide(v, token)
		}
		pace := 40
		if time.Now().After(s.calm) {
			pace = 400
		}
		time.Sleep(time.Duration(1+s.number(pace)) * time.Millisecond)
	}
}

func (s *simulation) decide(v *simVerifier, token simToken) {
	err := v.feed.Revocations().Check(&token.claims, "kid")
	log, _ := s.store.Read(context.Background(), 0, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch now := time.Now(); {
	case err == nil:
		s.checks["accepted"]++
		s.history.Accepted(v.name, token.name, now)
		s.history.Accepted(v.name, view(v.joined), now)
	case errors.Is(err, tokens.ErrStale):
		s.checks["unknown"]++
	default:
		s.checks["refused"]++
		if token.claims.Position >= log.Floor { // else it is too old for any verifier
			s.history.Refused(v.name, token.name, now)
		}
	}
}

// harm does one fault after another.
func (s *simulation) harm(ctx, world context.Context) {
	for ctx.Err() == nil {
		pause := 300 + s.number(2500)
		if s.redis.lie != honest {
			pause /= 4
		}
		time.Sleep(time.Duration(pause) * time.Millisecond)
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		s.faults++
		s.mu.Unlock()
		long := time.Duration(100+s.number(4000)) * time.Millisecond
		kind := s.number(10)
		switch s.redis.lie {
		case roundsAlwaysCount:
			kind = []int{1, 3, 4, 7}[s.number(4)] // what tells data sets apart
		case handedOverIsSeen:
			kind = 8
		}
		switch kind {
		case 0:
			s.redis.flush()
		case 1:
			s.redis.rollback(s.number(5))
		case 2:
			s.redis.pause(long)
		case 3, 4:
			// Two at once: some parties see one, the rest the other, until the old one ends.
			s.redis.split(func() bool { return s.number(2) == 0 }, s.number(5))
			time.Sleep(long)
			s.redis.join()
		case 5, 6:
			v := s.feeds[s.number(len(s.feeds))]
			v.cut.hold(true)
			time.Sleep(long)
			v.cut.hold(false)
		case 7:
			server := s.server(s.number(2))
			server.cut.hold(true)
			time.Sleep(long)
			server.cut.hold(false)
		case 8:
			// Often while it waits for somebody.
			i, v := s.number(2), s.feeds[s.number(len(s.feeds))]
			if s.number(2) == 0 {
				v.cut.hold(true)
				time.Sleep(time.Duration(s.number(1500)) * time.Millisecond)
			}
			s.server(i).stop(s.number(2) == 0)
			time.Sleep(long / 2)
			s.start(world, i)
			v.cut.hold(false)
		case 9:
			server := s.server(s.number(2))
			server.lag.hold(true)
			time.Sleep(long)
			server.lag.hold(false)
		}
	}
}
