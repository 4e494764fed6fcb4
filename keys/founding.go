package keys

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/imara/apikeys/tokens"
)

// OperatorOrganization is the id of the organisation whose keys may run the server.
const OperatorOrganization = "org_operator"

// A Founding is what the first owner of a server gives.
type Founding struct {
	Organization string // its name
	Name, Email  string // of the owner
	Password     string
	Scopes       []string // of the operator's first key
}

// A Beginning is what a server has once somebody owns it, beside the operator's
// organisation.
type Beginning struct {
	Organization Organization
	Members      []Member // its owner, who is the operator's staff as well
	Account      Account
}

// NewFoundingLink makes the link with which somebody becomes the first owner of a
// server without customers: [ErrExists] when it has one. It works once, for [LinkLife].
func (r *Registry) NewFoundingLink(ctx context.Context, by Actor) (token string, l Link, err error) {
	if err := by.May("account.link"); err != nil {
		return "", Link{}, err
	}
	if err := r.unowned(ctx); err != nil {
		return "", Link{}, err
	}
	return r.addLink(ctx, by, Link{})
}

// unowned returns [ErrExists] when the server has a customer.
func (r *Registry) unowned(ctx context.Context) error {
	list, err := r.config.Store.Organizations(ctx, "", 2)
	for _, o := range list {
		if o.ID != OperatorOrganization {
			return ErrExists
		}
	}
	return err
}

// Found makes the first organisation, on the largest plan, its owner, who signs in,
// and the operator's first key. Of two who use a link at the same time, one founds.
// Errors: [ErrNotFound], an [InputError], [ErrBusy].
//
// The key is made first, so that a server with an owner has one. Who comes too late has
// it revoked; where the process dies between the two, a key remains whose secret nobody
// has seen.
func (r *Registry) Found(ctx context.Context, by Actor, token string, f Founding) (session string, first Created, err error) {
	l, err := r.Link(ctx, token)
	if err == nil && l.Email != "" {
		err = ErrNotFound
	}
	if err != nil {
		return "", Created{}, err
	}
	largest := r.config.Plans[0]
	for _, p := range r.config.Plans {
		if p.MaxKeys > largest.MaxKeys {
			largest = p
		}
	}
	b := Beginning{Organization: Organization{ID: "org_" + rand.Text(), Name: f.Organization, Plan: largest.Name, CreatedAt: now()}}
	if err := checkText("organization", b.Organization.Name, 80); err != nil {
		return "", Created{}, err
	}
	operator := Organization{ID: OperatorOrganization, Name: "Operator", Plan: largest.Name, Operator: true}
	for _, as := range []struct {
		of   Organization
		role Role
	}{{b.Organization, Owner}, {operator, Staff}} {
		m := Member{ID: "mem_" + rand.Text(), OrganizationID: as.of.ID, Name: f.Name, Email: f.Email, Role: as.role,
			CreatedAt: b.Organization.CreatedAt, AcceptedAt: b.Organization.CreatedAt}
		if err := m.check(as.of); err != nil {
			return "", Created{}, err
		}
		b.Members = append(b.Members, m)
	}
	b.Account.Email = b.Members[0].Email
	if b.Account.Password, err = r.newPassword(ctx, by, b.Account.Email, f.Password); err != nil {
		return "", Created{}, err
	}
	if first, err = r.firstKey(ctx, by, operator, f.Scopes); err != nil {
		return "", Created{}, err
	}
	founder := by
	founder.MemberID, founder.Role = b.Members[0].ID, Owner
	entry := founder.did("organization.create", b.Organization.ID, b.Organization.ID, tokens.Touch, tokens.Organization(b.Organization.ID))
	entry.Changes = diff(nil, b.Organization.fields())
	commit, err := r.config.Store.Found(ctx, l.Hash, b, entry)
	if errors.Is(err, ErrNotFound) {
		by.Operator = true
		_, _, late := r.Revoke(ctx, by, operator.ID, first.Key.ID, "somebody else founded the server")
		err = errors.Join(err, late)
	}
	if err != nil {
		return "", Created{}, err
	}
	if _, err := r.settle(ctx, by, commit); err != nil {
		return "", Created{}, err
	}
	if session, err = r.beginSession(ctx, by, b.Account, now()); err != nil {
		return "", first, nil
	}
	return session, first, nil
}

// firstKey makes the operator's organisation, if there is none, and a key of it. Its name
// is its own, so that one which was left behind is not in the way.
func (r *Registry) firstKey(ctx context.Context, by Actor, operator Organization, scopes []string) (Created, error) {
	by.Operator = true
	if _, err := r.CreateOrganization(ctx, by, operator); err != nil && !errors.Is(err, ErrExists) {
		return Created{}, err
	}
	return r.Create(ctx, by, operator.ID, NewKey{Name: "First operator " + rand.Text()[:6], Access: Access{Scopes: scopes}})
}
