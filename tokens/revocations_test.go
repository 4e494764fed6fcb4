package tokens_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/tokens"
)

func claimsAt(rv uint64) *tokens.Claims {
	return &tokens.Claims{ClientID: "client", Organization: "org", ID: "jti", Credential: "secret", Position: rv}
}

// TestAnyCutOfAnySubjectDenies tries every subset of the six dimensions: cuts
// combine by or, never by precedence.
func TestAnyCutOfAnySubjectDenies(t *testing.T) {
	subjects := []tokens.Subject{tokens.Everything, tokens.Organization("org"), tokens.Client("client"), tokens.Token("jti"),
		tokens.Credential("secret"), tokens.SigningKey("kid")}
	const start = 100
	for subset := range 1 << len(subjects) {
		r := tokens.NewRevocations(time.Minute)
		r.Start(nil, start, 1)
		newest := uint64(0)
		var entries []tokens.Entry
		for i, s := range subjects {
			e := tokens.Entry{Position: start + 1 + uint64(i), Subject: s, Kind: tokens.Touch}
			if subset&(1<<i) != 0 {
				e.Kind, newest = tokens.Cut, e.Position
			}
			entries = append(entries, e)
		}
		if err := r.Apply(entries); err != nil {
			t.Fatal(err)
		}
		r.Confirm(time.Now(), 1)
		for rv := uint64(start - 1); rv <= start+7; rv++ {
			err := r.Check(claimsAt(rv), "kid")
			if want := newest > rv; errors.Is(err, tokens.ErrRevoked) != want || !want && err != nil {
				t.Fatalf("subset %06b rv %d: %v, want revoked %v", subset, rv, err, want)
			}
		}
	}
}

// TestCutOfAnotherIdDoesNotDeny: the same id in another dimension, and other
// ids in the same one.
func TestCutOfAnotherIdDoesNotDeny(t *testing.T) {
	r := tokens.NewRevocations(time.Minute)
	r.Start([]tokens.Entry{
		{Position: 50, Subject: tokens.Client("org"), Kind: tokens.Cut},
		{Position: 51, Subject: tokens.Organization("client"), Kind: tokens.Cut},
		{Position: 52, Subject: tokens.Token("other"), Kind: tokens.Cut},
		{Position: 53, Subject: tokens.Credential("client"), Kind: tokens.Cut},
		{Position: 54, Subject: tokens.Credential(""), Kind: tokens.Cut},
	}, 60, 1)
	r.Confirm(time.Now(), 1)
	old := claimsAt(10)
	old.Credential = ""
	for _, c := range []*tokens.Claims{claimsAt(10), old} {
		if err := r.Check(c, "kid"); err != nil {
			t.Error(err)
		}
	}
}

func TestFloorDeniesWhatDroppedEntriesDenied(t *testing.T) {
	r := tokens.NewRevocations(time.Minute)
	r.Start([]tokens.Entry{{Position: 50, Subject: tokens.Client("client"), Kind: tokens.Cut}}, 60, 1)
	r.Confirm(time.Now(), 55)
	if err := r.Check(claimsAt(49), "kid"); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("rv below the floor: %v", err)
	}
	if err := r.Check(claimsAt(55), "kid"); err != nil {
		t.Errorf("rv at the floor: %v", err)
	}
	r.Confirm(time.Now(), 10)
	if err := r.Check(claimsAt(54), "kid"); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("the floor went down: %v", err)
	}
}

func TestTerminalCutDeniesEveryPosition(t *testing.T) {
	r := tokens.NewRevocations(time.Minute)
	r.Start(nil, 10, 1)
	if err := r.Apply([]tokens.Entry{{Position: 11, Subject: tokens.SigningKey("kid"), Kind: tokens.Cut, Terminal: true}}); err != nil {
		t.Fatal(err)
	}
	r.Confirm(time.Now(), 1)
	for _, rv := range []uint64{1, 11, 12, 1 << 60, math.MaxUint64 - 1, math.MaxUint64} {
		if err := r.Check(claimsAt(rv), "kid"); !errors.Is(err, tokens.ErrRevoked) {
			t.Errorf("a forged rv of %d passes: %v", rv, err)
		}
	}
	r.Confirm(time.Now(), 1000)
	if err := r.Check(claimsAt(2000), "kid"); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("it left with the floor: %v", err)
	}
}

