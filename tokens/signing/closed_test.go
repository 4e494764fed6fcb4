package signing

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/tokens"
)

// TestOldKeyThatDoesNotOpenStopsNothing: whatever is wrong with it, the current key
// signs and is published, and the next one follows it. Of the current one it is an error
// that names it.
func TestOldKeyThatDoesNotOpenStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shelf{}
		r := newRing(t, store)
		for range 3 {
			if err := r.Ensure(t.Context(), tokens.ES256); err != nil {
				t.Fatal(err)
			}
			time.Sleep(Lead + time.Minute)
			if err := r.Rotate(t.Context(), tokens.ES256, store.rotate); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Hour)
		}
		current := r.keys.Load().chains[tokens.ES256].current(time.Now()).ID
		next := r.keys.Load().chains[tokens.ES256].next(time.Now()).ID
		good := slices.Clone(store.keys)
		for i := range good {
			for name, garble := range map[string]func(*Sealed){
				"box": func(s *Sealed) { s.Box = []byte("x") }, "kid": func(s *Sealed) { s.ID += "x" },
				"algorithm": func(s *Sealed) { s.Algorithm = "x" }, "issuer": func(s *Sealed) { s.Issuer = "x" },
				"another algorithm": func(s *Sealed) { s.Algorithm = tokens.EdDSA },
				"no box":            func(s *Sealed) { s.Box = nil },
			} {
				store.keys = slices.Clone(good)
				garble(&store.keys[i])
				r, err := NewRing(t.Context(), Config{Issuer: issuer, KEK: kek('k'), Store: store})
				switch {
				case good[i].ID == current && name != "algorithm":
					if !errors.Is(err, ErrUnseal) && !errors.Is(err, ErrIssuer) && name != "another algorithm" {
						t.Errorf("%s of the current key: %v", name, err)
					}
					continue
				case name == "another algorithm":
					continue // the only key of that algorithm: it has to sign, and cannot
				case err != nil:
					t.Errorf("%s of key %d: %v", name, i, err)
					continue
				case good[i].ID == current:
					continue
				}
				raw, err := r.Sign(tokens.ES256, &tokens.Claims{})
				if kid, _ := kidOf(t, r, raw); err != nil || kid != current {
					t.Errorf("%s of key %d: signed by %s, %v", name, i, kid, err)
				}
				if err := r.Ensure(t.Context(), tokens.ES256); err != nil {
					t.Errorf("%s of key %d: %v", name, i, err)
				}
				if k := r.keys.Load().chains[tokens.ES256].next(time.Now()); k == nil || k.closed != nil ||
					good[i].ID != next && k.ID != next {
					t.Errorf("%s of key %d: next is %+v", name, i, k)
				}
			}
		}
	})
}
