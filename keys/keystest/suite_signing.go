package keystest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// signingKey is one that is not active.
func signingKey(id, replaces string) *keys.SigningKey {
	return &keys.SigningKey{ID: id, Issuer: "https://issuer.example", Algorithm: tokens.ES256, Replaces: replaces,
		CreatedAt: now(), ActiveAt: now().Add(time.Hour), Box: []byte{0, 1, 255}}
}

func (s *suite) changeSigning(kind tokens.Kind, c keys.SigningChange) (keys.Commit, error) {
	return s.ChangeSigningKeys(s.ctx, c, keys.Entry{Kind: kind, Terminal: kind == tokens.Cut,
		Subject: tokens.SigningKey(c.ID), Actor: keys.Program("test"), Action: "signing.test", Target: c.ID})
}

// signing: what changes the keys and is not about them as they are changes nothing.
func signing(t *testing.T, s *suite) {
	first, second := signingKey("a", ""), signingKey("b", "a")
	other := signingKey("c", "")
	other.Algorithm = tokens.RS256
	stored := func(want ...*keys.SigningKey) {
		t.Helper()
		list, err := s.SigningKeys(s.ctx)
		s.must(err)
		got, wanted := map[string]keys.SigningKey{}, map[string]keys.SigningKey{}
		for _, k := range list {
			got[k.ID] = k
		}
		for _, k := range want {
			wanted[k.ID] = *k
		}
		s.same(got, wanted)
	}
	for _, k := range []*keys.SigningKey{first, second, other} {
		s.mustCommit(s.changeSigning(tokens.Touch, keys.SigningChange{ID: k.ID, New: k}))
	}
	stored(first, second, other)
	refused := func(what string, kind tokens.Kind, want error, c keys.SigningChange) {
		t.Helper()
		tip := s.tip()
		if _, err := s.changeSigning(kind, c); !errors.Is(err, want) || s.tip() != tip {
			t.Errorf("%s: %v, %d entries", what, err, s.tip()-tip)
		}
	}
	at, third := now(), signingKey("d", "b")
	activate := func(kid string, add *keys.SigningKey) keys.SigningChange {
		return keys.SigningChange{ID: kid, Activate: kid, At: at, New: add}
	}
	refused("a replaced key", tokens.Touch, keys.ErrExists, activate("b", signingKey("e", "a")))
	refused("nobody's key", tokens.Touch, keys.ErrExists, activate("x", third))
	stored(first, second, other)
	s.mustCommit(s.changeSigning(tokens.Touch, activate("b", third)))
	second.ActiveAt = at
	stored(first, second, other, third)
	refused("an active key", tokens.Touch, keys.ErrExists, activate("b", signingKey("e", "d")))

	refused("a key that is not there", tokens.Cut, keys.ErrNotFound, keys.SigningChange{ID: "x"})
	fourth := signingKey("e", "d")
	commit, err := s.changeSigning(tokens.Cut, keys.SigningChange{ID: "b", Activate: "d", At: at, New: fourth})
	s.must(err)
	second.Withdrawn, third.ActiveAt = commit.Position, at
	stored(first, second, other, third, fourth)
	refused("a withdrawn key", tokens.Cut, keys.ErrExists, keys.SigningChange{ID: "b"})
	s.mustCommit(s.Append(s.ctx, keys.Entry{Kind: tokens.Cut, Subject: tokens.SigningKey("a")}))
	stored(first, second, other, third, fourth) // which was cut, and may sign again
}

// signingOnce: of many that change the same, one does.
func signingOnce(t *testing.T, s *suite) {
	s.mustCommit(s.changeSigning(tokens.Touch, keys.SigningChange{ID: "a", New: signingKey("a", "")}))
	for what, change := range map[string]func(i int) (tokens.Kind, keys.SigningChange){
		"a successor": func(i int) (tokens.Kind, keys.SigningChange) {
			id := fmt.Sprint("b", i)
			return tokens.Touch, keys.SigningChange{ID: id, New: signingKey(id, "a")}
		},
		"a withdrawal": func(int) (tokens.Kind, keys.SigningChange) { return tokens.Cut, keys.SigningChange{ID: "a"} },
	} {
		var all sync.WaitGroup
		var done atomic.Int64
		for i := range 8 {
			all.Go(func() {
				kind, c := change(i)
				if _, err := s.changeSigning(kind, c); err == nil {
					done.Add(1)
				} else if !errors.Is(err, keys.ErrExists) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if done.Load() != 1 {
			t.Errorf("%s: %d succeeded", what, done.Load())
		}
	}
}

func activity(t *testing.T, s *suite) {
	s.organization("org_1")
	s.organization("org_2")
	since := time.Now().Add(-time.Minute)
	did := func(org, client, member string, action keys.Action) {
		e := about(org)
		e.Actor, e.Action = keys.Actor{ClientID: client, MemberID: member}, action
		s.mustCommit(s.Append(s.ctx, e))
	}
	for _, org := range []string{"org_1", "org_2", ""} {
		did(org, "one", "", "key.create")
	}
	did("org_1", "one", "mem_1", "key.create")
	did("org_2", "one", "", "key.revoke")
	found, err := s.Activity(s.ctx, since)
	s.must(err)
	var got []string
	for _, a := range found {
		got = append(got, fmt.Sprint(a.ClientID, " ", a.MemberID, " ", a.Action, " ", a.Count))
		if a.First.Before(since) || a.Last.Before(a.First) || a.Last.After(time.Now()) {
			t.Errorf("%+v", a)
		}
	}
	s.same(got, []string{"one  key.revoke 1", "one mem_1 key.create 1", "one  key.create 3", "test  test.change 2"})
	later, err := s.Activity(s.ctx, time.Now().Add(time.Minute))
	s.must(err)
	s.same(len(later), 0)
}
