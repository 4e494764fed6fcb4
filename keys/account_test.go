package keys_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/keys"
)

const password = "correct horse battery staple"

// people is a registry with two members, ann@example.com and bob@example.com.
func people(t *testing.T) *keys.Registry {
	t.Helper()
	r, _ := newRegistry(t, "Professional")
	if _, err := r.AddMember(t.Context(), keys.Program("test"), keys.Member{ID: "mem", OrganizationID: "org", Name: "Ann", Email: "ann@example.com", Role: keys.Owner, AcceptedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddMember(t.Context(), keys.Program("test"), keys.Member{ID: "bob", OrganizationID: "org", Name: "Bob", Email: "bob@example.com", Role: keys.Owner, AcceptedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSessionsAndLinksEndByThemselves: a session after half an hour without a request
// and after twelve hours with many, a link after a day.
func TestSessionsAndLinksEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := people(t)
		link, _, err := r.NewLink(t.Context(), keys.Program("test"), "ann@example.com", "")
		if err != nil {
			t.Fatal(err)
		}
		late, _, err := r.NewLink(t.Context(), keys.Program("test"), "bob@example.com", "")
		if err != nil {
			t.Fatal(err)
		}
		visited := func(session string) error {
			_, err := r.Visitor(t.Context(), session)
			return err
		}
		time.Sleep(keys.LinkLife - time.Second)
		session, err := r.UseLink(t.Context(), keys.Program("test"), link, password)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Link(t.Context(), late); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		for _, token := range []string{link, late, ""} {
			if _, err := r.UseLink(t.Context(), keys.Program("test"), token, password); !errors.Is(err, keys.ErrNotFound) {
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
		session, err = r.SignIn(t.Context(), keys.Program("test"), " Ann@example.com", password, "")
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
