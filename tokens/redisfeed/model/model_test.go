package model

import (
	"hash/maphash"
	"testing"
)

// This is a model of the protocol, small enough to be explored whole: one
// revocation, one verifier, two publishers, and a Redis that may be wiped or put
// back to an earlier state. It has no clock. What it checks is what the bound in
// time rests on:
//
//   - whoever has evidence dated after the commit has the entry, and
//   - once every listed session has acknowledged, nobody without the entry has
//     evidence of any date.
//
// The first makes leases end a lease after the commit; the second makes a
// confirmed receipt true at once. Each mutant breaks one rule of the protocol, and
// must be caught: a mutant that passes means that the model lost its teeth.

type mutant int

const (
	correct         mutant = iota
	noSlot                 // a poll does not notice that its slot is another
	datedByReply           // evidence is dated by the answer, not by the sending
	noNonce                // a finish does not notice that its start is gone
	readBeforeStart        // the database is read before the round begins
	missingRows            // the lease is renewed though entries up to the tip are missing
	sameRound              // a round that was going on at the poll counts
	ackFirst               // the acknowledgement is sent before the entry is applied
	anyAnswer              // an answer renews the lease, as in the obvious design
	listedBefore           // the sessions are listed before the commit
	joinRenews             // joining renews the lease
	readApart              // the rounds are read by another command than the poll
	mutants
)

var mutantNames = []string{"correct", "noSlot", "datedByReply", "noNonce", "readBeforeStart", "missingRows", "sameRound", "ackFirst", "anyAnswer", "listedBefore", "joinRenews", "readApart"}

// cable is the state of Redis.
type cable struct {
	round, done uint8
	tip         bool // of the done round: the entry is committed
	row         bool // the entry is in the stream
	slot        uint8
	ack         bool
	nonce       [2]uint8 // of each publisher: the round it began here
}

// publisher is between the steps of a round.
type publisher struct {
	phase, round uint8 // idle, started, read, appended
	tip          bool
	left         uint8
}

// polled is a poll that is still evidence: its date, before or after the commit,
// and the round that it saw.
type polled struct {
	after bool
	round uint8
}

type state struct {
	committed bool
	redis     cable
	saved     cable // what a rollback puts back
	hasSaved  bool
	faults    uint8
	pub       [2]publisher

	// The verifier.
	stored   bool // its session, in the database
	joined   bool
	has      bool // the entry is applied
	lastSlot uint8
	last     uint8 // round of the last poll
	polls    [3]polled
	n        uint8 // of them
	left     uint8 // polls to come
	// A poll on its way: 0 none, 1 sent, 2 answered; 3 its rounds are still to be read.
	flight     uint8
	sentAfter  bool
	same       bool
	seen       cable // Redis as the poll found it
	evidence   bool  // any at all
	freshAfter bool  // dated after the commit

	// The revocation.
	listed    bool // the sessions were read
	member    bool // ours among them
	confirmed bool
}

// next returns all states that follow s.
func next(s state, m mutant) (all []state) {
	all = make([]state, 0, 16)
	step := func(change func(*state)) {
		c := s
		change(&c)
		all = append(all, c)
	}
	if !s.committed {
		if m == listedBefore && !s.listed {
			step(func(c *state) { c.listed, c.member = true, c.stored })
		}
		step(func(c *state) { c.committed = true })
	} else if !s.listed {
		step(func(c *state) { c.listed, c.member = true, c.stored })
	}
	if s.listed && s.committed && !s.confirmed && (!s.member || s.redis.ack) {
		step(func(c *state) { c.confirmed = true })
	}
	if s.committed {
		step(func(c *state) { c.redis.row = true }) // by the committer, outside of any round
	}
	for i := range s.pub {
		stepPublisher(s, m, i, step)
	}
	stepVerifier(s, m, step)
	if s.faults > 0 {
		step(func(c *state) { c.redis, c.faults = cable{}, c.faults-1 })
		if s.hasSaved {
			step(func(c *state) { c.redis, c.faults = c.saved, c.faults-1 })
		} else {
			step(func(c *state) { c.saved, c.hasSaved = c.redis, true })
		}
	}
	return all
}

