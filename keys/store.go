package keys

import (
	"cmp"
	"context"
	"math"
	"strings"
	"time"

	"github.com/imara/apikeys/tokens"
)

// A Store keeps organisations, keys and the revocation log. Each method is one
// transaction: it happens wholly or not at all, and what it returned without an
// error survives a crash. Where a method says that it holds an organisation, no
// other one that says so for the same organisation runs meanwhile.
//
// What is not there is [ErrNotFound]; a store that is down, full, read-only or
// busy for too long is [ErrUnavailable]. Times come back as they went in,
// in UTC and microseconds.
type Store interface {
	Log
	Audit
	Accounts

	// CreateOrganization stores o with the entry, or returns [ErrExists] for its id.
	CreateOrganization(ctx context.Context, o Organization, entry Entry) (Commit, error)
	// Organizations returns at most limit of them, in the order of their ids, after one.
	Organizations(ctx context.Context, after string, limit int) ([]Organization, error)
	// Organization returns one.
	Organization(ctx context.Context, id string) (Organization, error)
	// ChangeOrganization holds the organisation, runs change on it as it stands,
	// and stores what change left, with the entry it returned. An error of change
	// is returned as it is, and nothing is stored.
	ChangeOrganization(ctx context.Context, id string, change func(*Organization) (Entry, error)) (Organization, Commit, error)
	// AddMember stores m with the entry; [ErrNotFound] for its organisation,
	// [ErrExists] for its id, and for the address of another member there.
	AddMember(ctx context.Context, m Member, entry Entry) (Commit, error)
	// Members returns those of an organisation, removed ones too, the oldest first.
	Members(ctx context.Context, organizationID string) ([]Member, error)
	// Member returns one of any organisation, a removed one too, or [ErrNotFound].
	Member(ctx context.Context, id string) (Member, error)
	// ChangeMember holds the organisation, runs change on the member as it stands,
	// with all members and how many keys that are not revoked it owns, and stores
	// what change left, with the entry. If it removes the member, these keys go to
	// the heir.
	ChangeMember(ctx context.Context, organizationID, id string, change ChangeMember) (Member, Commit, error)

	// PutResource stores r in place of the resource with its audience, whose id it
	// keeps, with the entry, if agree agrees with the keys that are not revoked and may
	// call it. A scope that another resource has is [ErrExists].
	PutResource(ctx context.Context, r Resource, entry Entry, agree func([]KeyUse) error) (Commit, error)
	// RemoveResource removes one and its scopes, with the entry, if agree agrees with the
	// keys that are not revoked and may call it.
	RemoveResource(ctx context.Context, id string, entry Entry, agree func([]KeyUse) error) (Commit, error)
	// Resources returns all of them, the oldest first.
	Resources(ctx context.Context) ([]Resource, error)
	// PutPreset stores p in place of the one with its id, with the entry.
	PutPreset(ctx context.Context, p Preset, entry Entry) (Commit, error)
	// RemovePreset removes one, with the entry.
	RemovePreset(ctx context.Context, id string, entry Entry) (Commit, error)
	// Presets returns all of them, by name.
	Presets(ctx context.Context) ([]Preset, error)

	// SigningKeys returns all keys that sign tokens, withdrawn ones too.
	SigningKeys(ctx context.Context) ([]SigningKey, error)
	// ChangeSigningKeys stores what c changes, with the entry. It stores nothing and
	// returns [ErrExists] when another key replaces c.New.Replaces, c.Activate is not
	// there or active, or entry is a terminal cut and c.ID has one; [ErrNotFound] when
	// it is one and c.ID is not there.
	ChangeSigningKeys(ctx context.Context, c SigningChange, entry Entry) (Commit, error)

	// CreateKey holds the key's organisation, counts its keys that are neither
	// revoked nor expired at k.CreatedAt, asks admit, which may change the entry, and
	// stores k with its credentials and the entry. [ErrNameTaken] when one of the counted keys has k's
	// name, before admit is asked; an error of admit is returned as it is;
	// [ErrExists] for its ids.
	CreateKey(ctx context.Context, k Key, entry Entry, admit func(o Organization, active int, e *Entry) error) (Commit, error)
	// Key returns one of the organisation, by its id or client id, with its credentials.
	Key(ctx context.Context, organizationID, id string) (Key, error)
	// KeyOfCredential returns the key that has a credential.
	KeyOfCredential(ctx context.Context, credentialID string) (Key, error)
	// Keys returns a page of the organisation's keys, with their credentials. An
	// organisation that does not exist has none.
	Keys(ctx context.Context, organizationID string, page Page) ([]Key, error)
	// ActiveKeys counts as CreateKey does, at time t.
	ActiveKeys(ctx context.Context, organizationID string, t time.Time) (o Organization, active int, err error)
	// ChangeKey holds the organisation, runs change on the key as it stands, and
	// stores what change left, with the entry it returned: all but its ids and when
	// it was created, and credentials: new, with another end, or no longer there. It
	// fills in RevokedPosition when change revokes. An error of change is returned as
	// it is, and nothing is stored. [ErrNameTaken] when the key has a new name, or
	// comes back to the counted ones, and one of these has its name.
	ChangeKey(ctx context.Context, organizationID, id string, change ChangeKey) (Key, Commit, error)
	// Record returns a client's key, organisation and the log's tip, all of one moment;
	// those of the client decoy where there is no such client, in the same time.
	Record(ctx context.Context, clientID, decoy string) (*Record, error)

	// Ending returns keys that are not revoked and expire after one time and not after
	// another, at most a thousand, without their credentials.
	Ending(ctx context.Context, after, until time.Time) ([]Key, error)

	// AddWebhook holds the organisation, asks admit with how many it has, and stores w
	// with the entry; [ErrNotFound] for its organisation.
	AddWebhook(ctx context.Context, w Webhook, entry Entry, admit func(others int) error) (Commit, error)
	// Webhooks returns those of an organisation, the oldest first.
	Webhooks(ctx context.Context, organizationID string) ([]Webhook, error)
	// RemoveWebhook removes one and its deliveries, with the entry.
	RemoveWebhook(ctx context.Context, organizationID, id string, entry Entry) (Commit, error)
	// DueDeliveries returns pending deliveries whose next attempt is due at time t, at
	// most limit, at most one of an organisation and none of those that are busy, and
	// makes them due at next. Two callers get different ones.
	DueDeliveries(ctx context.Context, t, next time.Time, limit int, busy []string) ([]Delivery, error)
	// Delivered stores State, Attempts, NextAt, TriedAt, Status and Error of a delivery.
	Delivered(ctx context.Context, d Delivery) error
	// Deliveries returns those of a webhook, the newest first, before one of them.
	Deliveries(ctx context.Context, webhookID, before string, limit int) ([]Delivery, error)
	// Redeliver makes a delivery pending and due at time t, without attempts.
	Redeliver(ctx context.Context, webhookID, id string, t time.Time) error

	// AddUsage raises LastUsedAt of credentials, sets FirstUsedAt of those that have
	// none, raises the last use of scopes, and adds to counts and attempts. What is
	// about nothing that is there is passed over.
	AddUsage(ctx context.Context, u Usage) error
	// PruneUsage forgets counts of hours before one time, and attempts, and deliveries
	// that are not pending, whose last was before another.
	PruneUsage(ctx context.Context, counts, attempts time.Time) error
	// Usage returns the counts of an organisation's keys, or of one, from an hour on,
	// summed by hours or days, the oldest first.
	Usage(ctx context.Context, organizationID, keyID string, since time.Time, by time.Duration) ([]UsageRow, error)
	// Attempts returns those of a key, the newest first, at most a hundred.
	Attempts(ctx context.Context, organizationID, keyID string) ([]AttemptRow, error)
	// ScopeUses returns the last use of each scope of an organisation's keys.
	ScopeUses(ctx context.Context, organizationID string) (map[ScopeUse]time.Time, error)
}

