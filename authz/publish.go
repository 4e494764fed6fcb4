package authz

import (
	"context"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/redisfeed"
)

// viaRedis is what follows through Redis, not through a server.
const viaRedis = "redis"

// publish runs rounds in Redis until ctx ends: begin, read the database, append
// what the stream lacks, finish. A commit of this process is appended at once,
// without waiting for a round. Whatever fails drops the round; the next is soon.
func (r *Relay) publish(ctx context.Context) {
	published := uint64(0) // where an empty stream begins
	silent := false
	for tick := time.NewTicker(roundInterval); ; {
		err := r.publishRound(ctx, &published)
		if err != nil && ctx.Err() == nil && !silent {
			r.config.Logger.Error("Redis not published to: verifiers there go on over HTTP, or refuse when their leases end", "error", err)
		}
		if err == nil && silent {
			r.config.Logger.Info("Redis is published to again")
		}
		silent = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return
		case commit := <-r.committed:
			if err := r.appendNew(ctx, &published, commit); err != nil && ctx.Err() == nil {
				r.config.Logger.Warn("entry not published at once", "error", err)
			}
		}
	}
}

func (r *Relay) publishRound(ctx context.Context, published *uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 2*redisfeed.Timeout)
	defer cancel()
	round, err := r.config.Publisher.Start(ctx)
	if err != nil {
		return err
	}
	page, err := r.copy(ctx, published)
	if err != nil {
		return err
	}
	return r.config.Publisher.Finish(ctx, round, page.Tip, page.Floor, page.Head)
}

// appendNew appends what was committed since the last round: without a look at the
// database when the commit is the next entry. It asks Redis nothing: a round finds
// out what is not as it was.
func (r *Relay) appendNew(ctx context.Context, published *uint64, commit keys.Commit) error {
	if *published == 0 || commit.Through <= *published {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, redisfeed.Timeout)
	defer cancel()
	if alone := commit.Through == commit.Position; alone && commit.Position == *published+1 && commit.Before != 0 {
		if err := r.config.Publisher.Append(ctx, commit.Before, []tokens.Entry{commit.Entry}); err != nil {
			return err
		}
		*published = commit.Position
		return nil
	}
	page, err := r.config.Log.Read(ctx, *published, pageLimit)
	if err != nil || len(page.Entries) == 0 {
		return err
	}
	if err := r.config.Publisher.Append(ctx, page.Head, page.Entries); err != nil {
		return err
	}
	*published = page.Entries[len(page.Entries)-1].Position
	return nil
}

// copy appends what the stream lacks. It returns the database's tip, with the
// head of the entry there, and floor.
func (r *Relay) copy(ctx context.Context, published *uint64) (page keys.LogPage, err error) {
	top, head, err := r.config.Publisher.Top(ctx)
	if err != nil {
		return page, err // a foreign stream among them: it is not ours to delete
	}
	from := top
	if top == 0 {
		from = *published
	}
	for first := true; ; first = false {
		if page, err = r.config.Log.Read(ctx, from, pageLimit); err != nil {
			return page, err
		}
		switch {
		case from == 0:
			// Nobody knows where the stream ended: it begins after the tip. Whoever
			// lacks an entry finds that out and joins again.
			from = page.Tip
			continue
		case page.Tip < from, first && top > 0 && page.Head != head, page.Tip > from && (len(page.Entries) == 0 || page.Entries[0].Position != from+1):
			r.config.Logger.Error("Redis holds the log of another database; it is replaced", "position", top)
			*published = page.Tip
			return page, r.config.Publisher.Reset(ctx)
		}
		if err := r.config.Publisher.Append(ctx, page.Head, page.Entries); err != nil {
			return page, err
		}
		if n := len(page.Entries); n > 0 {
			from, page.Head = page.Entries[n-1].Position, page.Entries[n-1].Head
		}
		*published = max(*published, from)
		if from >= page.Tip {
			return page, nil
		}
	}
}

// overRedis adds to sessions what those that follow over Redis have applied, and
// their last poll. It returns whether it knows: without Redis, silence there says
// nothing.
func (r *Relay) overRedis(ctx context.Context, sessions []keys.Session) bool {
	if r.config.Publisher == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, redisfeed.Timeout)
	defer cancel()
	progress, err := r.config.Publisher.Progress(ctx, idsOverRedis(sessions))
	if err != nil {
		return false // then their leases are waited for
	}
	for i, s := range sessions {
		if p, ok := progress[s.ID]; ok && s.Via == viaRedis {
			sessions[i].Applied, sessions[i].AppliedHead, sessions[i].Poll = p.Applied, p.Head, p.Poll
		}
	}
	return r.unsealed(ctx, sessions) == nil
}

func idsOverRedis(sessions []keys.Session) (ids []string) {
	for _, s := range sessions {
		if s.Via == viaRedis {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// unsealed adds what sessions from before protocol 2 say there: a position without a head.
func (r *Relay) unsealed(ctx context.Context, sessions []keys.Session) error {
	var old []string
	for _, s := range sessions {
		if s.Via == viaRedis && s.Protocol < httpfeed.Protocol {
			old = append(old, s.ID)
		}
	}
	scores, err := r.config.Publisher.Scores(ctx, old)
	for i, s := range sessions {
		if at, ok := scores[s.ID]; ok {
			sessions[i].Applied = at
		}
	}
	return err
}

// acknowledged adds to sessions what those that follow over Redis have applied, if
// that may have changed since it was called with the same acks.
func (r *Relay) acknowledged(ctx context.Context, sessions []keys.Session, acks *redisfeed.Acks) {
	if r.config.Publisher == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, redisfeed.Timeout)
	defer cancel()
	applied, err := r.config.Publisher.Applied(ctx, idsOverRedis(sessions), acks)
	for i, s := range sessions {
		if s.Via == viaRedis && applied != nil {
			sessions[i].Applied, sessions[i].AppliedHead = applied[s.ID].Applied, applied[s.ID].Head
		}
	}
	if err == nil {
		err = r.unsealed(ctx, sessions)
	}
	if err != nil {
		if !r.deaf.Swap(true) {
			r.config.Logger.Error("acknowledgements not read from Redis: revocations wait for leases", "error", err)
		}
		return
	}
	r.deaf.Store(false)
}
