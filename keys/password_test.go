package keys

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestFewPasswordsAreHashedAtOnce: the next waits a moment, and is then told to come
// again. Each takes 64 MiB.
func TestFewPasswordsAreHashedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := New(Config{Store: struct{ Store }{}, Relay: struct{ Relay }{}, Peppers: Peppers{1: make([]byte, 32)}, CheckpointKey: make([]byte, 64)})
		if err != nil {
			t.Fatal(err)
		}
		n := cap(r.passwords.slots)
		if n < 1 || n > 4 {
			t.Errorf("%d at once", n)
		}
		var leave func()
		for range n {
			if leave, err = r.passwords.enter(t.Context(), "203.0.113.9"); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range []func() error{
			func() error { _, err := r.SignIn(t.Context(), Program("test"), "ann@example.com", "x"); return err },
			func() error { _, err := r.passwords.enter(t.Context(), "198.51.100.7"); return err },
		} {
			if err := f(); !errors.Is(err, ErrBusy) {
				t.Errorf("one more: %v", err)
			}
		}
		go func() { time.Sleep(time.Second); leave() }()
		if _, err := r.passwords.enter(t.Context(), "203.0.113.9"); err != nil {
			t.Errorf("after a moment: %v", err)
		}
	})
}

// TestOneNetworkLeavesRoomForOthers: of the many that one network sends, few wait.
func TestOneNetworkLeavesRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := passwords{slots: make(chan struct{}, 1)}
		leave, err := p.enter(t.Context(), "2001:db8::1")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 * queuedOfNetwork {
			go p.enter(t.Context(), fmt.Sprintf("2001:db8::%d", i))
		}
		synctest.Wait()
		if n := p.queued["2001:db8::/64"]; n != queuedOfNetwork {
			t.Errorf("%d wait", n)
		}
		if _, err := p.enter(t.Context(), "2001:db8::1"); !errors.Is(err, ErrBusy) {
			t.Errorf("one more: %v", err)
		}
		time.Sleep(3 * time.Second) // they have given up
		leave()
		if _, err := p.enter(t.Context(), "2001:db8::1"); err != nil || len(p.queued) != 1 {
			t.Errorf("later: %v, %v", err, p.queued)
		}
	})
}
