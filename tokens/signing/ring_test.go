package signing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/imara/apikeys/tokens"
)

type shelf struct {
	mu   sync.Mutex
	keys []Sealed
}

func (s *shelf) SigningKeys(context.Context) ([]Sealed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys), nil
}

func (s *shelf) AddSigningKey(_ context.Context, k Sealed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(k)
}

func (s *shelf) add(k Sealed) error {
	for _, other := range s.keys {
		if other.Algorithm == k.Algorithm && other.Replaces == k.Replaces {
			return ErrReplaced
		}
	}
	s.keys = append(s.keys, k)
	return nil
}

// rotate and withdraw store a change as a database does.
func (s *shelf) rotate(c Change) error { return s.change(c, 0) }

func (s *shelf) withdraw(c Change) error { return s.change(c, 77) }

func (s *shelf) change(c Change, withdrawn uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.New != nil {
		if err := s.add(*c.New); err != nil {
			return err
		}
	}
	for i := range s.keys {
		k := &s.keys[i]
		if k.ID == c.Activate {
			k.ActiveAt = c.At
		}
		if k.ID == c.ID && withdrawn != 0 {
			if k.Withdrawn != 0 {
				return ErrReplaced
			}
			k.Withdrawn = withdrawn
		}
	}
	return nil
}

const issuer = "https://issuer.example"

func kek(b byte) tokens.Secret { return tokens.Secret(strings.Repeat(string(rune(b)), 32)) }

func newRing(t *testing.T, store Store) *Ring {
	t.Helper()
	r, err := NewRing(t.Context(), Config{Issuer: issuer, KEK: kek('k'), Store: store})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// kidOf verifies a token with golang-jwt and the published JWK Set, and returns
// the kid that signed it.
func kidOf(t *testing.T, r *Ring, raw string) (string, error) {
	t.Helper()
	set, err := r.JWKSet()
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Parse(raw, func(token *jwt.Token) (any, error) {
		for _, j := range set.Keys {
			if j.ID == token.Header["kid"] && j.Algorithm == token.Method.Alg() {
				key, err := j.Key()
				return key.Public, err
			}
		}
		return nil, errors.New("kid not published")
	}, jwt.WithoutClaimsValidation())
	if err != nil {
		return "", err
	}
	if token.Header["typ"] != tokens.Type {
		t.Errorf("typ %v", token.Header["typ"])
	}
	return token.Header["kid"].(string), nil
}

func sign(t *testing.T, r *Ring, algorithm string) string {
	t.Helper()
	raw, err := r.Sign(algorithm, &tokens.Claims{Issuer: issuer, ID: fmt.Sprint(time.Now().UnixNano())})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// nextOf is the kid of the next key.
func nextOf(t *testing.T, r *Ring, algorithm string) string {
	t.Helper()
	for _, k := range r.Keys() {
		if k.Algorithm == algorithm && k.State == Next {
			return k.ID
		}
	}
	t.Fatalf("%s has no next key: %+v", algorithm, r.Keys())
	return ""
}

func TestEveryAlgorithmVerifiesWithThePublishedKey(t *testing.T) {
	r := newRing(t, &shelf{})
	for _, algorithm := range []string{tokens.ES256, tokens.RS256, tokens.EdDSA} {
		if _, err := r.Sign(algorithm, &tokens.Claims{}); !errors.Is(err, ErrNoKey) {
			t.Errorf("%s before there is a key: %v", algorithm, err)
		}
		for range 2 {
			if err := r.Ensure(t.Context(), algorithm); err != nil {
				t.Fatal(err)
			}
		}
		for range 50 { // ECDSA's r and s are shorter now and then
			if _, err := kidOf(t, r, sign(t, r, algorithm)); err != nil {
				t.Fatalf("%s: %v", algorithm, err)
			}
		}
	}
	if n := len(r.config.Store.(*shelf).keys); n != 6 {
		t.Errorf("%d keys, want two of each algorithm", n)
	}
	if set, err := r.JWKSet(); err != nil || set.Keys[0].Algorithm != tokens.ES256 {
		t.Errorf("the first of the set is %+v, %v", set.Keys[0], err)
	}
	if err := r.Ensure(t.Context(), "HS256"); err == nil {
		t.Error("a key for HS256")
	}
}

// TestManyEnsureOneKeyAndOneNext: two servers of one store, eight callers each.
func TestManyEnsureOneKeyAndOneNext(t *testing.T) {
	store := &shelf{}
	rings := []*Ring{newRing(t, store), newRing(t, store)}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			if err := rings[i%2].Ensure(t.Context(), tokens.ES256); err != nil {
				t.Error(err)
			}
			if _, err := kidOf(t, rings[0], sign(t, rings[i%2], tokens.ES256)); err != nil && i%2 == 0 {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(store.keys) != 2 || store.keys[1].Replaces != store.keys[0].ID || store.keys[1].ActiveAt != Never {
		t.Errorf("%d keys", len(store.keys))
	}
}

// TestRotationRefusesNoToken walks two rotations on a fake clock: every token is
// verifiable for its whole life, and keys leave once they cannot be needed.
func TestRotationRefusesNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shelf{}
		r := newRing(t, store)
		if err := r.Ensure(t.Context(), tokens.ES256); err != nil {
			t.Fatal(err)
		}
		type minted struct {
			raw  string
			ends time.Time
		}
		var alive []minted
		seen := map[string]bool{}
		for minute := range 400 {
			next := nextOf(t, r, tokens.ES256)
			if _, err := r.Key(next); err != nil || seen[next] {
				t.Fatalf("minute %d: the next key is not published, or has signed: %v", minute, err)
			}
			if minute == 60 || minute == 120 {
				if err := r.Rotate(t.Context(), tokens.ES256, store.rotate); err != nil {
					t.Fatal(err)
				}
			}
			raw := sign(t, r, tokens.ES256)
			kid, err := kidOf(t, r, raw)
			if err != nil {
				t.Fatal(err)
			}
			seen[kid] = true
			if want := 1 + min(2, minute/60); len(seen) != want {
				t.Fatalf("minute %d: %d keys have signed, want %d", minute, len(seen), want)
			}
			alive = append(alive, minted{raw, time.Now().Add(time.Hour)})
			for len(alive) > 0 && time.Now().After(alive[0].ends) {
				alive = alive[1:]
			}
			for _, m := range alive[:min(3, len(alive))] {
				if _, err := kidOf(t, r, m.raw); err != nil {
					t.Fatalf("minute %d: a live token no longer verifies: %v", minute, err)
				}
			}
			time.Sleep(time.Minute)
		}
		if set, err := r.JWKSet(); err != nil || len(set.Keys) != 2 {
			t.Errorf("%d keys are published in the end, %v", len(set.Keys), err)
		}
	})
}

