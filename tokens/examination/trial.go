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
	t.Pages = append(t.Pages, httpfeed.Page{Session: t.Joined.Session, Nonce: rand.Text(),
		Entries: entries, Tip: t.tip + missing, Floor: floor,
		AgeUS: age.Microseconds() + mathrand.Int64N(1000)})
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
