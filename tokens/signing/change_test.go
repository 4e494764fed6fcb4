package signing

import (
	"context"
	"crypto"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/tokens"
)

// states are the keys of ES256 as a ring shows them.
func states(r *Ring) map[string]KeyState {
	list := map[string]KeyState{}
	for _, k := range r.Keys() {
		if k.Algorithm == tokens.ES256 {
			list[k.ID] = k.State
		}
	}
	return list
}

// in is the kid of a key in a state.
func in(t *testing.T, r *Ring, state KeyState) string {
	t.Helper()
	for kid, s := range states(r) {
		if s == state {
			return kid
		}
	}
	t.Fatalf("no %s key: %v", state, states(r))
	return ""
}

func (s *shelf) backdate(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.keys {
		s.keys[i].CreatedAt = s.keys[i].CreatedAt.Add(-by)
	}
}

// newPair is two servers of one store that sign with ES256.
func newPair(t *testing.T) (*shelf, *Ring, *Ring) {
	t.Helper()
	store := &shelf{}
	a := newRing(t, store)
	if err := a.Ensure(t.Context(), tokens.ES256); err != nil {
		t.Fatal(err)
	}
	return store, a, newRing(t, store)
}

func TestRotationWaitsForTheLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r, _ := newPair(t)
		next := in(t, r, Next)
		for _, row := range []struct {
			after time.Duration
			want  error
		}{{0, ErrRotating}, {Lead - time.Second, ErrRotating}, {time.Second, nil}, {0, ErrRotating}, {Lead, nil}} {
			time.Sleep(row.after)
			if err := r.Rotate(t.Context(), tokens.ES256, store.rotate); !errors.Is(err, row.want) {
				t.Errorf("after %v more: %v, want %v", row.after, err, row.want)
			}
		}
		if state := states(r)[next]; state != Previous || len(store.keys) != 4 {
			t.Errorf("%s, %d keys", state, len(store.keys))
		}
	})
}

