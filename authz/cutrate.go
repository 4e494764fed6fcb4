package authz

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// cutRates bound how many of its tokens a key may cut: each is an entry of the log that
// every verifier gets and keeps, and whoever has a key can make tokens as fast as they are
// issued. Each server counts for itself. The zero value is ready.
type cutRates struct {
	mu sync.Mutex
	of map[string]*rate.Limiter // by client id
}

const (
	cutsPerSecond = 10
	cutsAtOnce    = 100
)

// allow tells whether a client may cut one more token now.
func (c *cutRates) allow(clientID string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[string]*rate.Limiter)
	}
	l := c.of[clientID]
	if l == nil {
		for id, other := range c.of {
			if other.TokensAt(now) >= cutsAtOnce {
				delete(c.of, id) // it may do what one that is not here may
			}
		}
		l = rate.NewLimiter(cutsPerSecond, cutsAtOnce)
		c.of[clientID] = l
	}
	return l.AllowN(now, 1)
}
