package authz

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens/history"
	"github.com/imara/apikeys/tokens/redisfeed"
)

// simulate runs a world for a while and returns it when everything has ended.
func simulate(t *testing.T, seed uint64, length time.Duration, lie simLie) *simulation {
	var s *simulation
	synctest.Test(t, func(t *testing.T) {
		s = &simulation{t: t, rand: rand.New(rand.NewPCG(seed, 1)), store: keystest.NewMemory(), logger: slog.New(slog.DiscardHandler),
			outcomes: make(map[string]int), checks: make(map[string]int), ended: make(map[string]bool)}
		s.calm = time.Now().Add(simLease + length)
		s.redis = newSimRedis(s, lie)
		ctx, cancel := context.WithCancel(context.Background())
		for i := range s.servers {
			s.start(ctx, i)
		}
		var ends []func()
		for i := range 5 {
			ends = append(ends, s.verifier(ctx, i, i < 4))
		}
		time.Sleep(simLease)
		during, finish := context.WithTimeout(ctx, length)
		var busy sync.WaitGroup
		busy.Go(func() { s.customers(during) })
		busy.Go(func() { s.turnover(during) })
		busy.Go(func() { s.harm(during, ctx) })
		busy.Wait()
		finish()
		for _, v := range s.feeds {
			v.cut.hold(false)
		}
		// When the faults end, everybody knows again.
		time.Sleep(time.Until(s.calm.Add(30 * time.Second)))
		for _, v := range s.feeds {
			if err := v.feed.Revocations().Fresh(); err != nil && lie == honest {
				t.Errorf("seed %d: %s after the faults: %v", seed, v.name, err)
			}
		}
		cancel()
		for i := range s.servers {
			s.server(i).stop(true)
		}
		for _, end := range ends {
			end()
		}
		s.redis.close()
		time.Sleep(time.Minute) // what is still on its way arrives
	})
	return s
}

// TestSimulatedFaultsNeverBreakThePromise: twenty worlds, or IMARA_WORLDS of them.
func TestSimulatedFaultsNeverBreakThePromise(t *testing.T) {
	redisfeed.Quiet()
	worlds := uint64(10)
	if text := os.Getenv("IMARA_WORLDS"); text != "" {
		var err error
		if worlds, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	revoked, faults := 0, 0
	outcomes := map[string]int{}
	for seed := range worlds {
		s := simulate(t, seed, simLength, honest)
		if found := s.history.Violations(); len(found) > 0 {
			t.Errorf("seed %d: %d violations, first %v", seed, len(found), found[0])
		}
		if s.checks["accepted"] == 0 || s.revoked < 50 {
			t.Errorf("seed %d proves nothing: %v %v", seed, s.outcomes, s.checks)
		}
		revoked, faults = revoked+s.revoked, faults+s.faults
		for outcome, n := range s.outcomes {
			outcomes[outcome] += n
		}
	}
	if outcomes["confirmed"] < revoked/10 {
		t.Errorf("hardly any is confirmed: %v", outcomes)
	}
	for _, outcome := range []string{"handed over", "recovered", "key of a verifier"} {
		if worlds >= 10 && outcomes[outcome] == 0 {
			t.Errorf("none is %s: %v", outcome, outcomes)
		}
	}
	t.Logf("%d revocations %v, %d faults", revoked, outcomes, faults)
}

// TestSimulationCatchesALie: the negative control. A Redis whose rounds are not
// bound to the data set in which they began, a database that does not know who has
// joined, a server that waits for nobody whose session has ended, or one that takes a wait
// over and counts members that nobody has heard, must break the promise in some world.
func TestSimulationCatchesALie(t *testing.T) {
	redisfeed.Quiet()
	for _, lie := range []simLie{roundsAlwaysCount, membersAreOld, endedIsGone, handedOverIsSeen} {
		var found []history.Violation
		seed := uint64(0)
		for ; len(found) == 0; seed++ {
			if seed == 200 {
				t.Fatalf("%s: %d worlds hold", lie, seed)
			}
			found = simulate(t, seed, simLength, lie).history.Violations()
		}
		t.Logf("%s: caught in world %d: %v", lie, seed-1, found[0])
	}
}