func stepPublisher(s state, m mutant, i int, step func(func(*state))) {
	switch p := s.pub[i]; p.phase {
	case 0:
		if p.left == 0 {
			return
		}
		step(func(c *state) {
			q := &c.pub[i]
			if m == readBeforeStart {
				q.tip, q.phase, q.left = c.committed, 4, q.left-1
				return
			}
			c.redis.round++
			c.redis.nonce[i] = c.redis.round
			*q = publisher{phase: 1, round: c.redis.round, left: q.left - 1}
		})
	case 4: // readBeforeStart only
		step(func(c *state) {
			c.redis.round++
			c.redis.nonce[i] = c.redis.round
			c.pub[i].round, c.pub[i].phase = c.redis.round, 2
		})
	case 1:
		step(func(c *state) { c.pub[i].tip, c.pub[i].phase = c.committed, 2 })
	case 2:
		step(func(c *state) {
			c.redis.row = c.redis.row || c.pub[i].tip
			c.pub[i].phase = 3
		})
	case 3:
		step(func(c *state) {
			q := &c.pub[i]
			if (m == noNonce || c.redis.nonce[i] == q.round) && q.round > c.redis.done {
				c.redis.done, c.redis.tip = q.round, q.tip
			}
			q.phase = 0
		})
	}
	if s.pub[i].phase > 0 {
		step(func(c *state) { c.pub[i] = publisher{left: c.pub[i].left} }) // an error drops the round
	}
}

func stepVerifier(s state, m mutant, step func(func(*state))) {
	switch {
	case !s.stored:
		// The snapshot may be taken before the session is stored, or after.
		step(func(c *state) { c.stored = true })
		if !s.joined {
			step(func(c *state) { c.joined, c.has = true, c.committed })
		}
	case !s.joined:
		step(func(c *state) { c.joined, c.has = true, c.committed })
	}
	if m == joinRenews && s.joined && !s.evidence {
		step(func(c *state) { c.evidence = true })
	}
	if !s.joined || !s.stored {
		return
	}
	switch s.flight {
	case 0:
		if s.left > 0 {
			step(func(c *state) { c.flight, c.sentAfter, c.left = 1, c.committed, c.left-1 })
		}
		// Between polls it says at once what it has applied, and reads on.
		step(func(c *state) { c.redis.ack = c.redis.ack || c.has || m == ackFirst && c.redis.row })
		step(func(c *state) { c.has = c.has || c.redis.row })
	case 1:
		step(func(c *state) {
			c.same = c.redis.slot == c.lastSlot
			c.redis.slot = 10 + c.left
			c.redis.ack = c.redis.ack || c.has || m == ackFirst && c.redis.row
			c.seen, c.flight = c.redis, 2
			if m == readApart {
				c.flight = 3
			}
		})
		step(func(c *state) { c.flight, c.n, c.polls = 0, 0, [3]polled{} }) // lost: polls are forgotten
	case 2:
		step(func(c *state) { receive(c, m) })
	case 3: // readApart only
		step(func(c *state) {
			slot := c.seen.slot
			c.seen, c.flight = c.redis, 2
			c.seen.slot = slot
		})
	}
}

// receive is Feed.cycle after the answer.
func receive(c *state, m mutant) {
	hb := c.seen
	after := c.sentAfter
	if m == datedByReply {
		after = c.committed
	}
	if !c.same && m != noSlot || hb.round < c.last {
		c.n, c.polls = 0, [3]polled{}
	}
	c.lastSlot, c.last, c.flight = hb.slot, hb.round, 0
	c.has = c.has || hb.row
	c.polls[c.n] = polled{after, hb.round}
	c.n++
	if m == anyAnswer {
		c.evidence, c.freshAfter = true, c.freshAfter || after
	}
	if hb.done == 0 || hb.tip && !c.has && m != missingRows {
		return
	}
	for c.n > 0 && (c.polls[0].round < hb.done || m == sameRound && c.polls[0].round == hb.done) {
		c.evidence, c.freshAfter = true, c.freshAfter || c.polls[0].after
		copy(c.polls[:], c.polls[1:])
		c.polls[2] = polled{}
		c.n--
	}
}

// broken says which promise a state breaks.
func broken(s state) string {
	switch {
	case s.freshAfter && !s.has:
		return "evidence dated after the commit, and the entry is not there"
	case s.confirmed && s.evidence && !s.has:
		return "confirmed, and a verifier with a lease does not have the entry"
	}
	return ""
}

// bounds of an exploration.
type bounds struct {
	rounds [2]uint8 // of each publisher
	polls  uint8
	faults uint8
}

