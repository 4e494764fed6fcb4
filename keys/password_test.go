package keys

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestACoreIsLeftForTokens: passwords are hashed on all cores but one, on four at most.
func TestACoreIsLeftForTokens(t *testing.T) {
	for cores, want := range map[int]int{1: 1, 2: 1, 3: 2, 5: 4, 64: 4} {
		if got := newPasswords(cores).slots; got != want {
			t.Errorf("%d of %d cores", got, cores)
		}
	}
}

// TestFewPasswordsAreHashedAtOnce: the next waits a moment, and is then told to come again.
// Each takes 64 MiB.
func TestFewPasswordsAreHashedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(2)
		leave, err := p.enter(t.Context(), "203.0.113.9", false)
		if err != nil {
			t.Fatal(err)
		}
		for name, known := range map[string]bool{"a stranger": false, "somebody who is known": true} {
			if _, err := p.enter(t.Context(), "198.51.100.7", known); !errors.Is(err, ErrBusy) {
				t.Errorf("%s: %v", name, err)
			}
		}
		go func() { time.Sleep(time.Second); leave() }()
		if _, err := p.enter(t.Context(), "203.0.113.9", false); err != nil {
			t.Errorf("after a moment: %v", err)
		}
	})
}

// TestOneNetworkLeavesRoomForOthers: of the many that one network sends few wait, those of
// others have their turns between them, and whoever is known goes before them all.
func TestOneNetworkLeavesRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(2)
		leave, err := p.enter(t.Context(), "2001:db8::1", false)
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan string, 20)
		queue := func(name, address string, known bool) {
			go func() {
				leave, err := p.enter(t.Context(), address, known)
				if err != nil {
					name = err.Error()
				}
				order <- name
				if err == nil {
					leave()
				}
			}()
			synctest.Wait()
		}
		for i := range 3 * queuedStrangers {
			queue(fmt.Sprint("flood ", i), fmt.Sprintf("2001:db8:0:%x::1", i), false)
		}
		for range 2*queuedStrangers + 1 {
			if got := <-order; got != ErrBusy.Error() {
				t.Errorf("more than a few of a network: %s", got)
			}
		}
		queue("ann", "198.51.100.7", false)
		queue("ben", "203.0.113.9", true)
		leave()
		synctest.Wait()
		close(order)
		var got []string
		for name := range order {
			got = append(got, name)
		}
		if want := "[ben ann flood 0 flood 1 flood 2]"; fmt.Sprint(got) != want {
			t.Errorf("%v, want %v", got, want)
		}
		if p.busy != 0 || p.strangers != 0 || len(p.queued) != 0 || len(p.waiting) != 0 {
			t.Errorf("left behind: %+v", p)
		}
	})
}

// TestStrangersLeaveHalfOfTheSlots: with more cores, who is known waits for no stranger.
func TestStrangersLeaveHalfOfTheSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(5)
		for i := range 2 {
			if _, err := p.enter(t.Context(), fmt.Sprint("192.0.2.", i), false); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.enter(t.Context(), "192.0.2.9", false); !errors.Is(err, ErrBusy) {
			t.Errorf("a third stranger: %v", err)
		}
		for i := range 2 {
			if _, err := p.enter(t.Context(), fmt.Sprint("192.0.2.", i), true); err != nil {
				t.Errorf("who is known: %v", err)
			}
		}
	})
}

// TestLongPasswordsCountToTheLastByte: nothing is cut off a password, and nothing ends it
// early.
func TestLongPasswordsCountToTheLastByte(t *testing.T) {
	for _, length := range []int{73, MaxPassword} {
		password := strings.Repeat("p", length-3) + "\x00ab"
		hash := hashPassword(password)
		if !matches(hash, password) || matches(hash, password[:length-1]+"c") || matches(hash, password[:length-1]) {
			t.Errorf("a password of %d bytes", length)
		}
	}
}
