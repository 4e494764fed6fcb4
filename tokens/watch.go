package tokens

import (
	"context"
	"fmt"
	"time"
)

// Watch returns a context that ends when a verifier no longer accepts the token of
// claims, which [Verifier.Verify] or the middleware returned. [context.Cause] then
// wraps one of
//
//   - [ErrRevoked]: a subject of the token was cut. The context has ended, for whoever
//     asks it, before the issuer hears that the cut is applied, and so before the
//     revocation returns. Who waits for Done is woken before that, too; of more than
//     500 at once, the others right after.
//   - [ErrExpired]: exp and the leeway have passed.
//   - [ErrStale]: the view of the revocations is older than the lease, or its session
//     has ended. [Stale.AcceptUntil] is waited for as with a request. Nobody is asked:
//     under [Stale.Introspect] a stream ends at the lease, and so does one that begins
//     while the view is stale.
//
// Claims that are none of a verifier's, or for another audience, end at once with
// [ErrUnknownKey] or [ErrNotForUs].
//
// The end is told, not enforced: whoever goes on to write is not stopped. See
// [Verifier.RequireStream]. The caller must call the returned function when it is
// done; the end of ctx does the same.
func (v *Verifier) Watch(
	ctx context.Context, claims *Claims,
) (context.Context, context.CancelFunc) {
	watched, leave := v.watch(ctx, claims, nil)
	stop := context.AfterFunc(ctx, leave)
	return watched, func() {
		stop()
		leave()
	}
}

// watch is Watch for what is written to s, if it is not nil. Only leave ends it.
func (v *Verifier) watch(
	ctx context.Context, claims *Claims, s *stream,
) (_ context.Context, leave func()) {
	token := verified{claims, claims.kid}
	token.claims = token.own()
	ctx, cancel := context.WithCancelCause(ctx)
	revocations := v.config.Feed.Revocations()
	w := &watcher{
		judge:    func() error { return v.judge(token) },
		subjects: token.claims.subjects(token.kid),
		until:    v.config.Stale.AcceptUntil,
		cancel:   cancel,
		stream:   s,
	}
	if s != nil {
		s.watcher = w
	}
	// First this: a cut that comes later finds the watcher, one that came before is
	// found by the check.
	revocations.watch(w)
	w.look()
	w.await(time.Unix(token.claims.ExpiresAt, 0).Add(v.config.Leeway))
	return watched{ctx, w}, func() {
		revocations.watchers.remove(w)
		w.leave()
	}
}

// judge decides about a token that was accepted before, as about one that comes now.
func (v *Verifier) judge(t verified) error {
	if t.kid == "" {
		return fmt.Errorf("%w: the claims are not those that a verifier returned", ErrUnknownKey)
	}
	if err := v.admit(t); err != nil {
		return err
	}
	return v.current(t)
}

// watched is a context that asks before it answers: it has ended as soon as the view
// says so. Those who wait for its channel are woken by tell.
type watched struct {
	context.Context
	watcher *watcher
}

func (c watched) ask() {
	if c.Context.Err() == nil {
		c.watcher.look()
	}
}

func (c watched) Done() <-chan struct{} {
	c.ask()
	return c.Context.Done()
}

func (c watched) Err() error {
	c.ask()
	return c.Context.Err()
}

// Value is also the way that [context.Cause] takes.
func (c watched) Value(key any) any {
	c.ask()
	return c.Context.Value(key)
}
