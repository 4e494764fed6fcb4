package examination

import (
	"crypto/rand"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// A question is a token of an examination, and the rule that it is about.
type question struct {
	probe
	rule string
}

// An exam is an examination while it is drawn, with what the verdicts have to be.
type exam struct {
	set       *set
	lease     time.Duration
	keys      []tokens.JWK
	questions []question
	pairs     map[string]pair
	sessions  []httpfeed.Trial
	stages    []stage
}

// A stage is one time at which verdicts are asked for.
type stage struct {
	rule   string // that it is about; empty when each token's own decides
	expect string // one letter for each token
}

// draw makes an examination of what the kits of some algorithms have.
func draw(s *set, kits []*kit, lease time.Duration) *exam {
	e := &exam{set: s, lease: lease, pairs: make(map[string]pair)}
	for i, rule := range mathrand.Perm(len(pairRules)) {
		e.add(pairRules[rule].name, kits[i%len(kits)])
	}
	for _, k := range kits {
		e.keys = append(e.keys, k.keys...)
		if p := k.pairs["signature"]; p.bad.raw != e.pairs["signature"].bad.raw {
			e.questions = append(e.questions, question{p.bad, "signature"}, question{p.good, "signature"})
		}
	}
	mathrand.Shuffle(len(e.questions), func(i, j int) { e.questions[i], e.questions[j] = e.questions[j], e.questions[i] })
	mathrand.Shuffle(len(e.keys), func(i, j int) { e.keys[i], e.keys[j] = e.keys[j], e.keys[i] })
	e.revocations(s.base + snapshotFrom + 20 + mathrand.Uint64N(100))
	e.freshness(s.base + snapshotFrom + 20 + mathrand.Uint64N(100))
	return e
}

func (e *exam) add(rule string, k *kit) {
	p := k.pairs[rule]
	e.pairs[rule] = p
	e.questions = append(e.questions, question{p.bad, rule}, question{p.good, rule})
}

// revocations is the session in which cuts come with the snapshot and with two pages,
// the second of which raises the floor. It ends with its own cut.
func (e *exam) revocations(watermark uint64) {
	base := e.set.base
	cuts := e.cuts()
	t := e.begin(watermark, base+floor)
	t.snapshot(e.pairs["position"].cut, base+positionCut)
	t.snapshot(e.terminal(), base+terminalCut)
	for i, at := range mathrand.Perm(int(watermark - base - snapshotFrom))[:len(cuts[0])] {
		t.snapshot(cuts[0][i].Subject, base+snapshotFrom+uint64(at))
	}
	e.ask(t, ruleJoin)
	t.page(cuts[1], 0, 0, base+floor)
	e.ask(t, "")
	t.page(cuts[2], 0, 0, base+raisedFloor)
	e.ask(t, "")
	t.page([]tokens.Entry{cut(tokens.Session(t.Joined.Session))}, 0, 0, base+raisedFloor)
	t.known = false
	e.ask(t, ruleEnd)
	e.sessions = append(e.sessions, t.Trial)
}

// freshness is the session that knows of nothing but a cut of everything, and learns
// with its third page that it does.
func (e *exam) freshness(watermark uint64) {
	base := e.set.base
	t := e.begin(watermark, base+emptyFloor)
	t.snapshot(tokens.Everything, base+oldestCut)
	t.snapshot(e.terminal(), base+terminalCut)
	e.ask(t, ruleJoin)
	t.page([]tokens.Entry{touch(tokens.Client(name()))}, 1, 0, base+emptyFloor)
	t.known = false
	e.ask(t, ruleTip)
	t.page([]tokens.Entry{touch(tokens.Resource(name()))}, 0, e.lease*3/2, base+emptyFloor)
	t.known = false
	e.ask(t, ruleLease)
	t.page([]tokens.Entry{}, 0, 0, base+emptyFloor)
	e.ask(t, "")
	e.sessions = append(e.sessions, t.Trial)
}

// terminal is the signing key that is cut for good: the one that signed one token only.
func (e *exam) terminal() tokens.Subject {
	subjects := e.pairs["signing_key"].bad.subjects
	return subjects[len(subjects)-1]
}

// cuts says what is cut with the snapshot, with the first page and with the second:
// something in each, among entries that deny none of our tokens.
func (e *exam) cuts() (when [3][]tokens.Entry) {
	rules := []string{"client", "organization", "token", "secret"}
	mathrand.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	for i, rule := range rules {
		if i == len(when) {
			i = mathrand.IntN(len(when))
		}
		p := e.pairs[rule]
		when[i] = append(when[i], cut(p.cut))
		client := p.good.client()
		for _, of := range []func(string) tokens.Subject{tokens.Organization, tokens.Token, tokens.Credential, tokens.Session} {
			when[i] = append(when[i], cut(of(client))) // the same id, of something else
		}
		// A touch denies nothing, and the snapshot has none.
		when[1+i%2] = append(when[1+i%2], touch(tokens.Client(client)), touch(tokens.Resource(name())))
	}
	for i := range when {
		mathrand.Shuffle(len(when[i]), func(a, b int) { when[i][a], when[i][b] = when[i][b], when[i][a] })
	}
	return when
}

func cut(s tokens.Subject) tokens.Entry   { return tokens.Entry{Subject: s, Kind: tokens.Cut} }
func touch(s tokens.Subject) tokens.Entry { return tokens.Entry{Subject: s, Kind: tokens.Touch} }

// client is the id of the client of a probe.
func (p probe) client() string { return string(p.subjects[1][len("c:"):]) }

// A trial is a session while it goes on, and what a verifier knows then.
type trial struct {
	httpfeed.Trial
	tip   uint64
	cuts  map[tokens.Subject]uint64
	floor uint64
	known bool // the view is complete, and not past its lease
}

// begin begins a session, before which verdicts are asked for.
func (e *exam) begin(watermark, floor uint64) *trial {
	t := &trial{tip: watermark, cuts: make(map[tokens.Subject]uint64)}
	e.ask(t, ruleJoin)
	t.floor = floor
	t.Joined = httpfeed.Joined{Session: name(), Watermark: watermark, Floor: floor, Head: head()}
	return t
}

// snapshot adds a cut to what the session begins with; that of a signing key is terminal.
func (t *trial) snapshot(subject tokens.Subject, position uint64) {
	entry := tokens.Entry{Position: position, Subject: subject, Kind: tokens.Cut,
		Terminal: strings.HasPrefix(string(subject), "k:"), Head: head()}
	t.Joined.Cuts = append(t.Joined.Cuts, entry)
	t.learn(entry)
}

// page adds the answer to a poll, of some age, which leaves out some entries and makes
// the view complete otherwise.
func (t *trial) page(entries []tokens.Entry, missing uint64, age time.Duration, floor uint64) {
	for i := range entries {
		t.tip++
		entries[i].Position, entries[i].Head = t.tip, head()
		t.learn(entries[i])
	}
	t.floor, t.known = floor, true
	t.Pages = append(t.Pages, httpfeed.Page{Session: t.Joined.Session, Nonce: rand.Text(), Entries: entries,
		Tip: t.tip + missing, Floor: floor, AgeUS: age.Microseconds() + mathrand.Int64N(1000)})
}

func (t *trial) learn(e tokens.Entry) {
	switch {
	case e.Kind != tokens.Cut:
	case e.Terminal:
		t.cuts[e.Subject] = math.MaxUint64
	default:
		t.cuts[e.Subject] = e.Position
	}
}

// head tells one history from another. This one is nobody's.
func head() uint64 { return 1 + mathrand.Uint64N(1<<52) }

// What a verdict has to be.
const (
	wantAccept  = 'a'
	wantRefuse  = 'r'
	wantUnknown = 'u'
	wantEither  = 'n' // not accepted: it is wrong, and nothing is known
)

// ask notes what the verdicts about all tokens have to be now.
func (e *exam) ask(t *trial, rule string) {
	expect := make([]byte, len(e.questions))
	for i, q := range e.questions {
		expect[i] = t.expect(q.probe)
	}
	e.stages = append(e.stages, stage{rule, string(expect)})
}

func (t *trial) expect(p probe) byte {
	refused := p.flawed || p.rv < t.floor ||
		slices.ContainsFunc(p.subjects, func(s tokens.Subject) bool { return t.cuts[s] > p.rv })
	switch {
	case refused && t.known:
		return wantRefuse
	case refused:
		return wantEither
	case t.known:
		return wantAccept
	}
	return wantUnknown
}