// TestManyRotationsMakeOneNextKey: four posts at the same instant at each of two
// servers.
func TestManyRotationsMakeOneNextKey(t *testing.T) {
	store, a, b := newPair(t)
	store.backdate(Lead)
	rings, wants := []*Ring{a, b}, in(t, a, Next)
	var all sync.WaitGroup
	var made atomic.Int64
	for i := range 8 {
		all.Go(func() {
			switch err := rings[i%2].Rotate(t.Context(), tokens.ES256, store.rotate); {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, ErrRotating):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 || len(store.keys) != 3 || in(t, a, Current) != wants {
		t.Errorf("%d succeeded, %d keys, %v", made.Load(), len(store.keys), states(a))
	}
}

// TestAnyKeyCanBeWithdrawn: what signs and what is next afterwards.
func TestAnyKeyCanBeWithdrawn(t *testing.T) {
	for _, state := range []KeyState{Current, Next, Previous} {
		store, a, b := newPair(t)
		store.backdate(Lead)
		if err := a.Rotate(t.Context(), tokens.ES256, store.rotate); err != nil {
			t.Fatal(err)
		}
		kid, current, next := in(t, a, state), in(t, a, Current), in(t, a, Next)
		if before, err := b.Withdraw(t.Context(), kid, store.withdraw); err != nil || before != 0 {
			t.Fatalf("%s: %d, %v", state, before, err)
		}
		if err := a.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, r := range []*Ring{a, b} {
			if _, err := r.Key(kid); !errors.Is(err, tokens.ErrUnknownKey) || states(r)[kid] != Withdrawn {
				t.Errorf("%s: it is published: %v, %v", state, err, states(r))
			}
			signs, err := kidOf(t, r, sign(t, r, tokens.ES256))
			if err != nil || signs == kid || state == Current && signs != next || state != Current && signs != current {
				t.Errorf("%s: %s signs, %v; before it was %s", state, signs, err, current)
			}
			if after := in(t, r, Next); after == kid || (after == next) != (state == Previous) {
				t.Errorf("%s: the next key is %s, and was %s", state, after, next)
			}
		}
		n := len(store.keys)
		if before, err := a.Withdraw(t.Context(), kid, store.withdraw); err != nil || before != 77 || len(store.keys) != n {
			t.Errorf("%s, again: %d, %v", state, before, err)
		}
	}
	_, r, _ := newPair(t)
	if _, err := r.Withdraw(t.Context(), "2026-01-01-none", nil); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

// TestManyWithdrawalsAreOne: of each key, at both servers and among rotations, and an
// algorithm always has a key that signs and a next one.
func TestManyWithdrawalsAreOne(t *testing.T) {
	for _, state := range []KeyState{Current, Next, Previous} {
		store, a, b := newPair(t)
		store.backdate(Lead)
		if err := a.Rotate(t.Context(), tokens.ES256, store.rotate); err != nil {
			t.Fatal(err)
		}
		store.backdate(Lead)
		kid := in(t, a, state)
		var all sync.WaitGroup
		var made, rotated atomic.Int64
		for i := range 8 {
			r := []*Ring{a, b}[i%2]
			all.Go(func() {
				if before, err := r.Withdraw(t.Context(), kid, store.withdraw); err != nil {
					t.Error(err)
				} else if before == 0 {
					made.Add(1)
				}
			})
			all.Go(func() {
				if err := r.Rotate(t.Context(), tokens.ES256, store.rotate); err == nil {
					rotated.Add(1)
				} else if !errors.Is(err, ErrRotating) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if err := a.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		now := slices.Sorted(maps.Values(states(a)))
		if made.Load() != 1 || rotated.Load() > 1 || states(a)[kid] != Withdrawn ||
			!slices.Contains(now, Current) || !slices.Contains(now, Next) {
			t.Errorf("%s: %d withdrawals, %d rotations, %v", state, made.Load(), rotated.Load(), states(a))
		}
	}
}

// TestNothingIsSignedWithAWithdrawnKey: by either server once it has loaded, however
// many are signing.
func TestNothingIsSignedWithAWithdrawnKey(t *testing.T) {
	store, a, b := newPair(t)
	for range 20 {
		kid := in(t, a, Current)
		var done atomic.Bool
		var all sync.WaitGroup
		loaded := make([]atomic.Bool, 2)
		for i, r := range []*Ring{a, b} {
			for range 4 {
				all.Go(func() {
					for !done.Load() {
						before := loaded[i].Load()
						if signed, err := kidOf(t, r, sign(t, r, tokens.ES256)); before && (signed == kid || err != nil) {
							t.Errorf("signed with %s, %v", signed, err)
						}
					}
				})
			}
		}
		if _, err := a.Withdraw(t.Context(), kid, store.withdraw); err != nil {
			t.Fatal(err)
		}
		loaded[0].Store(true)
		if err := b.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		loaded[1].Store(true)
		sign(t, a, tokens.ES256)
		done.Store(true)
		all.Wait()
	}
}

// busy is a signing key that was withdrawn while it signed.
type busy struct {
	crypto.Signer
	withdraw func()
}

func (b *busy) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	b.withdraw()
	return b.Signer.Sign(random, digest, options)
}

// TestWhatAWithdrawnKeyWasSigningIsSignedAnew: whoever asked for it gets a good token.
func TestWhatAWithdrawnKeyWasSigningIsSignedAnew(t *testing.T) {
	store, r, _ := newPair(t)
	kid, next := in(t, r, Current), in(t, r, Next)
	k := r.keys.Load().byID[kid]
	k.private = &busy{k.private, func() {
		if _, err := r.Withdraw(t.Context(), kid, store.withdraw); err != nil {
			t.Error(err)
		}
	}}
	if signed, err := kidOf(t, r, sign(t, r, tokens.ES256)); err != nil || signed != next {
		t.Errorf("signed with %s, %v", signed, err)
	}
}

// TestClocksThatDifferLeaveNobodyWithoutAKey: another server's clock was ahead when it
// withdrew the key.
func TestClocksThatDifferLeaveNobodyWithoutAKey(t *testing.T) {
	store, a, b := newPair(t)
	next := in(t, a, Next)
	ahead := func(c Change) error { c.At = c.At.Add(time.Minute); return store.withdraw(c) }
	if _, err := a.Withdraw(t.Context(), in(t, a, Current), ahead); err != nil {
		t.Fatal(err)
	}
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if kid, err := kidOf(t, b, sign(t, b, tokens.ES256)); err != nil || kid != next || states(b)[next] != Current {
		t.Errorf("%s signs, %v: %v", kid, err, states(b))
	}
	if in(t, b, Next) == next {
		t.Error("it is the next one, too")
	}
}

// TestKeysOfEarlierVersionsAreRotatedTo: those had a time at which they became active,
// and no next key otherwise.
func TestKeysOfEarlierVersionsAreRotatedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r, _ := newPair(t)
		scheduled := in(t, r, Next)
		store.keys[1].ActiveAt = time.Now().Add(Lead)
		if err := r.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if in(t, r, Next) != scheduled || len(store.keys) != 2 {
			t.Error(states(r))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.Run(ctx)
		time.Sleep(Lead + time.Minute)
		synctest.Wait()
		if in(t, r, Current) != scheduled || len(store.keys) != 3 {
			t.Error(states(r))
		}
		in(t, r, Next)
	})
}
