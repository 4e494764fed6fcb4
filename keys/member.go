package keys

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/imara/apikeys/tokens"
)

// A Member is a person in an organisation, or one who is invited: without rights there
// until the person accepts ([Registry.Accept]).
type Member struct {
	ID             string
	OrganizationID string
	Name           string
	Email          string // in lower case
	Role           Role
	CreatedAt      time.Time
	AcceptedAt     time.Time // zero: invited
	RemovedAt      time.Time // zero: a member, or invited
	// Heir took over so many keys of one that was removed. These are not stored.
	Heir       string
	HandedKeys int
}

func (m *Member) fields() map[string]string {
	f := map[string]string{"name": m.Name, "email": m.Email, "role": string(m.Role)}
	if !m.AcceptedAt.IsZero() {
		f["accepted_at"] = stamp(m.AcceptedAt)
	}
	if !m.RemovedAt.IsZero() {
		f["removed_at"] = stamp(m.RemovedAt)
	}
	if m.Heir != "" {
		f["keys_go_to"] = fmt.Sprintf("%s (%d keys)", m.Heir, m.HandedKeys)
	}
	return f
}

// Active tells whether the person is a member now: accepted, and not removed.
func (m *Member) Active() bool { return !m.AcceptedAt.IsZero() && m.RemovedAt.IsZero() }

// Version changes whenever the member does.
func (m *Member) Version() string { return version(m.fields()) }

func (m *Member) check(o Organization) error {
	if err := checkText("name", m.Name, 80); err != nil {
		return err
	}
	if !m.Role.Of(o) {
		return invalid("role", "there is no role %q here", m.Role)
	}
	if err := checkText("email", m.Email, 254); err != nil {
		return err
	}
	// One address has one spelling: no display name, no comment, no case.
	address, err := mail.ParseAddress(m.Email)
	if err != nil || address.Address != m.Email || strings.Count(m.Email, "@") != 1 || len(m.Email) > 254 {
		return invalid("email", "use a plain address such as ann@example.com")
	}
	m.Email = strings.ToLower(m.Email)
	return nil
}

// AddMember invites a person into an organisation. An empty ID is filled in. With
// AcceptedAt there is no invitation: only the operator knows of people that they agree.
// Errors: [ErrExists] for its id or address, an [InputError], [ErrNotFound], [ErrForbidden].
func (r *Registry) AddMember(ctx context.Context, by Actor, m Member) (Member, error) {
	if !m.AcceptedAt.IsZero() && !by.Operator {
		return Member{}, fmt.Errorf("%w: the person accepts, not whoever invites", ErrForbidden)
	}
	return r.addMember(ctx, by, m)
}

func (r *Registry) addMember(ctx context.Context, by Actor, m Member) (Member, error) {
	if err := by.May("member.add"); err != nil {
		return Member{}, err
	}
	o, err := r.config.Store.Organization(ctx, m.OrganizationID)
	if err != nil {
		return Member{}, err
	}
	if m.ID == "" && !by.DryRun {
		m.ID = "mem_" + rand.Text()
	}
	if err := m.check(o); err != nil {
		return Member{}, err
	}
	m.CreatedAt = now()
	if !m.AcceptedAt.IsZero() {
		m.AcceptedAt = m.CreatedAt
	}
	entry := by.did("member.add", o.ID, m.ID, tokens.Touch, tokens.Organization(o.ID))
	entry.Changes = diff(nil, m.fields())
	if by.DryRun {
		return m, r.isFree(ctx, m)
	}
	commit, err := r.config.Store.AddMember(ctx, m, entry)
	if err != nil {
		return Member{}, err
	}
	_, err = r.settle(ctx, by, commit)
	return m, err
}

// isFree returns [ErrExists] for a member whose address another one of the organisation has.
func (r *Registry) isFree(ctx context.Context, m Member) error {
	all, err := r.config.Store.Members(ctx, m.OrganizationID)
	for _, other := range all {
		if other.Email == m.Email && other.RemovedAt.IsZero() {
			return ErrExists
		}
	}
	return err
}

