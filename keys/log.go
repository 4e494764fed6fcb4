package keys

import (
	"context"
	"time"

	"github.com/imara/apikeys/tokens"
)

// Log is the revocation log, and the list of those who must confirm a cut.
// Positions are gapless and in the order of the commits; a reader that sees the
// tip n sees exactly the entries up to n that are above the floor.
type Log interface {
	// Append commits one entry by itself.
	Append(ctx context.Context, entry Entry) (Commit, error)
	// Read returns at most limit entries after a position, oldest first, and the
	// tip and floor, all of one moment. Head is that of the entry at after, 0
	// when there is none such any more.
	Read(ctx context.Context, after uint64, limit int) (LogPage, error)
	// Snapshot returns the newest cut of each subject above the floor and every
	// terminal one, the watermark up to which that is complete, and the floor, all
	// of one moment.
	Snapshot(ctx context.Context) (LogSnapshot, error)
	// RaiseFloor moves the floor to the newest entry that cannot matter at time t,
	// because every token from before it has expired. The entries stay: with
	// their receipts they are the record of what was revoked.
	RaiseFloor(ctx context.Context, t time.Time) error

	// Receipt returns what Confirmed stored for a position, with the actor and the
	// reason of the entry there.
	Receipt(ctx context.Context, position uint64) (Receipt, error)
	// Confirmed stores receipts for the cuts at their positions, all or none. One that
	// is there already stays.
	Confirmed(ctx context.Context, receipts ...Receipt) error
	// Unconfirmed returns the oldest cuts from before t that have no receipt, at most
	// a thousand, oldest first.
	Unconfirmed(ctx context.Context, t time.Time) (positions []uint64, err error)

	// Join stores a session. From its commit on, revocations wait for it.
	Join(ctx context.Context, s Session) error
	// Attach moves a session to another server; [ErrNotFound] when it has ended,
	// or is another client's.
	Attach(ctx context.Context, id, clientID, via string) error
	// Report raises Applied of sessions, by id, and Beat of the server that says
	// so. Sessions that have ended are passed over; [ErrNotFound] when the server's
	// own has.
	Report(ctx context.Context, server string, applied map[string]uint64) error
	// Leave removes a session; removing it again is no error.
	Leave(ctx context.Context, id string) error
	// Sessions returns all of them.
	Sessions(ctx context.Context) ([]Session, error)
}

// A LogPage is a part of the log.
type LogPage struct {
	Entries    []tokens.Entry
	Tip, Floor uint64
	Head       uint64
}

// A LogSnapshot is what a verifier needs to begin.
type LogSnapshot struct {
	Cuts             []tokens.Entry
	Watermark, Floor uint64
	Head             uint64 // of the entry at Watermark, 0 when there is none
}

// Retention is how long a cut stays in the log: no token from before it is alive
// by then, clocks that differ included.
const Retention = MaxTokenTTL + 5*time.Minute

// A Session is one verifier that follows the log.
type Session struct {
	ID   string
	Name string
	// ClientID is the key that joined; nobody else speaks for the session. A
	// server's own session has none.
	ClientID string
	// Via is the session of the server through which it follows. A server is a
	// verifier too, and follows through itself.
	Via   string
	Lease time.Duration
	// AcceptStale is how old a view its owner lets it use past the lease; 0 when it
	// refuses then.
	AcceptStale time.Duration
	JoinedAt    time.Time
	// Applied is the position up to which it has applied the log, as its server
	// last reported it to the others.
	Applied uint64
	// Beat of a server grows while it lives.
	Beat uint64
	// Poll is the last sign of life of one that follows over Redis. It is not stored.
	Poll string
}

// Server tells whether the session is a server's own.
func (s Session) Server() bool { return s.Via == s.ID }

// A Relay carries committed entries to the verifiers.
type Relay interface {
	// Publish returns when this server has applied the log up to a commit, or does
	// not get to it in about a second: then it will.
	Publish(ctx context.Context, at Commit)
	// Confirm returns when every session has applied the log up to a commit, or has
	// been silent until its lease and a margin had passed since the call; the receipt
	// says so when one of these may accept for longer. The receipt that it returns is
	// stored soon after.
	Confirm(ctx context.Context, at Commit) (Receipt, error)
}
