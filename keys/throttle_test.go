package keys_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/authz/limits"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
)

// throttled is a registry that counts tries.
func throttled(t *testing.T) (*keys.Registry, *keystest.Memory) {
	t.Helper()
	limiter, err := limits.New(limits.Config{})
	if err != nil {
		t.Fatal(err)
	}
	store := keystest.NewMemory()
	r, err := keys.New(keys.Config{Store: store, Relay: store, Limiter: limiter,
		Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))}, CheckpointKey: keystest.CheckpointKey})
	if err != nil {
		t.Fatal(err)
	}
	return r, store
}

// tries makes n wrong tries, and returns how many were allowed.
func tries(t *testing.T, r *keys.Registry, n int, email, address, known string) (allowed int) {
	t.Helper()
	for range n {
		_, err := r.Try(t.Context(), email, address, known)
		var wait *keys.WaitError
		switch {
		case err == nil:
			allowed++
		case !errors.As(err, &wait) || !errors.Is(err, keys.ErrTooManyTries) || wait.Wait < time.Second:
			t.Fatal(err)
		}
	}
	return allowed
}

// TestGuessingPasswordsBecomesSlow: an account is tried five times from a network, and once a
// minute then; many accounts from one network, twenty times and ten a minute; one account
// from many networks, fifty times and once a minute. A /48 is one network.
func TestGuessingPasswordsBecomesSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := throttled(t)
		if n := tries(t, r, 100, "ann", "203.0.113.9", ""); n != 5 {
			t.Errorf("one account, one network: %d", n)
		}
		if n := tries(t, r, 5, "bob", "203.0.113.9", "") + tries(t, r, 5, "ann", "198.51.100.7", ""); n != 10 {
			t.Errorf("others wait for it: %d of 10", n)
		}
		time.Sleep(time.Minute)
		if n := tries(t, r, 100, "ann", "203.0.113.9", ""); n != 1 {
			t.Errorf("a minute later: %d", n)
		}
		spread := 0
		for i := range 100 {
			spread += tries(t, r, 1, fmt.Sprint("someone", i), fmt.Sprintf("2001:db8:0:%x::%x", i, i), "")
		}
		if spread != 20 {
			t.Errorf("many accounts, one /48: %d", spread)
		}
		all := 0
		for i := range 200 {
			all += tries(t, r, 1, "cat", fmt.Sprintf("2001:db8:%x::1", i+1), "")
		}
		if all != 50 {
			t.Errorf("one account, many networks: %d", all)
		}
		if n := tries(t, r, 1, "dan", "192.0.2.1", ""); n != 1 {
			t.Error("another account waits for it")
		}
	})
}

// TestWhoWasHereIsNotKeptOut: whatever others have tried, a browser that signed in before,
// a session, and a network in which the person has a session, may try.
func TestWhoWasHereIsNotKeptOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := throttled(t)
		for i := range 200 {
			tries(t, r, 1, "ann", fmt.Sprintf("2001:db8:%x::1", i), "")
		}
		tries(t, r, 100, "ann", "203.0.113.9", "")
		if n := tries(t, r, 1, "ann", "198.51.100.7", ""); n != 0 {
			t.Fatal("a stranger's network may try: nothing to see here")
		}
		if n := tries(t, r, 100, "ann", "203.0.113.9", "her laptop"); n != 10 {
			t.Errorf("from a browser of hers: %d tries", n)
		}
		if n := tries(t, r, 1, "ann", "203.0.113.9", "her telephone"); n != 1 {
			t.Error("another browser of hers waits for it")
		}
		account := keys.Account{Email: "ann", Password: "p"}
		if _, err := store.AddLink(t.Context(), keys.Link{Hash: []byte("l"), Email: "ann"}, keys.Entry{}); err != nil {
			t.Fatal(err)
		}
		if _, err := store.UseLink(t.Context(), []byte("l"), account, keys.Entry{}); err != nil {
			t.Fatal(err)
		}
		here := keys.WebSession{Hash: []byte("h"), Email: "ann", Address: "198.51.100.7"}
		if err := store.AddWebSession(t.Context(), here, account.Password); err != nil {
			t.Fatal(err)
		}
		if n := tries(t, r, 1, "ann", "198.51.100.7", ""); n != 1 {
			t.Error("where she has a session she may not try")
		}
	})
}

// TestRightPasswordsCostNothing: what was taken comes back, a hundred times over.
func TestRightPasswordsCostNothing(t *testing.T) {
	r, _ := throttled(t)
	for range 100 {
		back, err := r.Try(t.Context(), "ann", "203.0.113.9", "")
		if err != nil {
			t.Fatal(err)
		}
		back()
	}
}

// TestADeviceIsOneAccounts: what a browser keeps helps one account only, however its address
// is written, and cannot be made by others.
func TestADeviceIsOneAccounts(t *testing.T) {
	r, _ := throttled(t)
	token := r.Device(" Ann@Example.com ")
	changed := []byte(token)
	changed[3] ^= 1
	for name, row := range map[string]struct {
		token, email string
		want         bool
	}{
		"hers":      {token, "ann@example.com", true},
		"another's": {token, "bob@example.com", false},
		"changed":   {string(changed), "ann@example.com", false},
		"cut off":   {token[:10], "ann@example.com", false},
		"none":      {"", "ann@example.com", false},
		"not ours":  {"@@", "ann@example.com", false},
	} {
		if got := r.KnownDevice(row.token, row.email); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
