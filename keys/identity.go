package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/tokens"
)

// An Identity is who a provider of single sign-on says that somebody is.
type Identity struct {
	// Issuer and Subject are the person, for the provider; Email can be given to another.
	Issuer, Subject string
	Email, Name     string
	// Roles are those that the provider gives, by organisation; empty where it gives none.
	Roles map[string]Role
	// Again: the person is signed in, and proves once more to be it.
	Again bool
	// ProvedAt is when the person last proved to be it; zero: not known.
	ProvedAt time.Time
}

// Enter begins a session of a person for whom a provider vouches, and makes the
// memberships in the identity's organisations what it says, which accepts those to which
// the person is invited; first those that it ends, so
// that a mistake further on leaves nobody what they have no more. An organisation keeps
// its last Owner, and the operator's its last Staff, whatever the provider says: kept are
// those memberships. Keys of a membership that ends so stay, for the organisation's review
// to find. The account is bound to the identity's subject when it first comes. Errors:
// [ErrSubject], before anything is changed; [ErrForbidden] for who is a member of nothing then, an [InputError],
// [ErrNotFound] for an organisation.
func (r *Registry) Enter(ctx context.Context, by Actor, id Identity) (session string, kept []Member, err error) {
	email := strings.ToLower(strings.TrimSpace(id.Email))
	name := strings.TrimSpace(id.Name)
	if checkText("name", name, 80) != nil {
		name = email[:min(len(email), 80)]
	}
	account, err := r.config.Store.Account(ctx, email)
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return "", nil, err
	case account.Issuer != "" && (account.Issuer != id.Issuer || account.Subject != id.Subject):
		return "", nil, ErrSubject
	}
	members, err := r.config.Store.Memberships(ctx, email)
	if err != nil {
		return "", nil, err
	}
	organizations := slices.Sorted(maps.Keys(id.Roles))
	slices.SortStableFunc(organizations, func(a, b string) int { return cmp.Compare(len(id.Roles[a]), len(id.Roles[b])) }) // those without a role
	for _, organization := range organizations {
		m := Member{OrganizationID: organization, Name: name, Email: email, Role: id.Roles[organization]}
		var err error
		i := slices.IndexFunc(members, func(m Member) bool { return m.OrganizationID == organization })
		switch {
		case i < 0 && m.Role == "":
		case i < 0:
			m.AcceptedAt = now()
			_, err = r.addMember(ctx, by, m)
		case m.Role == "":
			err = r.leave(ctx, by, members[i])
		case m.Role != members[i].Role:
			_, err = r.EditMember(ctx, by, organization, members[i].ID, func(edited *Member) { edited.Role = m.Role })
		}
		if i >= 0 && m.Role != "" && !members[i].Active() && err == nil {
			_, err = r.Accept(ctx, by, email, members[i].ID)
		}
		switch {
		case errors.Is(err, ErrLastOwner):
			kept = append(kept, members[i])
		case errors.Is(err, ErrExists), errors.Is(err, ErrNotFound) && i >= 0:
			// Who signs in twice at once is added once.
		case err != nil:
			return "", nil, fmt.Errorf("organization %s: %w", organization, err)
		}
	}
	if members, err = r.config.Store.Memberships(ctx, email); err != nil {
		return "", nil, err
	}
	if len(members) == 0 {
		return "", nil, fmt.Errorf("%w: a member of no organisation", ErrForbidden)
	}
	if err := r.config.Store.BindAccount(ctx, email, id.Issuer, id.Subject); err != nil {
		return "", nil, err
	}
	account, err = r.config.Store.Account(ctx, email)
	if err != nil {
		return "", nil, err
	}
	if session, err = r.beginSession(ctx, by, account, id.ProvedAt); err != nil {
		return "", nil, err
	}
	action := Action("account.sign_in")
	if id.Again {
		action = "account.step_up"
	}
	return session, kept, r.signedIn(ctx, by, action, email)
}

// Unbind lets the address of an account be another person of its provider, who is bound at
// the next sign-in; sessions of the account end. Errors: [ErrNotFound] when it is not bound.
func (r *Registry) Unbind(ctx context.Context, by Actor, email string) error {
	if err := by.May("account.unbind"); err != nil {
		return err
	}
	email = strings.ToLower(strings.TrimSpace(email))
	if by.DryRun {
		account, err := r.config.Store.Account(ctx, email)
		if err == nil && account.Issuer == "" {
			err = ErrNotFound
		}
		return err
	}
	entry := by.did("account.unbind", "", email, tokens.Touch, tokens.Organization(""))
	commit, err := r.config.Store.UnbindAccount(ctx, email, entry)
	if err == nil {
		_, err = r.settle(ctx, by, commit)
	}
	return err
}

// leave ends a membership, whatever its keys.
func (r *Registry) leave(ctx context.Context, by Actor, m Member) error {
	_, err := r.changeMember(ctx, by, "member.remove", m.OrganizationID, m.ID, func(_ Organization, all []Member, _ int, m *Member) error {
		m.RemovedAt = now()
		return keepOwner(all, m)
	})
	if errors.Is(err, ErrNotFound) { // somebody was faster
		err = nil
	}
	return err
}
