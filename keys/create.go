package keys

import (
	"context"
	"crypto/rand"
)

// NewKey is what a customer says of a key to create.
type NewKey struct {
	Name    string
	OwnerID string // a member of the organisation, or empty
	Access
	// GrantRestricted: the caller is the operator, who may grant restricted scopes.
	GrantRestricted bool
}

// Created is a new key, and the only sight of its secret.
type Created struct {
	Key    Key
	Secret Secret
}

// Create makes a key with its first secret. Errors: [LimitError],
// [ErrNoAPIAccess], [ErrNameTaken], an [InputError], [ErrNotFound] for the
// organisation. However many creates run at once, a limit is never exceeded.
func (r *Registry) Create(ctx context.Context, by Actor, organizationID string, n NewKey) (Created, error) {
	if err := checkText("name", n.Name, 80); err != nil {
		return Created{}, err
	}
	o, err := r.config.Store.Organization(ctx, organizationID)
	if err != nil {
		return Created{}, err
	}
	access, err := r.checkAccess(ctx, o, n.Access, func(string) bool { return n.GrantRestricted })
	if err != nil {
		return Created{}, err
	}
	if err := r.checkOwner(ctx, organizationID, n.OwnerID); err != nil {
		return Created{}, err
	}
	secret, at := newSecret(), now()
	key := Key{
		ID:             "key_" + rand.Text(),
		OrganizationID: organizationID,
		ClientID:       clientPrefix + random62(clientIDLength),
		Name:           n.Name,
		OwnerID:        n.OwnerID,
		Access:         access,
		CreatedAt:      at,
		Credentials:    []Credential{r.config.Peppers.credential(secret, at)},
	}
	entry := by.entry(touchClient(key.ClientID, "create"))
	commit, err := r.config.Store.CreateKey(ctx, key, entry, r.admit)
	if err != nil {
		return Created{}, err
	}
	_, err = r.settle(ctx, commit, key.ClientID)
	return Created{key, secret}, err
}

func (r *Registry) checkOwner(ctx context.Context, organizationID, memberID string) error {
	if memberID == "" {
		return nil
	}
	members, err := r.config.Store.Members(ctx, organizationID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.ID == memberID {
			return nil
		}
	}
	return invalid("owner", "there is no member %q", memberID)
}
