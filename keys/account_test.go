package keys_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/keys"
)

const password = "correct horse battery staple"

// people is a registry with one member, ann@example.com.
func people(t *testing.T) *keys.Registry {
	t.Helper()
	r, _ := newRegistry(t, "Professional")
	if _, err := r.AddMember(t.Context(), keys.Program("test"), keys.Member{ID: "mem", OrganizationID: "org", Name: "Ann", Email: "ann@example.com", Role: keys.Owner}); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSessionsAndLinksEndByThemselves: a session after half an hour without a request
// and after twelve hours with many, a link after a day.
func TestSessionsAndLinksEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := people(t)
		link, _, err := r.NewLink(t.Context(), keys.Program("test"), "ann@example.com")
		if err != nil {
			t.Fatal(err)
		}
		late, _, err := r.NewLink(t.Context(), keys.Program("test"), "ann@example.com")
		if err != nil {
			t.Fatal(err)
		}
		visited := func(session string) error {
			_, err := r.Visitor(t.Context(), session)
			return err
		}
		time.Sleep(keys.LinkLife - time.Second)
		session, err := r.UseLink(t.Context(), link, password)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, token := range []string{link, late, ""} {
			if _, err := r.UseLink(t.Context(), token, password); !errors.Is(err, keys.ErrNotFound) {
				t.Errorf("a link that ended: %v", err)
			}
		}
		time.Sleep(keys.SessionIdle - 2*time.Second)
		if err := visited(session); err != nil {
			t.Error(err)
		}
		time.Sleep(keys.SessionIdle)
		if err := visited(session); !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("idle: %v", err)
		}
		session, err = r.SignIn(t.Context(), " Ann@example.com", password)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for time.Since(begun) < keys.SessionLife {
			if err := visited(session); err != nil {
				t.Fatalf("after %v: %v", time.Since(begun), err)
			}
			time.Sleep(20 * time.Minute)
		}
		if err := visited(session); !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

// TestSignInsAreBounded: of many at once, each is answered or told to come again, and
// a wrong one is always refused.
func TestSignInsAreBounded(t *testing.T) {
	r := people(t)
	var all sync.WaitGroup
	var refused, busy atomic.Int64
	for range 50 {
		all.Go(func() {
			switch _, err := r.SignIn(t.Context(), "ann@example.com", password); {
			case errors.Is(err, keys.ErrCredentials):
				refused.Add(1)
			case errors.Is(err, keys.ErrBusy):
				busy.Add(1)
			default:
				t.Errorf("%v", err)
			}
		})
	}
	all.Wait()
	t.Logf("%d refused, %d busy", refused.Load(), busy.Load())
	if refused.Load() == 0 {
		t.Error("nobody got an answer")
	}
}