// ChangeKey changes a key of o, which has so many counted keys, and returns the
// entry that tells the world.
type ChangeKey = func(o Organization, active int, k *Key) (Entry, error)

// ChangeMember changes a member of o and returns the entry that tells the world.
type ChangeMember = func(o Organization, all []Member, owned int, m *Member) (Entry, error)

// A KeyUse is a key that may call a resource, with all its scopes.
type KeyUse struct {
	ID, OrganizationID string
	Scopes             []string
}

// A Page selects keys. Its zero value is all of them, the newest first.
type Page struct {
	// Limit is how many at most; 0 is all.
	Limit int
	// The next, unless empty, keep only keys that have this status now, this scope,
	// this owner, this in their name or client id, or were not used since.
	Status Status
	// Counting keeps only keys that count for the plan now.
	Counting    bool
	Scope       string
	OwnerID     string
	Text        string
	UnusedSince time.Time
	// Order of the list; empty is [ByCreation].
	Order Order
	// Ascending has the smallest first.
	Ascending bool
	// After is the key with which the page before ended; nil for the first page.
	After *Mark
}

// An Order of keys, by a field of theirs.
type Order string

// The orders. Keys that are equal in it are in the order of their ids.
const (
	ByCreation Order = "created_at"
	ByName     Order = "name" // case and width do not matter
	ByUse      Order = "last_used_at"
	ByEnd      Order = "expires_at" // those that do not expire are the last to do so
)

