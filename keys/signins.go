package keys

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/imara/apikeys/tokens"
)

// Who signed in, and who tried to, stands in the server's own log: an account is a person,
// not an organization's. What somebody can cause without end is counted, and written once
// a minute: failures, and what one account does again within that minute. So a flood is at
// most [maxSignIns] entries a minute, and the last minute of a process that dies is lost.
// Failures name the account only where there is one: what a stranger typed as an address
// may be a password.
//
// Rejected: the log of each organization of the account. It would tell each of them when
// the person works for another.

// A signIn is what is counted together.
type signIn struct {
	action                         Action
	email, client, address, family string
}

type counted struct {
	n    int
	last time.Time
}

var signInActions = []Action{"account.sign_in", "account.sign_in_failed", "account.sign_out", "account.step_up"}

// signIns counts. The zero value is ready.
type signIns struct {
	mu sync.Mutex
	of map[signIn]counted
}

const (
	maxSignIns   = 20  // entries of a minute
	maxCounted   = 500 // kept apart; what comes then is counted together
	signInsEvery = time.Minute
)

// add counts one, and tells whether it is the first of its kind. What is to be written at
// once begins at none.
func (s *signIns) add(k signIn, n int) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[signIn]counted)
	}
	c, there := s.of[k]
	if !there && len(s.of) >= maxCounted {
		k = signIn{action: k.action}
		c, there = s.of[k]
		n = 1
	}
	if there {
		n = 1
	}
	s.of[k] = counted{c.n + n, now()}
	return !there && n == 0
}

// take returns what was counted, the most frequent first, and begins again.
func (s *signIns) take() (list []signIn, of map[signIn]counted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of, s.of = s.of, nil
	maps.DeleteFunc(of, func(_ signIn, c counted) bool { return c.n == 0 })
	return slices.SortedFunc(maps.Keys(of), func(a, b signIn) int {
		return cmp.Or(cmp.Compare(of[b].n, of[a].n), cmp.Compare(a.email, b.email), cmp.Compare(a.address, b.address))
	}), of
}

// signedIn records a sign-in, step-up or sign-out of an account.
func (r *Registry) signedIn(ctx context.Context, by Actor, action Action, email string) error {
	k := signIn{action, email, by.ClientID, by.Address, by.Agent}
	if !r.signIns.add(k, 0) {
		return nil
	}
	return r.writeSignIn(ctx, by, k, counted{})
}

// outcome records what became of a sign-in with a password, and returns its error.
func (r *Registry) outcome(ctx context.Context, by Actor, action Action, email string, err error) error {
	email = canonical(email)
	switch {
	case err == nil:
		return r.signedIn(ctx, by, action, email)
	case errors.Is(err, ErrCredentials), errors.Is(err, ErrTooManyTries):
		r.SignInFailed(by, email)
	}
	return err
}

// SignInFailed records that somebody was refused who wanted to sign in; email is empty
// where nobody said as whom.
func (r *Registry) SignInFailed(by Actor, email string) {
	email = email[:min(len(email), 254)]
	r.signIns.add(signIn{"account.sign_in_failed", email, by.ClientID, by.Address, by.Agent}, 1)
}

// RecordSignIns writes what was counted every minute until ctx ends, and then what is left.
func (r *Registry) RecordSignIns(ctx context.Context, failed func(error)) {
	tick := time.NewTicker(signInsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := r.FlushSignIns(ctx); err != nil && ctx.Err() == nil {
				failed(err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := r.FlushSignIns(last); err != nil {
				failed(err)
			}
			return
		}
	}
}

// FlushSignIns writes what was counted, at most [maxSignIns] entries, the last of which
// has what is beyond. What cannot be written is lost.
func (r *Registry) FlushSignIns(ctx context.Context) error {
	list, of := r.signIns.take()
	merged := make(map[signIn]counted)
	var order []signIn
	for _, k := range list {
		c := of[k]
		if _, err := r.config.Store.Account(ctx, k.email); errors.Is(err, ErrNotFound) {
			k.email = "" // nobody's: all of them from one address are together
		} else if err != nil {
			return err
		}
		if len(order) >= maxSignIns-len(signInActions) && merged[k].n == 0 {
			k = signIn{action: k.action}
		}
		if merged[k].n == 0 {
			order = append(order, k)
		}
		merged[k] = counted{merged[k].n + c.n, latest(merged[k].last, c.last)}
	}
	var errs error
	for _, k := range order {
		by := Actor{ClientID: cmp.Or(k.client, "panel"), Address: k.address, Agent: k.family}
		errs = errors.Join(errs, r.writeSignIn(ctx, by, k, merged[k]))
	}
	return errs
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (r *Registry) writeSignIn(ctx context.Context, by Actor, k signIn, c counted) error {
	entry := by.did(k.action, "", k.email, tokens.Touch, tokens.Organization(""))
	entry.At = c.last
	fields := map[string]string{"agent": k.family}
	if c.n > 0 {
		fields["count"] = strconv.Itoa(c.n)
	}
	entry.Changes = diff(nil, fields)
	commit, err := r.config.Store.Append(ctx, entry)
	if err == nil {
		_, err = r.settle(ctx, by, commit)
	}
	return err
}
