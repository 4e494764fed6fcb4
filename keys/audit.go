package keys

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/imara/apikeys/tokens"
)

// The audit log is the log: each change is one entry, committed with it. The
// entries of an organisation are a chain, in which each has a hash over itself and
// the hash before it. Whoever can write to the database can write a whole new
// chain; the signed [Checkpoint]s that have left it are what shows that.
//
// Rejected: one chain over all organisations. A customer could not check it
// without seeing the others' entries.

// An Audit is the log as the record of who changed what.
type Audit interface {
	// Events returns a page of the organisation's entries. An organisation that does
	// not exist has none; the empty one has those that are about no organisation.
	Events(ctx context.Context, organizationID string, page EventPage) ([]Event, error)
	// CountEvents says how many events a selection has, whatever its limit.
	CountEvents(ctx context.Context, organizationID string, page EventPage) (int, error)
	// Activity sums up the events of all organisations since a time by actor and
	// action, the one that was the last first.
	Activity(ctx context.Context, since time.Time) ([]Activity, error)
	// Heads returns the newest event of each organisation that has one above every
	// checkpoint.
	Heads(ctx context.Context) ([]Event, error)
	// AddCheckpoint stores a checkpoint. One that is there already stays.
	AddCheckpoint(ctx context.Context, c Checkpoint) error
	// Repeated returns the event of a client's change since a time that had this
	// idempotency key, and its request hash.
	Repeated(ctx context.Context, clientID, key string, since time.Time) (Event, string, error)
	// LastCheckpoint returns the newest of an organisation, or [ErrNotFound].
	LastCheckpoint(ctx context.Context, organizationID string) (Checkpoint, error)
	// Checkpoints returns those of an organisation, the oldest first.
	Checkpoints(ctx context.Context, organizationID string) ([]Checkpoint, error)
}

// An EventPage selects events. The zero value is all of them, the oldest first.
type EventPage struct {
	Limit int // 0 is all
	// After keeps those with a higher position, and Before, unless 0, those with a
	// lower one.
	After, Before uint64
	Newest        bool // the newest first
	// The others, unless empty, keep events with exactly this.
	Action       Action
	Target       string
	Actor        string // member or client id
	Kind         tokens.Kind
	Since, Until time.Time
}

// An Event is an entry of the log as the audit log shows it.
type Event struct {
	Position       uint64
	At             time.Time
	OrganizationID string
	Action         Action
	Target         string // id of what was changed
	ClientID       string
	MemberID       string
	RequestID      string
	Address        string
	Reason         string
	Changes        Changes
	Kind           tokens.Kind
	Subject        tokens.Subject
	// Hash is [Event.Sum]; empty when the entry is older than the chain.
	Hash []byte
	// Receipt of a cut, nil for a touch. It comes later, and is not in the hash.
	Receipt *Receipt
}

// ID is how the event is named outside: evt_ and its position.
func (e *Event) ID() string { return "evt_" + strconv.FormatUint(e.Position, 10) }

// Changes are the fields that a change changed, as text and without secrets.
type Changes map[string]Change

// A Change of one field; an empty side means that it was not there.
type Change struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// diff returns what differs.
func diff(from, to map[string]string) Changes {
	changes := Changes{}
	for field, value := range from {
		if to[field] != value {
			changes[field] = Change{value, to[field]}
		}
	}
	for field, value := range to {
		if _, both := from[field]; !both && value != "" {
			changes[field] = Change{"", value}
		}
	}
	return changes
}

// NewEvent is the event of an entry that is committed at a position.
func NewEvent(e Entry, position uint64, t time.Time) Event {
	return Event{Position: position, At: t.UTC().Truncate(time.Microsecond), OrganizationID: e.OrganizationID, Action: e.Action, Target: e.Target,
		ClientID: e.Actor.ClientID, MemberID: e.Actor.MemberID, RequestID: e.Actor.RequestID, Address: e.Actor.Address,
		Reason: e.Reason, Changes: e.Changes, Kind: e.Kind, Subject: e.Subject}
}

// Sum is the SHA-256 of the hash before, empty for the first event, and of each
// field in the order of the struct, changes in the order of their names, every one
// with its length before it: 8 bytes, the highest first. Numbers are decimal, and
// the time is microseconds since 1970.
func (e *Event) Sum(before []byte) []byte {
	texts := []string{fmt.Sprint(e.Position), fmt.Sprint(e.At.UnixMicro()), e.OrganizationID, string(e.Action), e.Target,
		e.ClientID, e.MemberID, e.RequestID, e.Address, e.Reason, fmt.Sprint(len(e.Changes))}
	for _, field := range slices.Sorted(maps.Keys(e.Changes)) {
		texts = append(texts, field, e.Changes[field].From, e.Changes[field].To)
	}
	return link(before, append(texts, string(e.Kind), string(e.Subject))...)
}

// link is the SHA-256 of the hash before and of texts, every one with its length before it.
func link(before []byte, texts ...string) []byte {
	h := sha256.New()
	for _, text := range append([]string{string(before)}, texts...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		h.Write([]byte(text))
	}
	return h.Sum(nil)
}

// Events returns a page of the organisation's audit log.
func (r *Registry) Events(ctx context.Context, organizationID string, page EventPage) ([]Event, error) {
	return r.config.Store.Events(ctx, organizationID, page)
}

// CountEvents says how many events a selection has.
func (r *Registry) CountEvents(ctx context.Context, organizationID string, page EventPage) (int, error) {
	return r.config.Store.CountEvents(ctx, organizationID, page)
}

// Note records something that changes nothing in the store: an export, a new
// signing key.
func (r *Registry) Note(ctx context.Context, by Actor, action Action, organizationID, target string) error {
	if err := by.May(action); err != nil || by.DryRun {
		return err
	}
	commit, err := r.config.Store.Append(ctx, by.did(action, organizationID, target, tokens.Touch, tokens.Organization(organizationID)))
	if err == nil {
		_, err = r.settle(ctx, by, commit)
	}
	return err
}

// Reached returns how far an event that cut has reached, and waits for it as long as the
// actor does. The receipt is zero for one that did not cut.
func (r *Registry) Reached(ctx context.Context, by Actor, e Event) (Receipt, error) {
	if e.Kind != tokens.Cut {
		return Receipt{}, nil
	}
	return r.reached(ctx, by, e.Position)
}

// IdempotencyTime is how long a repeated request is recognised.
const IdempotencyTime = 24 * time.Hour

// Repeated returns what an actor's request did when it came before: the event, and
// whether it was the same request. [ErrNotFound] when it did not come.
func (r *Registry) Repeated(ctx context.Context, by Actor) (_ Event, same bool, err error) {
	e, hash, err := r.config.Store.Repeated(ctx, by.ClientID, by.IdempotencyKey, now().Add(-IdempotencyTime))
	return e, hash == by.RequestHash, err
}