// A Mark is a key's place in an order: text for [ByName], else microseconds.
type Mark struct {
	Text   string
	Micros int64
	ID     string
}

// Mark is where k stands in an order.
func (k *Key) Mark(order Order) Mark {
	m := Mark{ID: k.ID}
	switch order {
	case ByName:
		m.Text = NameKey(k.Name)
	case ByUse:
		if last := k.LastUsedAt(); !last.IsZero() {
			m.Micros = last.UnixMicro()
		}
	case ByEnd:
		m.Micros = math.MaxInt64
		if !k.ExpiresAt.IsZero() {
			m.Micros = k.ExpiresAt.UnixMicro()
		}
	default:
		m.Micros = k.CreatedAt.UnixMicro()
	}
	return m
}

// Compare puts marks of one order in ascending order.
func (m Mark) Compare(other Mark) int {
	return cmp.Or(strings.Compare(m.Text, other.Text), cmp.Compare(m.Micros, other.Micros), strings.Compare(m.ID, other.ID))
}

// An Entry to append to the log. The store gives it its position, time, head and
// hash, and stores with it a delivery for each of its types and each webhook of its
// organisation that wants it, due at once, unless that has [MaxPending] already.
type Entry struct {
	// Kind, Subject and Terminal are what verifiers are told.
	Kind     tokens.Kind
	Subject  tokens.Subject
	Terminal bool
	// Older, unless empty, is the subject in place of Subject while there may be verifiers
	// that do not know its dimension.
	Older tokens.Subject
	// The others are for the audit log. OrganizationID is whose log it is; empty is
	// the server's own.
	Actor          Actor
	OrganizationID string
	Action         Action
	Target         string
	Reason         string
	Changes        Changes
	// At is when it happened, as what it changes says; zero is when it is committed.
	At time.Time
	// LimitReached: it took the last slot of the plan. For webhooks.
	LimitReached bool
	// EndSessions, unless empty, is a client whose sessions all end with the entry.
	EndSessions string
	// With are entries that commit with this one and stand right after it.
	With []Entry
}

// A Commit is an entry as the log has it, and what committed with it.
type Commit struct {
	tokens.Entry
	// Before is the head of the entry before it; 0 before the first.
	Before uint64
	// Through is the position of the last entry that committed with it, its own when it
	// was alone.
	Through uint64
	// Also are the other cuts among these, but for ends of sessions.
	Also []tokens.Entry
}
