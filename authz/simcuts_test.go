package authz

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/history"
)

// customers make keys, or secrets, and revoke them, over either server.
func (s *simulation) customers(ctx context.Context) {
	var calls sync.WaitGroup
	for n := 0; ctx.Err() == nil; n++ {
		calls.Go(func() {
			if n%6 == 5 {
				s.secret(fmt.Sprint("key", n))
			} else {
				s.key(fmt.Sprint("key", n))
			}
		})
		time.Sleep(time.Duration(1+s.number(200)) * time.Millisecond)
	}
	calls.Wait()
}

// issue makes a token known to those who check.
func (s *simulation) issue(name string, claims tokens.Claims) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = append(s.tokens, simToken{name, claims})
}

// watermark is the rv of a token that some server issues now.
func (s *simulation) watermark() uint64 {
	return s.server(s.number(2)).relay.revocations.Watermark()
}

// key is one that is revoked soon.
func (s *simulation) key(client string) {
	subject := tokens.Client(client)
	s.issue(string(subject), tokens.Claims{ClientID: client, Position: s.watermark()})
	time.Sleep(time.Duration(50+s.number(400)) * time.Millisecond)
	s.cut(subject, func(ctx context.Context, log *simLog) (keys.Commit, error) {
		return log.Append(ctx, keys.Entry{Kind: tokens.Cut, Subject: subject})
	})
}

// secret is one of two of a key, and ends soon. What was bought with the other lives on, and
// no server that authenticates from memory makes a token that outlives the end.
func (s *simulation) secret(client string) {
	old, other := tokens.Credential("old of "+client), tokens.Credential("other of "+client)
	record := &keys.Record{Position: s.watermark(), Key: keys.Key{ClientID: client,
		Credentials: []keys.Credential{{ID: "old of " + client}, {ID: "other of " + client}}}}
	s.issue(string(old), tokens.Claims{ClientID: client, Credential: "old of " + client, Position: record.Position})
	s.issue(string(other), tokens.Claims{ClientID: client, Credential: "other of " + client, Position: record.Position})
	var minting sync.WaitGroup
	minting.Go(func() {
		for range 8 {
			time.Sleep(time.Duration(s.number(400)) * time.Millisecond)
			if rv, current := s.server(s.number(2)).relay.position(record); current {
				s.issue(string(old), tokens.Claims{ClientID: client, Credential: "old of " + client, Position: rv})
			}
		}
	})
	time.Sleep(time.Duration(50+s.number(400)) * time.Millisecond)
	s.cut(old, func(ctx context.Context, log *simLog) (keys.Commit, error) {
		touch := keys.Entry{Kind: tokens.Touch, Subject: tokens.Client(client)}
		return log.Append(ctx, keys.Entry{Kind: tokens.Cut, Subject: old, With: []keys.Entry{touch}})
	})
	minting.Wait()
}

// turnover takes the key from a verifier now and then, with its sessions, and gives it
// another one later.
func (s *simulation) turnover(ctx context.Context) {
	var calls sync.WaitGroup
	for n := 0; ctx.Err() == nil; n++ {
		time.Sleep(time.Duration(500+s.number(2000)) * time.Millisecond)
		v := s.feeds[(n+s.number(2))%len(s.feeds)]
		s.mu.Lock()
		client := v.client
		s.mu.Unlock()
		subject := tokens.Client(client)
		s.issue(string(subject), tokens.Claims{ClientID: client, Position: s.watermark()})
		time.Sleep(time.Duration(s.number(200)) * time.Millisecond)
		deaf := s.number(2) == 0 // it does not hear of its end
		v.cut.hold(deaf)
		s.history.Revoking(view(client), time.Now())
		calls.Go(func() {
			receipt, settled := s.cut(subject, func(ctx context.Context, log *simLog) (keys.Commit, error) {
				return log.revokeKey(ctx, client)
			})
			if !settled {
				return
			}
			if at, ok := receipt.of(func(x simSession) bool { return x.client == client }); ok {
				s.history.Claimed(view(client), history.Claim{Refuse: map[string]time.Time{v.name: at}})
			}
			s.mu.Lock()
			s.outcomes["key of a verifier"]++
			s.mu.Unlock()
		})
		time.Sleep(time.Duration(s.number(4000)) * time.Millisecond)
		another := fmt.Sprintf("%s, key %d", v.name, n)
		s.admit(another)
		s.mu.Lock()
		v.client = another
		s.mu.Unlock()
		v.cut.hold(false)
	}
	calls.Wait()
}