// TestSealedKeyOpensOnlyWhereItBelongs: another key-encryption key, issuer, name
// or algorithm, or one changed byte, and the ring refuses to start.
func TestSealedKeyOpensOnlyWhereItBelongs(t *testing.T) {
	store := &shelf{}
	if err := newRing(t, store).Ensure(t.Context(), tokens.ES256); err != nil {
		t.Fatal(err)
	}
	good := store.keys[0]
	changed := func(change func(*Sealed)) *shelf {
		s := good
		s.Box = append([]byte(nil), good.Box...)
		change(&s)
		return &shelf{keys: []Sealed{s}}
	}
	for name, config := range map[string]Config{
		"another key":       {Issuer: issuer, KEK: kek('x'), Store: store},
		"another issuer":    {Issuer: issuer + ".evil", KEK: kek('k'), Store: store},
		"renamed issuer":    {Issuer: issuer + ".evil", KEK: kek('k'), Store: changed(func(s *Sealed) { s.Issuer = issuer + ".evil" })},
		"another kid":       {Issuer: issuer, KEK: kek('k'), Store: changed(func(s *Sealed) { s.ID = "other" })},
		"another algorithm": {Issuer: issuer, KEK: kek('k'), Store: changed(func(s *Sealed) { s.Algorithm = tokens.RS256 })},
		"a changed byte":    {Issuer: issuer, KEK: kek('k'), Store: changed(func(s *Sealed) { s.Box[40] ^= 1 })},
		"a short box":       {Issuer: issuer, KEK: kek('k'), Store: changed(func(s *Sealed) { s.Box = s.Box[:10] })},
	} {
		if _, err := NewRing(t.Context(), config); !errors.Is(err, ErrUnseal) && (name != "another issuer" || !errors.Is(err, ErrIssuer)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewRing(t.Context(), Config{Issuer: issuer, KEK: "short", Store: store}); err == nil {
		t.Error("a short key-encryption key was accepted")
	}
	newRing(t, store)
}

// TestPrivateKeysAreNeverPublishedOrLogged is S-059 and R-132.
func TestPrivateKeysAreNeverPublishedOrLogged(t *testing.T) {
	store := &shelf{}
	r := newRing(t, store)
	for _, algorithm := range []string{tokens.ES256, tokens.RS256, tokens.EdDSA} {
		if err := r.Ensure(t.Context(), algorithm); err != nil {
			t.Fatal(err)
		}
	}
	set, err := r.JWKSet()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Keys []map[string]any }
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for _, k := range document.Keys {
		for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, there := k[member]; there {
				t.Errorf("%s has %s", k["kid"], member)
			}
		}
	}
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, k := range r.keys.Load().all() {
		logger.Info("key", "key", k)
		logger.Info(fmt.Sprint(slog.AnyValue(k).Resolve()))
	}
	if strings.Contains(log.String(), "private") || len(log.String()) > 2000 {
		t.Errorf("log: %s", log.String())
	}
}

// TestES256IsDeterministicAndRaw: RFC 6979 signatures of RFC 7518's 64 bytes.
func TestES256IsDeterministicAndRaw(t *testing.T) {
	r := newRing(t, &shelf{})
	if err := r.Ensure(t.Context(), tokens.ES256); err != nil {
		t.Fatal(err)
	}
	k := r.keys.Load().chains[tokens.ES256].current(time.Now())
	short := 0
	for i := range 2000 {
		input := []byte(fmt.Sprint(i))
		a, errA := k.signature(input)
		b, errB := k.signature(input)
		if errA != nil || errB != nil || len(a) != 64 || string(a) != string(b) {
			t.Fatalf("%d: %x %v, %x %v", i, a, errA, b, errB)
		}
		if new(big.Int).SetBytes(a[:32]).BitLen() <= 248 {
			short++
		}
	}
	if short == 0 {
		t.Error("no short r among 2000: padding was not exercised")
	}
}
