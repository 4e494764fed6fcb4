package keys

import (
	"errors"
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
			if leave, err = r.passwords.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range []func() error{
			func() error { _, err := r.SignIn(t.Context(), Program("test"), "ann@example.com", "x"); return err },
			func() error { _, err := r.passwords.enter(t.Context()); return err },
		} {
			if err := f(); !errors.Is(err, ErrBusy) {
				t.Errorf("one more: %v", err)
			}
		}
		go func() { time.Sleep(time.Second); leave() }()
		if _, err := r.passwords.enter(t.Context()); err != nil {
			t.Errorf("after a moment: %v", err)
		}
	})
}
