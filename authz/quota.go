package authz

import (
	"cmp"
	"net/http"
	"time"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
)

// spend takes a token of what a key may buy in a minute: as many at once, if there were none
// before. The header of the answer says what is left once half is gone.
func (s *Server) spend(h http.Header, k *keys.Key) error {
	n := cmp.Or(k.TokensPerMinute, s.config.TokensPerMinute)
	if n == 0 || s.config.Limits == nil {
		return nil
	}
	rate := keys.Rate{Burst: n, Every: time.Minute / time.Duration(n)}
	left := s.config.Limits.Take(keys.Limited{What: "tokens", Who: k.ID}, rate, 1)
	limit := &web.RateLimitError{Policy: "tokens", Rate: rate, Budget: left}
	switch {
	case left.Wait > 0:
		return limit
	case left.Left < n/2:
		limit.Policies(h)
	}
	return nil
}
