package keys

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imara/apikeys/tokens"
)

// NewKey is what a customer says of a key to create.
type NewKey struct {
	Name        string
	Description string
	OwnerID     string // a member of the organisation, or empty
	// Preset, unless empty, is the id or name of one whose scopes are added.
	Preset string
	Access
}

// Created is a new key, and the only sight of its secret. A key that waits for
// approval has none yet.
type Created struct {
	Key    Key
	Secret Secret
	// Active keys that the organisation has with this one, of how many.
	Active, Limit int
	// Receipt of a rotation that cut what the old secrets had bought.
	Receipt Receipt
}

// Create makes a key with its first secret, or without one when the
// organisation's policy wants it approved. Errors: [LimitError], [ErrNoAPIAccess],
// [ErrNameTaken], [ErrScope], [ErrLifetime], [ErrForbidden], an [InputError],
// [ErrNotFound] for the organisation. However many creates run at once, a limit is
// never exceeded.
func (r *Registry) Create(ctx context.Context, by Actor, organizationID string, n NewKey) (Created, error) {
	for attempt := 1; ; attempt++ {
		created, err := r.create(ctx, by, organizationID, n)
		if !errors.Is(err, errAgain) || attempt == attempts {
			return created, err
		}
	}
}

// create checks against the organisation that it reads, and creates nothing when it
// is another one by then.
func (r *Registry) create(ctx context.Context, by Actor, organizationID string, n NewKey) (Created, error) {
	o, err := r.config.Store.Organization(ctx, organizationID)
	if err != nil {
		return Created{}, err
	}
	if err := o.MayCreate(by); err != nil {
		return Created{}, err
	}
	if by.Role == Developer && n.OwnerID == "" {
		n.OwnerID = by.MemberID
	}
	if by.Role == Developer && n.OwnerID != by.MemberID {
		return Created{}, fmt.Errorf("%w: a developer creates keys of its own", ErrForbidden)
	}
	if err := r.checkNames(ctx, organizationID, n.Name, n.Description, n.OwnerID); err != nil {
		return Created{}, err
	}
	if err := r.addPreset(ctx, n.Preset, &n.Access); err != nil {
		return Created{}, err
	}
	access, writes, err := r.checkAccess(ctx, by, o, n.Access, nil)
	if err != nil {
		return Created{}, err
	}
	at := now()
	if err := o.Policy.admits(access, at); err != nil {
		return Created{}, err
	}
	key := Key{
		ID:             "key_" + rand.Text(),
		OrganizationID: organizationID,
		ClientID:       clientPrefix + random62(clientIDLength),
		Name:           n.Name,
		Description:    n.Description,
		OwnerID:        n.OwnerID,
		Access:         access,
		CreatedAt:      at,
	}
	var secret Secret
	switch {
	case !o.Policy.Approval || !writes:
		secret = newSecret()
		key.Credentials = []Credential{r.config.Peppers.credential(secret, at)}
	case by.MemberID == "":
		return Created{}, fmt.Errorf("%w: the policy wants a key that writes approved, so a member asks for it", ErrForbidden)
	default:
		key.Pending, key.RequestedBy = true, by.MemberID
	}
	entry := by.did("key.create", organizationID, key.ID, tokens.Touch, tokens.Client(key.ClientID))
	entry.Changes = diff(nil, key.fields())
	created := Created{Key: key, Secret: secret}
	checked := o.Version()
	commit, err := r.config.Store.CreateKey(ctx, key, entry, func(o Organization, active int, e *Entry) error {
		if err := r.admit(o, active); err != nil {
			return err
		}
		if o.Version() != checked {
			return errAgain
		}
		created.Active, created.Limit = active+1, r.Limit(o)
		e.LimitReached = created.Active == created.Limit
		return by.trial()
	})
	if errors.Is(err, errTrial) {
		// What only this run has drawn is nobody's.
		created.Secret, created.Key.ID, created.Key.ClientID, created.Key.Credentials = Secret{}, "", "", nil
		return created, nil
	}
	if err != nil {
		return Created{}, err
	}
	_, err = r.settle(ctx, by, commit)
	return created, err
}

// MayCreate returns nil when the actor's role and the organisation's policy let it
// create keys, else [ErrForbidden].
func (o *Organization) MayCreate(by Actor) error {
	if err := by.May("key.create"); err != nil {
		return err
	}
	if !by.Operator && len(o.Policy.Creators) > 0 && !slices.Contains(o.Policy.Creators, by.Role) {
		return fmt.Errorf("%w: the organisation's policy lets only %v create keys", ErrForbidden, o.Policy.Creators)
	}
	return nil
}

// checkNames checks what people read of a key.
func (r *Registry) checkNames(ctx context.Context, organizationID, name, description, ownerID string) error {
	if err := checkText("name", name, 80); err != nil {
		return err
	}
	if strings.HasPrefix(name, clientPrefix) || strings.HasPrefix(name, "key_") {
		return invalid("name", "it looks like an id")
	}
	if description != "" {
		if err := checkText("description", description, 500); err != nil {
			return err
		}
	}
	if ownerID == "" {
		return nil
	}
	m, err := r.Member(ctx, organizationID, ownerID)
	if errors.Is(err, ErrNotFound) || err == nil && !m.Active() {
		return invalid("owner", "there is no member %q", ownerID)
	}
	return err
}

// Approve lets a key that waits begin; only a member does that. Who asked for it
// then collects its first secret with [Registry.Rotate]. Errors: [ErrNotFound],
// [ErrNotPending], [ErrForbidden] for who asked, be it the member or the client that acted
// for one, and for who acts for no member, [ErrScope] beyond the actor's token.
func (r *Registry) Approve(ctx context.Context, by Actor, organizationID, id string) (Key, error) {
	if by.MemberID == "" {
		return Key{}, fmt.Errorf("%w: a person approves", ErrForbidden)
	}
	waits, err := r.config.Store.Key(ctx, organizationID, id)
	if err != nil {
		return Key{}, err
	}
	if waits.Pending {
		if err := r.mayApprove(ctx, by, &waits); err != nil {
			return Key{}, err
		}
	}
	key, _, err := r.change(ctx, by, "key.approve", organizationID, id, func(_ Organization, _ int, k *Key, _ *Entry) error {
		switch {
		case !k.Pending || !k.Counts(now()):
			return ErrNotPending
		case k.RequestedBy == by.MemberID:
			return fmt.Errorf("%w: who asks for a key does not approve it", ErrForbidden)
		}
		k.Pending = false
		return nil
	})
	return key, err
}

// mayApprove refuses the client that asked for a key, for whichever member it acts now, and
// one whose token may not grant what the key has.
func (r *Registry) mayApprove(ctx context.Context, by Actor, k *Key) error {
	asked, err := r.askedByClient(ctx, by, k)
	switch {
	case err != nil:
		return err
	case asked:
		return fmt.Errorf("%w: the client that asked for a key does not approve it", ErrForbidden)
	}
	return r.allGranted(ctx, k, by.tokenGrants)
}

// askedByClient tells whether the client that acts asked for a key, for whichever member.
// Who is here in person acts with no client.
func (r *Registry) askedByClient(ctx context.Context, by Actor, k *Key) (bool, error) {
	if by.Scopes == nil {
		return false, nil
	}
	made, err := r.config.Store.Events(ctx, k.OrganizationID, EventPage{Action: "key.create", Target: k.ID, Limit: 1})
	return len(made) > 0 && made[0].ClientID == by.ClientID, err
}