// explore visits every state within the bounds.
func explore(m mutant, b bounds) (states int, bad *state, why string, steps int) {
	first := state{left: b.polls, faults: b.faults}
	first.pub[0].left, first.pub[1].left = b.rounds[0], b.rounds[1]
	return search(first, func(s state) []state { return next(s, m) }, broken)
}

// search visits every state that follows the first, breadth first, and returns how
// many there are; or one that is broken, why, and after how many steps. States are
// remembered by a 64-bit hash: among a few million, that two of them collide is as
// likely as winning a lottery twice.
func search[S comparable](first S, next func(S) []S, broken func(S) string) (states int, bad *S, why string, steps int) {
	seed := maphash.MakeSeed()
	seen := &set{slots: make([]uint64, 1<<16)}
	seen.add(maphash.Comparable(seed, first))
	for frontier := []S{first}; len(frontier) > 0; steps++ {
		var following []S
		for _, s := range frontier {
			if why := broken(s); why != "" {
				return seen.n, &s, why, steps
			}
			for _, n := range next(s) {
				if seen.add(maphash.Comparable(seed, n)) {
					following = append(following, n)
				}
			}
		}
		frontier = following
	}
	return seen.n, nil, "", steps
}

// A set of hashes. A map takes three times as long, and under the race detector ten times.
type set struct {
	slots []uint64 // a power of two of them, 0 is free
	n     int
}

// add tells whether a hash is new.
func (s *set) add(hash uint64) bool {
	hash = max(hash, 1)
	at := s.slot(hash)
	if s.slots[at] != 0 {
		return false
	}
	s.slots[at] = hash
	if s.n++; s.n > len(s.slots)/2 {
		old := s.slots
		s.slots = make([]uint64, 2*len(old))
		for _, hash := range old {
			if hash != 0 {
				s.slots[s.slot(hash)] = hash
			}
		}
	}
	return true
}

// slot is where a hash stands, or would.
func (s *set) slot(hash uint64) uint64 {
	last := uint64(len(s.slots) - 1)
	at := hash & last
	for s.slots[at] != 0 && s.slots[at] != hash {
		at = (at + 1) & last
	}
	return at
}

// explored are the bounds within which the protocol holds and, between them, every
// mutant is caught.
var explored = []bounds{
	{rounds: [2]uint8{2, 0}, polls: 3, faults: 0},
	{rounds: [2]uint8{1, 0}, polls: 2, faults: 2},
	{rounds: [2]uint8{2, 0}, polls: 2, faults: 1},
	{rounds: [2]uint8{2, 1}, polls: 2, faults: 0},
	{rounds: [2]uint8{1, 1}, polls: 1, faults: 1},
}

func TestModelHolds(t *testing.T) {
	for _, b := range explored {
		states, bad, why, steps := explore(correct, b)
		if why != "" {
			t.Errorf("%+v: %s, after %d steps: %+v", b, why, steps, *bad)
		}
		t.Logf("%+v: %d states, %d steps deep", b, states, steps)
	}
	states, bad, why, steps := exploreSessions(sessionsCorrect)
	if why != "" {
		t.Errorf("sessions: %s, after %d steps: %+v", why, steps, *bad)
	}
	t.Logf("sessions: %d states, %d steps deep", states, steps)
	tails, worst, why, steps := exploreHeads(headsCorrect)
	if why != "" {
		t.Errorf("heads: %s, after %d steps: %+v", why, steps, *worst)
	}
	t.Logf("heads: %d states, %d steps deep", tails, steps)
}

// TestModelCatchesEveryMutant breaks one rule at a time.
func TestModelCatchesEveryMutant(t *testing.T) {
	for m := correct + 1; m < mutants; m++ {
		caught := false
		for _, b := range explored {
			if _, _, why, steps := explore(m, b); why != "" {
				t.Logf("%s: %s, after %d steps", mutantNames[m], why, steps)
				caught = true
				break
			}
		}
		if !caught {
			t.Errorf("%s is not caught", mutantNames[m])
		}
	}
	for m, name := range sessionsMutants {
		if _, _, why, steps := exploreSessions(m); why == "" {
			t.Errorf("%s is not caught", name)
		} else {
			t.Logf("%s: %s, after %d steps", name, why, steps)
		}
	}
	for m, name := range headsMutants {
		if _, _, why, steps := exploreHeads(m); why == "" {
			t.Errorf("%s is not caught", name)
		} else {
			t.Logf("%s: %s, after %d steps", name, why, steps)
		}
	}
}
