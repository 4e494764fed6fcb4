package keys

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"

	"github.com/imara/apikeys/tokens"
)

// Log is the revocation log, and the list of those who must confirm a cut.
// Positions are gapless and in the order of the commits; a reader that sees the
// tip n sees exactly the entries up to n that are above the floor.
type Log interface {
	Receipts

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

	// RaiseProtocol makes cuts of secrets be about the secrets: every verifier has known
	// such subjects for as long as a token lives. A session of an earlier protocol that
	// joins takes that back.
	RaiseProtocol(ctx context.Context) error
	// RestoredWaited says that the restore at a position has been waited out.
	RestoredWaited(ctx context.Context, position uint64) error

	// Join stores a session. From its commit on, revocations wait for it. The session of a
	// client is admitted by admit, with the client's key as it stands then, and its sessions
	// if they are [Key.Crowded]; those that it returns end with the same commit, with an error
	// nothing is stored.
	// [ErrNotFound] when there is no such client.
	Join(ctx context.Context, s Session, admit AdmitSession) error
	// Strays returns sessions whose keys may not follow the log at time t.
	Strays(ctx context.Context, t time.Time) ([]Session, error)
	// Attach moves a session to another server; [ErrNotFound] when it has ended,
	// or is another client's.
	Attach(ctx context.Context, id, clientID, via string) error
	// Report raises what sessions, by id, have applied, and Beat of the server that
	// says so. Sessions that have ended are passed over; [ErrNotFound] when the server's
	// own has.
	Report(ctx context.Context, server string, applied map[string]Ack) error
	// Leave removes a session; removing it again is no error.
	Leave(ctx context.Context, id string) error
	// Sessions returns all of them.
	Sessions(ctx context.Context) ([]Session, error)
}

// AdmitSession decides about a session of a key, which has others, and returns those of
// them that make room for it.
type AdmitSession = func(k Key, others []Session) (end []Session, err error)

// SessionEnd is the entry that ends a session.
func SessionEnd(s Session, by Actor, reason string) Entry {
	by.IdempotencyKey = ""
	return Entry{Kind: tokens.Cut, Subject: tokens.Session(s.ID), Actor: by, Action: "verifier.retire", Target: s.PublicID(), Reason: reason}
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
	// Restored is the position at which the store was put back from a backup, 0 when it
	// was not, or servers have waited since until no lease from before can be held.
	Restored uint64
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
	// Protocol is that of the join, and Implementation what follows, as name/version.
	Protocol       int
	Implementation string
	// Unproved are the rules, with spaces between them, that it broke when it was
	// examined; [NotExamined] when it was not, empty when it broke none.
	Unproved string
	JoinedAt time.Time
	// Applied is the position up to which it has applied the log, as its server
	// last reported it to the others; 0 when that was another history of the log.
	Applied uint64
	// Beat of a server grows while it lives.
	Beat uint64
	// AppliedHead is of the entry at Applied, and Poll the last sign of life, of one that
	// follows over Redis. They are not stored.
	AppliedHead uint64
	Poll        string
}

// PublicID names the session for people. Nobody can poll with it.
func (s Session) PublicID() string {
	sum := sha256.Sum256([]byte("verifier " + s.ID))
	return "vfr_" + base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:15])
}

// An Ack says up to where somebody has applied the log, and the head of the entry there:
// a position alone does not tell one history from another.
type Ack struct{ Position, Head uint64 }

// NotExamined is what a session broke that joined without an examination.
const NotExamined = "protocol"

// Broken is Unproved as a list, which is empty and not nil for one that is proved.
func (s Session) Broken() []string { return strings.Fields(s.Unproved) }

// Examined tells whether it took the examination.
func (s Session) Examined() bool { return s.Unproved != NotExamined }

// Server tells whether the session is a server's own.
func (s Session) Server() bool { return s.Via == s.ID }

// A Relay carries committed entries to the verifiers.
type Relay interface {
	// Publish returns when this server has applied the log up to a commit, or does
	// not get to it in about a second: then it will.
	Publish(ctx context.Context, at Commit)
	// Confirm returns the receipt of a cut that was just committed, once it is settled and
	// stored. When ctx ends first, or this server is about to stop, the receipt is
	// [Waiting], and the wait goes on without the caller. [ErrLost] when the store lost
	// the change.
	Confirm(ctx context.Context, at Commit) (Receipt, error)
	// Reached is Confirm for a cut that was made before, here or elsewhere.
	Reached(ctx context.Context, position uint64) (Receipt, error)
}
