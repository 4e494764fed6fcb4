//go:build unix

package authz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// A candidate is a verifier of any make that joins by hand.
type candidate struct {
	*running
	key   keys.Created
	token string
}

func (r *running) candidate() *candidate {
	r.t.Helper()
	key := r.key("operator", keys.Access{Scopes: []string{keys.FeedScope}})
	return &candidate{r, key, r.token(key)}
}

// sends a body that is text, or becomes JSON.
func (c *candidate) sends(method, path string, body any) answer {
	c.t.Helper()
	text, ok := body.(string)
	if !ok {
		data, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		text = string(data)
	}
	request, err := http.NewRequest(method, c.url+path, strings.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	return send(c.t, request)
}

func asJoin() httpfeed.Join {
	return httpfeed.Join{Protocol: 2, Name: "by hand", LeaseMS: 10000,
		Implementation: "hand/1.0", Algorithms: []string{tokens.ES256}}
}

// examined joins as far as the examination, and returns the join with right verdicts.
func (c *candidate) examined(join httpfeed.Join) httpfeed.Join {
	c.t.Helper()
	a := c.sends("POST", "/feed/sessions", join)
	var body httpfeed.Examined
	err := json.Unmarshal([]byte(a.body), &body)
	if err != nil || a.status != 200 || body.Examination == nil || body.Protocol != 2 {
		c.t.Fatalf("no examination: %d %s", a.status, a.body)
	}
	if join.Verdicts, err = body.Examination.Answer(leaseOf(join)); err != nil {
		c.t.Fatal(err)
	}
	join.Ticket = body.Examination.Ticket
	return join
}

// gullible accepts everything.
func gullible(join httpfeed.Join) httpfeed.Join {
	for i, list := range join.Verdicts {
		join.Verdicts[i] = slices.Repeat([]httpfeed.Verdict{httpfeed.Accept}, len(list))
	}
	return join
}

// followers are the sessions that are not a server's own.
func (h *house) followers() (list []keys.Session) {
	h.t.Helper()
	sessions, err := h.store.Sessions(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return slices.DeleteFunc(sessions, keys.Session.Server)
}

func (r *running) unproved() (list []string) {
	for _, s := range r.followers() {
		list = append(list, fmt.Sprintf("%s %d %s [%s]", s.Name, s.Protocol, s.Implementation, s.Unproved))
	}
	return list
}

// TestJoinCostsNoRowUntilItPassed: and is in the list before its answer is there, by
// either way, so that no evidence can reach a session that nobody waits for.
func TestJoinCostsNoRowUntilItPassed(t *testing.T) {
	h := newRedisHouse(t)
	h.requireProof = true
	s := h.start(0)
	for _, over := range []string{"", httpfeed.OverRedis} {
		c := s.candidate()
		before, err := s.store.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		join := asJoin()
		join.Over = over
		for range 5 {
			c.examined(join)
		}
		right := c.examined(join)
		wrong := gullible(c.examined(join))
		if a := c.sends("POST", "/feed/sessions", wrong); a.status != 409 {
			t.Errorf("wrong: %d %s", a.status, a.body)
		}
		after, err := s.store.Snapshot(t.Context())
		if list := s.followers(); err != nil || len(list) != 0 || after.Watermark != before.Watermark {
			t.Errorf("over %q: %v, %d entries, %v", over, list, after.Watermark-before.Watermark, err)
		}
		a := c.sends("POST", "/feed/sessions", right)
		list := s.followers()
		if a.status != 201 || len(list) != 1 || list[0].ID != a.json["session"] ||
			list[0].Unproved != "" || list[0].Protocol != 2 || list[0].Implementation != "hand/1.0" || (list[0].Via == viaRedis) != (over == httpfeed.OverRedis) {
			t.Errorf("over %q: %d %s, %+v", over, a.status, a.body, list)
		}
		if a := c.sends("DELETE", "/feed/sessions/"+list[0].ID, ""); a.status != 204 {
			t.Errorf("leave: %d", a.status)
		}
	}
}

// TestJoinThatIsNoneIsRefused: with a reason, and without counting as a failure.
func TestJoinThatIsNoneIsRefused(t *testing.T) {
	h := newHouse(t)
	h.requireProof = true
	s := h.start(0)
	c, other := s.candidate(), s.candidate()
	right := c.examined(asJoin())
	change := func(f func(*httpfeed.Join)) httpfeed.Join { j := right; f(&j); return j }
	for name, join := range map[string]httpfeed.Join{
		"no implementation":    change(func(j *httpfeed.Join) { j.Ticket, j.Implementation = "", "" }),
		"long implementation":  change(func(j *httpfeed.Join) { j.Implementation = strings.Repeat("x", 101) }),
		"no algorithm":         change(func(j *httpfeed.Join) { j.Ticket, j.Algorithms = "", nil }),
		"another's algorithms": change(func(j *httpfeed.Join) { j.Ticket, j.Algorithms = "", []string{"HS256", "none"} }),
		"a protocol below 0":   change(func(j *httpfeed.Join) { j.Protocol = -1 }),
		"replaces a line":      change(func(j *httpfeed.Join) { j.Replaces = "ver\n" }),
		"another ticket":       change(func(j *httpfeed.Join) { j.Ticket = other.examined(asJoin()).Ticket }),
		"another lease":        change(func(j *httpfeed.Join) { j.LeaseMS = 60000 }),
		"no verdicts":          change(func(j *httpfeed.Join) { j.Verdicts = nil }),
		"half of the verdicts": change(func(j *httpfeed.Join) { j.Verdicts = j.Verdicts[:5] }),
		"other words":          change(func(j *httpfeed.Join) { j.Verdicts = [][]httpfeed.Verdict{{"yes"}} }),
	} {
		if a := c.sends("POST", "/feed/sessions", join); a.status != 400 || a.json["error_description"] == "" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if list := s.followers(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	if a := c.sends("POST", "/feed/sessions", right); a.status != 201 || strings.Contains(a.body, "unproved") {
		t.Errorf("the right one: %d %s", a.status, a.body)
	}
}

// TestFailedExamination: who requires proof answers with the rules, and after three
// failures lets the key try once a minute and records it. Who observes lets it join,
// and everybody who asks is told.
func TestFailedExamination(t *testing.T) {
	h := newHouse(t)
	h.requireProof = true
	s := h.start(0)
	c := s.candidate()
	for range freeFailures {
		a := c.sends("POST", "/feed/sessions", gullible(c.examined(asJoin())))
		rules := fmt.Sprint(a.json["rules"])
		if a.status != 409 || a.json["error"] != "verifier_unproved" ||
			!strings.Contains(rules, "client") || !strings.Contains(rules, "lease") ||
			!strings.Contains(fmt.Sprint(a.json["error_description"]), "client") || a.header.Get("Retry-After") != "1" {
			t.Fatalf("%d %s %v", a.status, a.body, a.header)
		}
	}
	a := c.sends("POST", "/feed/sessions", asJoin())
	if a.status != 429 || a.header.Get("Retry-After") != "60" || a.json["error"] != "verifier_unproved" {
		t.Errorf("%d %s %v", a.status, a.body, a.header)
	}
	events, err := s.registry.Events(t.Context(), "", keys.EventPage{Action: "verifier.unproved"})
	if err != nil || len(events) != 1 || events[0].Target != c.key.Key.ClientID ||
		!strings.Contains(events[0].Reason, "hand/1.0: ") ||
		!strings.Contains(events[0].Reason, " client ") || events[0].Address != "127.0.0.1" {
		t.Errorf("%+v, %v", events, err)
	}
	s.candidate().examined(asJoin()) // another key is not held up
	if got, want := s.Examinations(), (Examinations{Failed: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	s.stop()

	h.requireProof = false
	s = h.start(0)
	c = s.candidate()
	for range freeFailures + 2 {
		a := c.sends("POST", "/feed/sessions", gullible(c.examined(asJoin())))
		if a.status != 201 || !strings.Contains(fmt.Sprint(a.json["unproved"]), "client") {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if list := s.followers(); len(list) != freeFailures+2 ||
		!slices.Contains(list[0].Broken(), "client") || !slices.Contains(list[0].Broken(), "session_end") {
		t.Errorf("%+v", list)
	}
	if !strings.Contains(h.log.String(), "does not refuse what it must") {
		t.Error("the log does not say so")
	}
	if got, want := s.Examinations(), (Examinations{Failed: 5}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestFailuresSlowDownOneKey: three are free, then one a minute, until it passes or
// nothing fails for a while.
func TestFailuresSlowDownOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f failures
		wait := func(client string, want time.Duration) {
			t.Helper()
			if got := f.wait(client, time.Now()); got != want {
				t.Errorf("%s waits %v, want %v", client, got, want)
			}
		}
		for i := range freeFailures {
			wait("a", 0)
			if n := f.failed("a", time.Now()); n != i+1 {
				t.Errorf("failure %d is counted as %d", i+1, n)
			}
		}
		wait("a", failurePause)
		wait("b", 0)
		time.Sleep(failurePause)
		wait("a", 0)
		wait("a", failurePause) // it was given one, whatever became of it
		time.Sleep(failurePause)
		wait("a", 0)
		f.passed("a")
		wait("a", 0)
		for range freeFailures {
			f.failed("a", time.Now())
		}
		time.Sleep(failuresKeptFor + time.Second)
		wait("a", 0)
		if f.failed("b", time.Now()); len(f.of) != 1 {
			t.Errorf("%d keys are remembered", len(f.of))
		}
	})
}

// TestVerifierFromBeforeThereWereExaminations speaks protocol 1 as those verifiers do,
// to the letter: who observes serves it and marks it, who requires proof says why not.
func TestVerifierFromBeforeThereWereExaminations(t *testing.T) {
	h := newHouse(t)
	s := h.start(0)
	old := s.candidate()
	joined := old.sends("POST", "/feed/sessions", `{"name":"api","lease_ms":10000}`)
	if joined.status != 201 || joined.json["session"] == "" || strings.Contains(joined.body, "null") {
		t.Fatalf("%d %s", joined.status, joined.body)
	}
	if got := s.unproved(); !slices.Equal(got, []string{"api 1  [protocol]"}) {
		t.Errorf("%v", got)
	}
	session := fmt.Sprint(joined.json["session"])
	poll := func(from answer, position, head string) answer {
		t.Helper()
		a := old.sends("GET", fmt.Sprintf("/feed/sessions/%s?after=%d&head=%d&nonce=NONCE&wait_ms=1000", session,
			number(from.json[position]), number(from.json[head])), "")
		if a.status != 200 || a.json["nonce"] != "NONCE" || a.json["session"] != session || strings.Contains(a.body, "null") {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return a
	}
	first := poll(joined, "watermark", "head")
	if len(first.json["entries"].([]any)) != 0 || first.json["tip"] != joined.json["watermark"] {
		t.Errorf("%s", first.body)
	}
	c := s.demoKey()
	done := s.beginRevoke(c)
	// It reads all that there is, and then acknowledges with its next poll.
	for last := joined; ; {
		a := poll(last, "watermark", "head")
		for _, e := range a.json["entries"].([]any) {
			entry := e.(map[string]any)
			last = answer{json: map[string]any{"watermark": entry["seq"], "head": entry["head"]}}
			if entry["subject"] == "c:"+c.Key.ClientID && entry["kind"] == "cut" {
				c.Key.ClientID = ""
			}
		}
		if c.Key.ClientID == "" {
			poll(last, "watermark", "head")
			break
		}
	}
	if r := <-done; r.State != keys.Confirmed || r.Total != 2 {
		t.Errorf("%+v", r)
	}
	if a := old.sends("DELETE", "/feed/sessions/"+session, ""); a.status != 204 {
		t.Errorf("leave: %d %s", a.status, a.body)
	}
	s.stop()

	h.requireProof = true
	s = h.start(0)
	old = s.candidate()
	for _, body := range []string{`{"name":"api","lease_ms":10000}`,
		`{"protocol":1,"name":"api","lease_ms":10000,"accept_stale_ms":60000}`} {
		a := old.sends("POST", "/feed/sessions", body)
		if a.status != 426 || a.json["error"] != "protocol_too_old" || a.header.Get("Upgrade") != "imara-feed/2" ||
			!strings.Contains(fmt.Sprint(a.json["error_description"]), "protocol 2") {
			t.Errorf("%d %s %v", a.status, a.body, a.header)
		}
	}
	if list := s.followers(); len(list) != 0 || s.Examinations().NotTaken != 2 {
		t.Errorf("%+v, %+v", list, s.Examinations())
	}
}

func number(v any) uint64 {
	f, _ := v.(float64)
	return uint64(f)
}

// TestVerifierOfLaterProtocol gets the examination of ours.
func TestVerifierOfLaterProtocol(t *testing.T) {
	h := newHouse(t)
	h.requireProof = true
	s := h.start(0)
	join := asJoin()
	join.Protocol = 7
	c := s.candidate()
	if a := c.sends("POST", "/feed/sessions", c.examined(join)); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestEveryServerGradesTheExaminationOfAnother: a verifier may be sent to another
// replica between the two requests of a join, and to a third with its polls.
func TestEveryServerGradesTheExaminationOfAnother(t *testing.T) {
	h := newSharedHouse(t)
	h.requireProof = true
	a, b := h.replica(0), h.replica(0)
	c := a.candidate()
	right := c.examined(asJoin())
	c.running = b
	if answer := c.sends("POST", "/feed/sessions", right); answer.status != 201 || len(a.followers()) != 1 {
		t.Errorf("%d %s", answer.status, answer.body)
	}
}

// TestFleetThatRejoinsAtOnceIsCheap: five hundred verifiers of one key ask at once, and
// answer at once. All are admitted; probes and snapshots are shared. What they answer
// makes no difference to the server, which observes: they accept everything.
func TestFleetThatRejoinsAtOnceIsCheap(t *testing.T) {
	const size = 500
	h := newHouse(t)
	counted := &countedSnapshots{Store: h.sql}
	h.store = counted
	s := h.start(time.Minute) // its own view must not end on a machine that has no time
	c := s.candidate()
	joins := make([]httpfeed.Join, size)
	answers := make([]answer, size)
	// atOnce sends all joins, and again what finds the store too busy, as verifiers do.
	atOnce := func(want int) time.Duration {
		begun := time.Now()
		for try := 0; try < 10; try++ {
			var all sync.WaitGroup
			for i := range joins {
				if answers[i].status != want {
					all.Go(func() { answers[i] = c.sends("POST", "/feed/sessions", joins[i]) })
				}
			}
			all.Wait()
			for _, a := range answers {
				if a.status != want && a.status != 503 {
					t.Fatalf("%d %s\n%s", a.status, a.body, h.log)
				}
			}
		}
		return time.Since(begun)
	}
	for i := range joins {
		joins[i] = asJoin()
	}
	asking := atOnce(200)
	issuers := make(map[string]bool)
	for i, a := range answers {
		var asked httpfeed.Examined
		if err := json.Unmarshal([]byte(a.body), &asked); err != nil || a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		x := asked.Examination
		issuers[x.Issuer] = true
		moments := 0
		for _, session := range x.Sessions {
			moments += 2 + len(session.Pages)
		}
		joins[i].Ticket, joins[i].Verdicts = x.Ticket, make([][]httpfeed.Verdict, moments)
		for m := range joins[i].Verdicts {
			joins[i].Verdicts[m] = slices.Repeat([]httpfeed.Verdict{httpfeed.Accept}, len(x.Tokens))
		}
	}
	snapshots := counted.n.Load()
	answering := atOnce(201)
	if n := counted.n.Load() - snapshots; n > size/10 || len(issuers) != 1 {
		t.Errorf("%d snapshots were read, probes of %d issuers", n, len(issuers))
	}
	if n := len(s.followers()); n != size {
		t.Errorf("%d sessions", n)
	}
	t.Logf("%d verifiers ask in %v and join in %v", size,
		asking.Round(time.Millisecond), answering.Round(time.Millisecond))
}

// countedSnapshots counts how often a snapshot is read.
type countedSnapshots struct {
	*sqlstore.Store
	n atomic.Int64
}

func (c *countedSnapshots) Snapshot(ctx context.Context) (keys.LogSnapshot, error) {
	c.n.Add(1)
	return c.Store.Snapshot(ctx)
}

// laggingLog is a database of which a server reads no pages of the log while it is held.
type laggingLog struct {
	keys.Log
	lag simCut
}

func (l *laggingLog) Read(ctx context.Context, after uint64, limit int) (keys.LogPage, error) {
	if limit > 1 {
		if err := l.lag.wait(ctx); err != nil {
			return keys.LogPage{}, err
		}
	}
	return l.Log.Read(ctx, after, limit)
}

// TestNothingReadBeforeASessionWasStoredIsEvidenceForIt: a server lags, and a verifier joins
// there when the verifiers that a cut waits for are listed already. It gets no lease from
// before the cut.
func TestNothingReadBeforeASessionWasStoredIsEvidenceForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystest.NewMemory()
		(&simulation{t: t, store: store}).admit("client")
		log := &laggingLog{Log: store}
		relay := newRelay(t, RelayConfig{Log: log, Name: "lags", Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); relay.Run(ctx) }()
		defer func() { cancel(); <-done }()
		<-relay.revocations.Ready()
		synctest.Wait()
		log.lag.hold(true)
		time.Sleep(500 * time.Millisecond)
		if _, err := relay.snapshot(ctx); err != nil { // for who joins next
			t.Fatal(err)
		}
		cut, err := store.Append(ctx, keys.Entry{Kind: tokens.Cut, Subject: tokens.Client("another")})
		if err != nil {
			t.Fatal(err)
		}
		late := httpfeed.Join{Name: "late", LeaseMS: 10_000, Protocol: httpfeed.Protocol, Implementation: "test/1"}
		joined, err := relay.join(ctx, late, "client", "")
		if err != nil || joined.Watermark >= cut.Position {
			t.Fatalf("%+v, %v", joined, err)
		}
		poll := func() (httpfeed.Page, error) {
			return relay.poll(ctx, joined.Session, "client", joined.Watermark, joined.Head, 0)
		}
		if page, err := poll(); !errors.Is(err, tokens.ErrStale) {
			t.Errorf("evidence without the cut: %+v, %v", page, err)
		}
		log.lag.hold(false)
		if page, err := poll(); err != nil || page.Tip < cut.Position || len(page.Entries) == 0 {
			t.Errorf("the cut is not in the first page: %+v, %v", page, err)
		}
	})
}
