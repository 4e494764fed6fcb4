package keys

import (
	"context"
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

	// CreateOrganization stores o, or returns [ErrExists] for its id.
	CreateOrganization(ctx context.Context, o Organization) error
	// Organization returns one.
	Organization(ctx context.Context, id string) (Organization, error)
	// ChangeOrganization holds the organisation, runs change on it as it stands,
	// and stores what change left, with the entry it returned. An error of change
	// is returned as it is, and nothing is stored.
	ChangeOrganization(ctx context.Context, id string, change func(*Organization) (Entry, error)) (Organization, Commit, error)
	// AddMember stores m; [ErrNotFound] for its organisation, [ErrExists] for its id.
	AddMember(ctx context.Context, m Member) error
	// Members returns those of an organisation, the oldest first.
	Members(ctx context.Context, organizationID string) ([]Member, error)

	// PutResource stores r in place of the resource with its audience, whose id it
	// keeps, with the entry. A scope that another resource has is [ErrExists].
	PutResource(ctx context.Context, r Resource, entry Entry) (Commit, error)
	// Resources returns all of them, the oldest first.
	Resources(ctx context.Context) ([]Resource, error)

	// CreateKey holds the key's organisation, counts its keys that are neither
	// revoked nor expired at k.CreatedAt, asks admit, and stores k with its
	// credentials and the entry. An error of admit is returned as it is;
	// [ErrNameTaken] when one of the counted keys has k's name, [ErrExists] for
	// its ids.
	CreateKey(ctx context.Context, k Key, entry Entry, admit func(o Organization, active int) error) (Commit, error)
	// Key returns one of the organisation, with its credentials.
	Key(ctx context.Context, organizationID, id string) (Key, error)
	// Keys returns a page of the organisation's keys, with their credentials. An
	// organisation that does not exist has none.
	Keys(ctx context.Context, organizationID string, page Page) ([]Key, error)
	// ActiveKeys counts as CreateKey does, at time t.
	ActiveKeys(ctx context.Context, organizationID string, t time.Time) (o Organization, active int, err error)
	// ChangeKey holds the organisation, runs change on the key as it stands, and
	// stores what change left, with the entry it returned: scopes, resources, end,
	// suspension, revocation, and credentials: new, with another end, or no longer
	// there. It fills in
	// RevokedPosition when change revokes. An error of change is returned as it
	// is, and nothing is stored. [ErrNameTaken] when the key comes back to the
	// counted ones and its name is taken.
	ChangeKey(ctx context.Context, organizationID, id string, change ChangeKey) (Key, Commit, error)
	// Record returns a client's key, organisation and the log's tip, all of one moment.
	Record(ctx context.Context, clientID string) (*Record, error)
	// UseCredentials raises LastUsedAt of credentials, by id; unknown ids are passed over.
	UseCredentials(ctx context.Context, last map[string]time.Time) error
}

// ChangeKey changes a key of o, which has so many counted keys, and returns the
// entry that tells the world.
type ChangeKey = func(o Organization, active int, k *Key) (Entry, error)

// A Page of a list that is sorted by creation, the newest first.
type Page struct {
	// Limit is how many at most; 0 is all.
	Limit int
	// Status, unless empty, keeps only keys that have it now.
	Status Status
	// BeforeTime and BeforeID are CreatedAt and ID of the last key of the page
	// before; zero for the first page.
	BeforeTime time.Time
	BeforeID   string
}

// An Entry to append to the revocation log. The store gives it its position,
// time and head.
type Entry struct {
	Kind     tokens.Kind
	Subject  tokens.Subject
	Terminal bool
	Actor    string
	Reason   string
}

// A Commit is an entry as the log has it.
type Commit = tokens.Entry
