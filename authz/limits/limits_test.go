package limits

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

var rate = keys.Rate{Burst: 10, Every: time.Second}

func newLimiter(t testing.TB, config Config) *Limiter {
	t.Helper()
	l, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestARateIsExact: a burst, and one each Every; a refusal takes nothing and says how long to
// wait, a look takes nothing, and what is given back is there again.
func TestARateIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{})
		of := keys.Limited{What: "x", Who: "ann"}
		take := func(n int) keys.Budget { return l.Take(of, rate, n) }
		for i := range rate.Burst {
			if b := take(1); b.Wait != 0 || b.Left != rate.Burst-1-i {
				t.Fatalf("%d: %+v", i, b)
			}
		}
		for range 5 {
			if b := take(1); b.Wait != time.Second || b.Left != 0 {
				t.Errorf("one more: %+v", b)
			}
			if b := take(0); b.Wait != time.Second {
				t.Errorf("a look: %+v", b)
			}
		}
		if b := l.Take(keys.Limited{What: "x", Who: "bob"}, rate, 1); b.Wait != 0 {
			t.Errorf("another's: %+v", b)
		}
		time.Sleep(time.Second / 2)
		if b := take(1); b.Wait != time.Second/2 {
			t.Errorf("half a second later: %+v", b)
		}
		time.Sleep(time.Second / 2)
		if b := take(0); b.Wait != 0 || b.Left != 1 {
			t.Errorf("a second later: %+v", b)
		}
		if b := take(1); b.Wait != 0 {
			t.Errorf("a second later: %+v", b)
		}
		take(-1)
		if b := take(1); b.Wait != 0 {
			t.Errorf("given back: %+v", b)
		}
		take(-1000)
		if b := take(rate.Burst); b.Wait != 0 || b.Left != 0 {
			t.Errorf("more is given back than there is: %+v", b)
		}
		time.Sleep(time.Hour)
		if b := take(rate.Burst + 1); b.Wait == 0 {
			t.Errorf("more than a burst: %+v", b)
		}
		if b := take(rate.Burst); b.Wait != 0 {
			t.Errorf("an hour later: %+v", b)
		}
	})
}

// TestAFloodOfNamesFillsNoMemory: budgets that are full are forgotten, and there are only so
// many of the others.
func TestAFloodOfNamesFillsNoMemory(t *testing.T) {
	l := newLimiter(t, Config{})
	for i := range 3 * shards * maxBudgets {
		l.Take(keys.Limited{Who: fmt.Sprint(i)}, keys.Rate{Burst: 5, Every: time.Hour}, 1)
	}
	kept := 0
	for i := range l.shards {
		kept += len(l.shards[i].of)
	}
	if kept > shards*maxBudgets {
		t.Errorf("%d are kept", kept)
	}
}

// TestManyAtOnceGetNoMore: goroutines that take together get what there is.
func TestManyAtOnceGetNoMore(t *testing.T) {
	l := newLimiter(t, Config{})
	got := make(chan int)
	for range 8 {
		go func() {
			n := 0
			for range 1000 {
				if l.Take(keys.Limited{What: "x"}, keys.Rate{Burst: 500, Every: time.Hour}, 1).Wait == 0 {
					n++
				}
			}
			got <- n
		}()
	}
	sum := 0
	for range 8 {
		sum += <-got
	}
	if sum != 500 {
		t.Errorf("%d of 500", sum)
	}
}

// TestConfigIsChecked: what other servers could not read is refused.
func TestConfigIsChecked(t *testing.T) {
	for name, config := range map[string]Config{
		"no issuer": {Redis: nowhere, Secret: tokens.Secret(make([]byte, 32))},
		"no secret": {Redis: nowhere, Issuer: "https://id.example.com"},
	} {
		if _, err := New(config); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// BenchmarkTake takes of a budget that is in memory.
func BenchmarkTake(b *testing.B) {
	l := newLimiter(b, Config{})
	for b.Loop() {
		l.Take(keys.Limited{What: "tokens", Who: "key_0123456789"}, keys.Rate{Burst: 1 << 30, Every: time.Nanosecond}, 1)
	}
}