// Members returns those of an organisation, the oldest first, and who is invited or was
// removed.
func (r *Registry) Members(ctx context.Context, organizationID string) ([]Member, error) {
	return r.config.Store.Members(ctx, organizationID)
}

// Member returns one that was not removed, or is invited; or [ErrNotFound].
func (r *Registry) Member(ctx context.Context, organizationID, id string) (Member, error) {
	members, err := r.config.Store.Members(ctx, organizationID)
	for _, m := range members {
		if m.ID == id && m.RemovedAt.IsZero() {
			return m, nil
		}
	}
	if err == nil {
		err = ErrNotFound
	}
	return Member{}, err
}

// MemberAnywhere returns one that was not removed, of whatever organisation, or
// [ErrNotFound]. It is for callers that may act on every organisation.
func (r *Registry) MemberAnywhere(ctx context.Context, id string) (Member, error) {
	m, err := r.config.Store.Member(ctx, id)
	if err == nil && !m.RemovedAt.IsZero() {
		return Member{}, ErrNotFound
	}
	return m, err
}

// EditMember lets edit change the name and role of a member. Errors: [ErrNotFound],
// [ErrLastOwner], an [InputError].
func (r *Registry) EditMember(ctx context.Context, by Actor, organizationID, id string, edit func(*Member)) (Member, error) {
	return r.changeMember(ctx, by, "member.edit", organizationID, id, func(o Organization, all []Member, _ int, m *Member) error {
		edited := *m
		edit(&edited)
		m.Name, m.Role = edited.Name, edited.Role
		if err := m.check(o); err != nil {
			return err
		}
		return keepOwner(all, m)
	})
}

// RemoveMember ends a membership. The member's keys that are not revoked go to
// heir. Errors: [ErrOwnsKeys] when there are such keys and heir is empty,
// [ErrLastOwner], [ErrNotFound], an [InputError].
func (r *Registry) RemoveMember(ctx context.Context, by Actor, organizationID, id, heir string) (Member, error) {
	return r.changeMember(ctx, by, "member.remove", organizationID, id, func(o Organization, all []Member, owned int, m *Member) error {
		m.RemovedAt, m.Heir, m.HandedKeys = now(), heir, owned
		if heir != "" && (heir == id || !isMember(all, heir)) {
			return invalid("keys_go_to", "there is no other member %q", heir)
		}
		if err := keepOwner(all, m); err != nil {
			return err
		}
		if heir == "" && owned > 0 {
			return ErrOwnsKeys
		}
		return nil
	})
}

func isMember(all []Member, id string) bool {
	for _, m := range all {
		if m.ID == id && m.Active() {
			return true
		}
	}
	return false
}

// keepOwner refuses to leave a customer without an Owner, or the operator without Staff.
func keepOwner(all []Member, changed *Member) error {
	for _, role := range []Role{Owner, Staff} {
		had, has := false, false
		for _, m := range all {
			had = had || m.Role == role && m.Active()
			if m.ID == changed.ID {
				m = *changed
			}
			has = has || m.Role == role && m.Active()
		}
		if had && !has {
			return ErrLastOwner
		}
	}
	return nil
}

func (r *Registry) changeMember(ctx context.Context, by Actor, action Action, organizationID, id string, f func(Organization, []Member, int, *Member) error) (Member, error) {
	if err := by.May(action); err != nil {
		return Member{}, err
	}
	var would Member
	m, commit, err := r.config.Store.ChangeMember(ctx, organizationID, id, func(o Organization, all []Member, owned int, m *Member) (Entry, error) {
		if !m.RemovedAt.IsZero() {
			return Entry{}, ErrNotFound
		}
		if err := by.agree(m.Version()); err != nil {
			return Entry{}, err
		}
		before := m.fields()
		if err := f(o, all, owned, m); err != nil {
			return Entry{}, err
		}
		would = *m
		entry := by.did(action, organizationID, id, tokens.Touch, tokens.Organization(organizationID))
		entry.Changes = diff(before, m.fields())
		return entry, by.trial()
	})
	if errors.Is(err, errTrial) {
		return would, nil
	}
	if err != nil {
		return Member{}, err
	}
	_, err = r.settle(ctx, by, commit)
	return m, err
}