func TestGapInTheLogIsRefused(t *testing.T) {
	r := tokens.NewRevocations(time.Minute)
	r.Start(nil, 10, 1)
	cut := func(p uint64) tokens.Entry {
		return tokens.Entry{Position: p, Subject: tokens.Client("client"), Kind: tokens.Cut}
	}
	if err := r.Apply([]tokens.Entry{cut(9), cut(10), cut(11), cut(13)}); err == nil || r.Watermark() != 11 {
		t.Errorf("after a gap: watermark %d, error %v", r.Watermark(), err)
	}
}

// TestLeaseEndsWithoutEvidence walks the life of a view on a fake clock.
func TestLeaseEndsWithoutEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tokens.NewRevocations(10 * time.Second)
		stale := func(want bool, when string) {
			t.Helper()
			if err := r.Check(claimsAt(100), "kid"); errors.Is(err, tokens.ErrStale) != want {
				t.Errorf("%s: %v, want stale %v", when, err, want)
			}
		}
		stale(true, "nothing was ever known")
		r.Start(nil, 100, 1)
		stale(true, "a snapshot alone renews nothing")
		r.Confirm(time.Now(), 1)
		stale(false, "confirmed")
		time.Sleep(10 * time.Second)
		stale(false, "at the lease")
		time.Sleep(time.Millisecond)
		stale(true, "past the lease")
		r.Confirm(time.Now().Add(-20*time.Second), 1)
		stale(true, "old evidence renews nothing")
		r.Confirm(time.Now().Add(time.Hour), 1)
		stale(true, "evidence from the future")
		r.Confirm(time.Now(), 1)
		stale(false, "contact is back")
		r.Confirm(time.Now().Add(-9*time.Second), 1)
		time.Sleep(5 * time.Second)
		stale(false, "older evidence never shortens")
		r.Forget()
		stale(true, "the session ended")
	})
}

// TestRevokedIsSaidEvenWhenStale: what is known to be revoked stays 401.
func TestRevokedIsSaidEvenWhenStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tokens.NewRevocations(time.Second)
		r.Start([]tokens.Entry{{Position: 50, Subject: tokens.Client("client"), Kind: tokens.Cut}}, 60, 1)
		r.Confirm(time.Now(), 1)
		time.Sleep(time.Minute)
		if err := r.Check(claimsAt(10), "kid"); !errors.Is(err, tokens.ErrRevoked) {
			t.Error(err)
		}
	})
}

// TestCheckNeverAcceptsWhatWasConfirmedAsCut races checks against a feed: once
// the feed's Apply has returned, no check that begins later passes.
func TestCheckNeverAcceptsWhatWasConfirmedAsCut(t *testing.T) {
	r := tokens.NewRevocations(time.Minute)
	r.Start(nil, 1, 1)
	r.Confirm(time.Now(), 1)
	position := uint64(1)
	for range 2000 {
		position++
		accepted := make(chan bool)
		applied := make(chan struct{})
		go func() {
			<-applied
			accepted <- r.Check(claimsAt(position-1), "kid") == nil
		}()
		if err := r.Apply([]tokens.Entry{{Position: position, Subject: tokens.Client("client"), Kind: tokens.Cut}}); err != nil {
			t.Fatal(err)
		}
		close(applied)
		if rand.IntN(2) == 0 {
			r.Confirm(time.Now(), position-1)
		}
		if <-accepted {
			t.Fatalf("cut at %d was accepted after it was applied", position)
		}
	}
}
