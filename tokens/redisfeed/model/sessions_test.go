package model

// This is a model of sessions, with a clock: a verifier's key is cut, its session ends with
// the same commit, and it joins again with another key, in two steps. Another cut follows,
// whose wait for the ended session is over when the lease from before its end is. What
// brings the log, Redis or a server, may lag. Its evidence is as of when it read the
// database, as the other model shows.
//
// What it checks is that no token is accepted after the receipt of its cut, nor anything by
// the view of the ended session after the receipt of its end.

type sessionsMutant int

const (
	sessionsCorrect sessionsMutant = iota
	endedIsLeft                    // an ended session is not waited for
	endRenews                      // it goes on when it has read of its end
	endApart                       // its end commits after the cut that ended it
	endedAtCall                    // its lease is counted from before the commit
	joinsAtFirst                   // evidence counts from the first step of a join on
	readBeforeJoin                 // so does evidence from before the session was stored
)

var sessionsMutants = map[sessionsMutant]string{endedIsLeft: "endedIsLeft", endRenews: "endRenews", endApart: "endApart",
	endedAtCall: "endedAtCall", joinsAtFirst: "joinsAtFirst", readBeforeJoin: "readBeforeJoin"}

// Moments are ticks; 0 has not come. A lease lasts for lease ticks, and the last tick begins
// nothing.
const (
	lease    = 2
	lastTick = 6
)

// The log: a cut and the end of the session, which commit together, then another cut.
const (
	keyCut uint8 = iota + 1
	sessionEnd
	otherCut
)

// receipt is a wait for a cut.
type receipt struct {
	began   uint8   // when the cut committed
	listed  bool    // who must confirm is known
	members [2]bool // the session that ends, and the one that follows it
	settled bool
}

type sessions struct {
	now, tip uint8
	called   uint8 // when somebody began to cut the key
	over     uint8 // when who waits has read of the session's end
	receipts [2]receipt

	// What brings the log: when it read it, up to where, and whether that was after the
	// newest session was stored.
	read, readTip uint8
	since         bool

	examined bool    // the first step of the second join
	stored   [2]bool // listed in the database
	dead     bool    // the first session has read of its end
	// The view that decides, and the entries of the second session until it does.
	second bool
	fresh  uint8
	has    uint8
	next   uint8
}

func (s *sessions) relied() bool { return s.fresh > 0 && s.now-s.fresh <= lease }

// nextSessions returns all states that follow s.
func nextSessions(s sessions, m sessionsMutant) (all []sessions) {
	step := func(change func(*sessions)) {
		c := s
		change(&c)
		all = append(all, c)
	}
	if s.now < lastTick {
		step(func(c *sessions) { c.now++ })
	}
	stepCuts(s, m, step)
	for i := range s.receipts {
		stepReceipt(s, m, i, step)
	}
	step(func(c *sessions) { c.read, c.readTip, c.since = c.now, c.tip, true })
	stepSessions(s, m, step)
	return all
}

func stepCuts(s sessions, m sessionsMutant, step func(func(*sessions))) {
	switch {
	case s.called == 0:
		step(func(c *sessions) { c.called = c.now })
	case s.tip == 0:
		step(func(c *sessions) {
			c.tip, c.receipts[0].began = sessionEnd, c.now
			if m == endApart {
				c.tip, c.over = keyCut, c.now
			}
			if m == endedAtCall {
				c.over = c.called
			}
		})
	case s.tip == keyCut: // endApart only
		step(func(c *sessions) { c.tip = sessionEnd })
	case s.tip == sessionEnd:
		step(func(c *sessions) { c.tip, c.receipts[1].began = otherCut, c.now })
	}
	if s.tip >= sessionEnd && s.over == 0 {
		step(func(c *sessions) { c.over = c.now })
	}
	if s.stored[0] && s.over > 0 && s.now-s.over > lease {
		step(func(c *sessions) { c.stored[0] = false })
	}
}

func stepReceipt(s sessions, m sessionsMutant, i int, step func(func(*sessions))) {
	r := s.receipts[i]
	switch {
	case r.began == 0 || r.settled:
	case !r.listed:
		step(func(c *sessions) { c.receipts[i].listed, c.receipts[i].members = true, c.stored })
	default:
		through := []uint8{sessionEnd, otherCut}[i]
		from := r.began
		if s.over > 0 {
			from = min(from, s.over)
		}
		ended := s.now-from > lease || !s.stored[0] || m == endedIsLeft && s.over > 0
		first := ended || !s.second && !s.dead && s.has >= through
		second := s.now-r.began > lease || s.next >= through || s.second && s.has >= through
		if (!r.members[0] || first) && (!r.members[1] || second) {
			step(func(c *sessions) { c.receipts[i].settled = true })
		}
	}
}

func stepSessions(s sessions, m sessionsMutant, step func(func(*sessions))) {
	if !s.second && !s.dead && s.read > 0 { // a poll
		step(func(c *sessions) {
			c.has = max(c.has, c.readTip)
			if c.has >= sessionEnd && m != endRenews {
				c.dead = true
				return
			}
			c.fresh = max(c.fresh, c.read)
		})
	}
	switch {
	case !s.dead:
	case !s.examined:
		step(func(c *sessions) { c.examined, c.since = true, false })
	case !s.stored[1]:
		// The snapshot may be from before.
		for snapshot := sessionEnd; snapshot <= s.tip; snapshot++ {
			step(func(c *sessions) { c.stored[1], c.next, c.since = true, max(c.next, snapshot), false })
		}
	}
	if s.examined && s.read > 0 && (s.since || m == readBeforeJoin) && (s.stored[1] || m == joinsAtFirst) {
		step(func(c *sessions) {
			c.next = max(c.next, c.readTip)
			c.second, c.has, c.fresh = true, c.next, c.read
		})
	}
}

// brokenSessions says which promise a state breaks.
func brokenSessions(s sessions) string {
	switch {
	case !s.relied():
	case s.receipts[0].settled && s.has < keyCut, s.receipts[1].settled && s.has < otherCut:
		return "a token is accepted after the receipt of its cut"
	case s.receipts[0].settled && s.receipts[0].members[0] && !s.second:
		return "the view of an ended session is relied on after the receipt of its end"
	}
	return ""
}

func exploreSessions(m sessionsMutant) (states int, bad *sessions, why string, steps int) {
	first := sessions{now: 1, stored: [2]bool{true, false}}
	return search(first, func(s sessions) []sessions { return nextSessions(s, m) }, brokenSessions)
}
