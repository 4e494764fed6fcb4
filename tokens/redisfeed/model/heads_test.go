package model

// This is a model of acknowledgements: of a log that loses its tail and goes on with other
// entries at the same positions, and of a Redis in which others write. It has no clock: the
// verifier relies on a lease all the time.
//
// What it checks is that a cut whose receipt says confirmed is in the history that the
// verifier has applied.

type headsMutant int

const (
	headsCorrect headsMutant = iota
	positionOnly             // an acknowledgement of any history counts
	oldMemory                // a server asks the history that it has in memory, which lacks the cut
	anyonesWord              // the sorted set counts, in which anyone writes
	anySession               // so does what another session has sealed
	splices                  // an entry is applied on top of another than it follows
)

var headsMutants = map[headsMutant]string{positionOnly: "positionOnly", oldMemory: "oldMemory", anyonesWord: "anyonesWord",
	anySession: "anySession", splices: "splices"}

// tail is the end of a log, by position: heads, which are all different; 0 is no entry.
type tail [3]uint8

func (l tail) length() (n int) {
	for n < len(l) && l[n] != 0 {
		n++
	}
	return n
}

// streamed is an entry in the stream, and the head of the one that it follows.
type streamed struct{ head, follows uint8 }

// acknowledged is a position, its head, and whether the verifier has sealed that.
type acknowledged struct {
	position, head uint8
	own            bool
}

type heads struct {
	log    tail
	last   uint8 // head of the newest entry that ever was
	losses uint8 // to come
	memory tail  // of the server that waits

	cutAt, cutHead uint8 // position from 1; 0: not yet
	wrong          bool  // confirmed, and the verifier lacks the cut

	stream [3]streamed
	begins uint8 // position of its first entry, less one
	has    tail
	sealed acknowledged
	said   [2]acknowledged // earlier ones: whoever has seen them can say them again
	score  uint8           // in the sorted set
}

// nextHeads returns all states that follow s.
func nextHeads(s heads, m headsMutant) (all []heads) {
	step := func(change func(*heads)) {
		c := s
		change(&c)
		all = append(all, c)
	}
	n := s.log.length()
	if n < len(s.log) && s.last < 5 {
		step(func(c *heads) { c.last++; c.log[n] = c.last })
		if s.cutAt == 0 {
			step(func(c *heads) { c.last++; c.log[n] = c.last; c.cutAt, c.cutHead = uint8(n+1), c.last })
		}
	}
	if s.losses > 0 {
		for keep := range n { // a failover
			step(func(c *heads) {
				c.losses--
				clear(c.log[keep:])
			})
		}
	}
	step(func(c *heads) { c.memory = c.log })
	step(func(c *heads) { publish(c) })
	stepVerifierHeads(s, m, step)
	// Whoever writes in Redis.
	step(func(c *heads) { c.score = uint8(len(c.log)) })
	for _, before := range s.said {
		step(func(c *heads) { c.sealed = before })
	}
	if n > 0 {
		step(func(c *heads) { c.sealed = acknowledged{uint8(n), s.log[n-1], false} })
	}
	if s.cutAt > 0 && s.log[s.cutAt-1] == s.cutHead && confirms(s, m) {
		step(func(c *heads) { c.wrong = c.has[c.cutAt-1] != c.cutHead })
	}
	return all
}

// publish appends the next entry to the stream, or replaces that of another history.
func publish(c *heads) {
	at := int(c.begins)
	for at < len(c.stream) && c.stream[at].head != 0 {
		at++
	}
	n := c.log.length()
	if at > int(c.begins) && (at > n || c.log[at-1] != c.stream[at-1].head) || at > n {
		c.stream, c.begins, c.score, c.sealed = [3]streamed{}, uint8(n), 0, acknowledged{}
		return
	}
	if at < n {
		c.stream[at].head = c.log[at]
		if at > 0 {
			c.stream[at].follows = c.log[at-1]
		}
	}
}

func stepVerifierHeads(s heads, m headsMutant, step func(func(*heads))) {
	n := s.has.length()
	if n < len(s.has) && s.stream[n].head != 0 {
		e := s.stream[n]
		if m == splices || n == 0 || s.has[n-1] == e.follows {
			step(func(c *heads) { c.has[n] = e.head })
		}
	}
	if n > 0 {
		step(func(c *heads) {
			c.sealed = acknowledged{uint8(n), c.has[n-1], true}
			c.score = uint8(n)
			if c.said[0] != c.sealed {
				c.said = [2]acknowledged{c.sealed, c.said[0]}
			}
		})
	}
	// It joins again, with another session, whose key opens nothing from before.
	step(func(c *heads) { c.has, c.sealed, c.said = c.log, acknowledged{}, [2]acknowledged{} })
}

// confirms tells whether a server counts the verifier as one that has the cut.
func confirms(s heads, m headsMutant) bool {
	a := s.sealed
	switch {
	case m == anyonesWord:
		return s.score >= s.cutAt
	case a.position < s.cutAt, !a.own && m != anySession:
		return false
	case m == positionOnly:
		return true
	}
	return s.memory[a.position-1] == a.head && (m == oldMemory || s.memory[s.cutAt-1] == s.cutHead)
}

func exploreHeads(m headsMutant) (states int, bad *heads, why string, steps int) {
	return search(heads{losses: 1}, func(s heads) []heads { return nextHeads(s, m) }, func(s heads) string {
		if s.wrong {
			return "confirmed, and the verifier's history lacks the cut"
		}
		return ""
	})
}
