package httpfeed

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/imara/apikeys/tokens"
)

// Join begins a session that follows over some way, "" being this one. The view of
// the session before serves, and ages, until the new one's first Confirm. After a join
// that was refused it waits as long as the server said.
func (f *Feed) Join(ctx context.Context, over string) (joined Joined, err error) {
	select {
	case <-time.After(time.Until(f.refused)):
	case <-ctx.Done():
		return Joined{}, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, JoinTimeout)
	defer cancel()
	joined, err = f.enroll(ctx, Join{Protocol: Protocol, Name: f.config.Name, Over: over,
		LeaseMS:        f.config.Lease.Milliseconds(),
		AcceptStaleMS:  f.revocations.Waiver().Milliseconds(),
		Implementation: implementation,
		Algorithms:     tokens.Algorithms(),
		Replaces:       cmp.Or(f.vouching, f.newest)})
	if err == nil && (joined.Session == "" || joined.Watermark == 0) {
		err = errors.New("the answer to the join is not a session")
	}
	if err == nil && joined.ended() {
		err = errSession // it was retired while the snapshot was on its way
	}
	if err != nil {
		return Joined{}, err
	}
	if len(joined.Unproved) > 0 {
		f.config.Logger.Error("the server says that this verifier does not refuse what it must",
			"rules", joined.Unproved)
	}
	if newest := f.newest; newest != "" && newest != f.vouching {
		f.leaving.Go(func() { f.leave(newest) }) // it never served
	}
	f.newest = joined.Session
	if f.lease = f.revocations.Grant(joined.Lease()); f.lease < f.config.Lease {
		f.config.Logger.Warn("the server grants a shorter lease, since verifiers of this key fell silent often", "lease", f.lease)
	}
	return joined, nil
}

// implementation says to the server what verifies here.
const implementation = "imara-go/" + tokens.Version

// enroll asks for a session, and answers the examination of a server that examines.
func (f *Feed) enroll(ctx context.Context, join Join) (Joined, error) {
	var answer struct {
		Joined
		Examination *Examination `json:"examination"`
	}
	err := f.ask(ctx, join, &answer)
	if err != nil || answer.Examination == nil {
		return answer.Joined, err
	}
	join.Ticket = answer.Examination.Ticket
	if join.Verdicts, err = answer.Examination.Answer(f.config.Lease); err != nil {
		return Joined{}, err
	}
	var joined Joined
	err = f.ask(ctx, join, &joined)
	return joined, err
}

// ask makes one request of a join.
func (f *Feed) ask(ctx context.Context, join Join, answer any) error {
	body, err := json.Marshal(join)
	if err != nil {
		return err
	}
	err = f.do(ctx, http.MethodPost, "/feed/sessions", body, answer)
	var no *refusal
	if errors.As(err, &no) {
		f.refused = time.Now().Add(no.after)
	}
	return err
}

// A refusal is an answer that stays the same for a while.
type refusal struct {
	error
	after time.Duration
}

// longestRefusal is how long a server may ask a verifier to wait with its next join.
const longestRefusal = time.Minute

// retryAfter reads the seconds of RFC 9110 §10.2.3.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return longestRefusal
	}
	return min(time.Duration(seconds)*time.Second, longestRefusal)
}