// cut revokes something over a server, and stays until the receipt is settled: with
// another server, or the same one begun anew, when that dies or its answer is lost.
func (s *simulation) cut(
	subject tokens.Subject, commit func(context.Context, *simLog) (keys.Commit, error),
) (r simReceipt, settled bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	relay := s.server(s.number(2)).relay
	s.history.Revoking(string(subject), time.Now())
	at, err := commit(ctx, relay.config.Log.(*simLog))
	since, sessions := time.Now(), s.vouching()
	var receipt keys.Receipt
	outcome := "heard of at once"
	if err == nil {
		relay.Publish(ctx, at)
		receipt, _ = relay.Confirm(ctx, at)
	} else if at.Position, err = s.store.LastCut(ctx, subject); err != nil {
		s.count("not stored")
		return r, false
	}
	for !receipt.Settled() {
		if time.Since(s.calm) > longestWait+5*time.Second {
			if s.redis.lie == honest {
				s.t.Errorf("%s has no receipt: %+v", subject, receipt)
			}
			s.count("not settled")
			return r, false
		}
		outcome = "handed over"
		time.Sleep(time.Duration(s.number(300)) * time.Millisecond)
		asked, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		receipt, _ = s.server(s.number(2)).relay.Reached(asked, at.Position)
		cancel()
	}
	s.history.Returned(string(subject), time.Now())
	r = simReceipt{receipt, since, sessions()}
	s.history.Claimed(string(subject), r.claim(s.feeds))
	if receipt.Recovered {
		outcome = "recovered"
	}
	s.count(outcome)
	s.count(string(receipt.State))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked++
	return r, true
}

// count counts what became of cuts.
func (s *simulation) count(outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes[outcome]++
}

// vouching returns a function that lists the sessions which vouched for any view between the
// two calls.
func (s *simulation) vouching() func() []simSession {
	listed, _ := s.store.Sessions(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.sessions)
	return func() (list []simSession) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, x := range s.sessions {
			if i >= before || slices.ContainsFunc(listed, func(l keys.Session) bool { return l.ID == x.id }) {
				list = append(list, x)
			}
		}
		return list
	}
}

// simReceipt is a receipt, and the sessions that vouched for any view since a moment
// before the cut.
type simReceipt struct {
	keys.Receipt
	since    time.Time
	sessions []simSession
}

// of is from when on nothing is accepted by some of the sessions, in whole microseconds as
// receipts have it. The receipt says that only if all of them are its members: one that
// left before the members were listed, or joined after, is not.
func (r simReceipt) of(which func(simSession) bool) (at time.Time, ok bool) {
	at = r.since
	for _, x := range r.sessions {
		if !which(x) {
			continue
		}
		i := slices.IndexFunc(r.Members, func(m keys.ReceiptMember) bool { return m.Session.ID == x.id })
		if i < 0 {
			return at, false
		}
		if ok = true; at.Before(r.Members[i].At) {
			at = r.Members[i].At
		}
	}
	return at.Add(time.Microsecond), ok
}

// claim is what the receipt says of verifiers.
func (r simReceipt) claim(verifiers []*simVerifier) history.Claim {
	claim := history.Claim{Since: r.SettledAt.Add(time.Microsecond), Refuse: make(map[string]time.Time)}
	for _, v := range verifiers {
		if at, ok := r.of(func(x simSession) bool { return x.name == v.name }); ok {
			claim.Refuse[v.name] = at
		}
	}
	return claim
}
