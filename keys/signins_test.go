package keys_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/keys"
)

// signInEvents are the events of an action, with count and agent.
func signInEvents(t *testing.T, r *keys.Registry, action keys.Action) (list []string) {
	t.Helper()
	events, err := r.Events(t.Context(), "", keys.EventPage{Action: action})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		list = append(list, strings.TrimSpace(fmt.Sprint(e.Target, " ", e.Address, " ", e.Changes["agent"].To, " ", e.Changes["count"].To)))
	}
	return list
}

// TestWhoSignsInIsRecorded: each sign-in, step-up and sign-out at once, with where it came
// from; failures within a minute, counted, and by name only where there is such an account.
func TestWhoSignsInIsRecorded(t *testing.T) {
	r := tenants(t)
	invite(t, r, "org", "ann@example.com", keys.Owner)
	if _, err := enter(t, r, link(t, r, "ann@example.com", "org")); err != nil {
		t.Fatal(err)
	}
	by := keys.Actor{ClientID: "panel", Address: "203.0.113.9", Agent: "Firefox"}
	session, err := r.SignIn(t.Context(), by, " Ann@example.com", password, "")
	if err != nil {
		t.Fatal(err)
	}
	if session, err = r.SignInAgain(t.Context(), by, session, "ann@example.com", password); err != nil {
		t.Fatal(err)
	}
	v, err := r.Visitor(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SignOut(t.Context(), by, v, session); err != nil {
		t.Fatal(err)
	}
	for _, email := range []string{"ann@example.com", "ANN@example.com", "eve@example.com", "my password!"} {
		if _, err := r.SignIn(t.Context(), by, email, "wrong", ""); !errors.Is(err, keys.ErrCredentials) {
			t.Fatal(err)
		}
	}
	if got := signInEvents(t, r, "account.sign_in_failed"); len(got) != 0 {
		t.Errorf("written at once: %q", got)
	}
	if err := r.FlushSignIns(t.Context()); err != nil {
		t.Fatal(err)
	}
	for action, want := range map[keys.Action]string{
		"account.sign_in":        "ann@example.com 203.0.113.9 Firefox",
		"account.step_up":        "ann@example.com 203.0.113.9 Firefox",
		"account.sign_out":       "ann@example.com 203.0.113.9 Firefox",
		"account.sign_in_failed": "203.0.113.9 Firefox 2,ann@example.com 203.0.113.9 Firefox 2",
	} {
		got := signInEvents(t, r, action)
		if text := strings.Join(got, ","); text != want && text != "ann@example.com 203.0.113.9 Firefox 2,203.0.113.9 Firefox 2" {
			t.Errorf("%s: %q", action, got)
		}
	}
	sessions, err := r.Sessions(t.Context(), v)
	if err != nil || len(sessions) == 0 || sessions[0].Agent != "Firefox" {
		t.Errorf("%+v %v", sessions, err)
	}
}

// TestAFloodOfSignInsIsAFewEntries: whatever comes, at most twenty a minute, and none of
// the failures is missing from the counts; what one account does again is counted too.
func TestAFloodOfSignInsIsAFewEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tenants(t)
		const flood = 5000
		for i := range flood {
			r.SignInFailed(keys.Actor{ClientID: "panel", Address: fmt.Sprint("203.0.113.", i%250)}, fmt.Sprint("mallory", i, "@example.com"))
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.RecordSignIns(ctx, func(err error) { t.Error(err) })
		}()
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		events, err := r.Events(t.Context(), "", keys.EventPage{Action: "account.sign_in_failed"})
		total := 0
		for _, e := range events {
			n, err := strconv.Atoi(e.Changes["count"].To)
			if err != nil || e.Target != "" {
				t.Errorf("%+v", e)
			}
			total += n
		}
		if err != nil || len(events) > 20 || total != flood {
			t.Errorf("%d entries of %d failures, %v", len(events), total, err)
		}
		r.SignInFailed(keys.Actor{ClientID: "panel"}, "")
		stop()
		<-done
		if n, err := r.CountEvents(t.Context(), "", keys.EventPage{Action: "account.sign_in_failed"}); err != nil || n != len(events)+1 {
			t.Errorf("the last one at the end: %d %v", n, err)
		}

		invite(t, r, "org", "ann@example.com", keys.Owner)
		if _, err := enter(t, r, link(t, r, "ann@example.com", "org")); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if _, err := r.SignIn(t.Context(), keys.Actor{ClientID: "panel"}, "ann@example.com", password, ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.FlushSignIns(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := signInEvents(t, r, "account.sign_in"); len(got) != 2 || got[1] != "ann@example.com   3" {
			t.Errorf("%q", got)
		}
	})
}
