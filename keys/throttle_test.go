package keys

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestGuessingPasswordsBecomesSlow: after five wrong ones from a network each next has to
// wait twice as long, a quarter of an hour at the most; the right one forgets them; other
// networks and accounts wait for nothing.
func TestGuessingPasswordsBecomesSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries tries
		take := func(email, address string) time.Duration {
			t.Helper()
			err := tries.take(email, address)
			var wait *WaitError
			if err != nil && (!errors.As(err, &wait) || !errors.Is(err, ErrTooManyTries)) {
				t.Fatal(err)
			}
			if wait == nil {
				return 0
			}
			return wait.Wait
		}
		for range freeTries {
			if wait := take("ann", "203.0.113.9"); wait != 0 {
				t.Fatalf("too early: %v", wait)
			}
		}
		for n := range 20 {
			want := min(time.Second<<n, longestWait)
			if wait := take("ann", "203.0.113.9"); wait != want+time.Second {
				t.Errorf("try %d waits %v, want %v", n, wait, want)
			}
			if wait := take("ann", "203.0.113.9"); wait == 0 {
				t.Error("a refused try opened the door")
			}
			for _, other := range [][2]string{{"ann", fmt.Sprint("198.51.100.", n)}, {fmt.Sprint("bob", n), "203.0.113.9"}} {
				if wait := take(other[0], other[1]); wait != 0 {
					t.Errorf("%v waits %v", other, wait)
				}
			}
			time.Sleep(want)
			if wait := take("ann", "203.0.113.9"); wait != 0 {
				t.Errorf("after %v: %v more", want, wait)
			}
		}
		tries.right("ann", "203.0.113.9")
		if wait := take("ann", "203.0.113.9"); wait != 0 {
			t.Errorf("after the right one: %v", wait)
		}
		for i := range 2 * freeTries {
			take("eve", fmt.Sprintf("2001:db8::%d", i))
		}
		if take("eve", "2001:db8::ffff") == 0 || take("eve", "2001:db8:0:1::1") != 0 {
			t.Error("an IPv6 network is not one")
		}
		time.Sleep(triesKeptFor)
		if wait := take("eve", "2001:db8::1"); wait != 0 {
			t.Errorf("after an hour: %v", wait)
		}
		for i := range maxTries + 100 {
			take(fmt.Sprint(i), "192.0.2.1")
		}
		if len(tries.of) > maxTries {
			t.Errorf("%d are kept", len(tries.of))
		}
	})
}
