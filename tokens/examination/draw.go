package examination

import (
	mathrand "math/rand/v2"
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
	shuffle(e.questions)
	shuffle(e.keys)
	e.revocations(s.base + snapshotFrom + 20 + mathrand.Uint64N(100))
	e.freshness(s.base + snapshotFrom + 20 + mathrand.Uint64N(100))
	return e
}

func shuffle[T any](list []T) {
	mathrand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
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
	shuffle(rules)
	for i, rule := range rules {
		if i == len(when) {
			i = mathrand.IntN(len(when))
		}
		p := e.pairs[rule]
		when[i] = append(when[i], cut(p.cut))
		client := p.good.client()
		when[i] = append(when[i], cut(tokens.Organization(client)), cut(tokens.Token(client)),
			cut(tokens.Credential(client)), cut(tokens.Session(client))) // the same id, of others
		// A touch denies nothing, and the snapshot has none.
		when[1+i%2] = append(when[1+i%2], touch(tokens.Client(client)), touch(tokens.Resource(name())))
	}
	for i := range when {
		shuffle(when[i])
	}
	return when
}

func cut(s tokens.Subject) tokens.Entry   { return tokens.Entry{Subject: s, Kind: tokens.Cut} }
func touch(s tokens.Subject) tokens.Entry { return tokens.Entry{Subject: s, Kind: tokens.Touch} }

// client is the id of the client of a probe.
func (p probe) client() string { return string(p.subjects[1][len("c:"):]) }
