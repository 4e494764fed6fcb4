package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// A Check is something that the server needs.
type Check struct {
	Name string // store, log, signing_keys, redis or proxies
	Err  error  // what is wrong with it; nil: nothing
}

// Health says what the server needs and whether it is there, in a second or two. Without
// Redis there is no check of it, and with Redis away verifiers follow over HTTP.
func (s *Server) Health(ctx context.Context) []Check {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	checks := []Check{
		{"store", s.config.Ping(ctx)},
		{"log", s.config.Relay.revocations.Fresh()},
		{"signing_keys", s.canSign()},
	}
	if publisher := s.config.Relay.config.Publisher; publisher != nil {
		err := publisher.Check(ctx)
		if err == nil && s.config.Relay.deaf.Load() {
			err = errors.New("acknowledgements cannot be read")
		}
		checks = append(checks, Check{"redis", err})
	}
	return checks
}

// canSign tells whether a key of each algorithm that an API has chosen signs now.
func (s *Server) canSign() (err error) {
	all, algorithms := s.config.Ring.Keys(), []string{tokens.ES256}
	for _, resource := range s.catalogue.Load().resources {
		if !slices.Contains(algorithms, resource.Algorithm) {
			algorithms = append(algorithms, resource.Algorithm)
		}
	}
	for _, algorithm := range algorithms {
		if !slices.ContainsFunc(all, func(k signing.KeyInfo) bool { return k.Algorithm == algorithm && k.State == signing.Current }) {
			err = errors.Join(err, fmt.Errorf("no key signs with %s", algorithm))
		}
	}
	return err
}

// tellInterval is between two lines of the log that say that the server is not ready.
const tellInterval = 10 * time.Second

// tellUnready says in the log why the server is not ready. Probes ask often; an answer
// to one holds no reason, since anybody may ask.
func (s *Server) tellUnready(reason error) {
	last, now := s.told.Load(), time.Now().UnixNano()
	if now-last >= int64(tellInterval) && s.told.CompareAndSwap(last, now) {
		s.config.Logger.Warn("not ready", "error", reason)
	}
}
