package keys

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/imara/apikeys/tokens"
)

// Whoever has a link is that person from then on, in every organisation that the address
// is in. So a link that is asked for on behalf of one organisation is for addresses that
// have nothing else: no password, and no other organisation, not even an invitation that
// whoever has the link could accept. To replace a password is another request, which
// names every organisation that it opens and stands in the audit log of each.
//
// Rejected: a link that adds an organisation to an account after a sign-in. Who can sign
// in is shown the invitation there.

// maxOpens is how many organisations a reset can name.
const maxOpens = 500

// NewLink makes a link with which the person with an address chooses the first password
// and accepts the invitation of an organisation; empty is the only one that there is. It
// returns the link's token, which works once, for [LinkLife]. Whoever has it can be that
// person: only the operator makes links. Errors: [ErrElsewhere], an [AccountError], an
// [InputError].
func (r *Registry) NewLink(ctx context.Context, by Actor, email, organizationID string) (token string,
	l Link, err error) {
	return r.newLink(ctx, by, "account.link", Link{Email: email, OrganizationID: organizationID})
}

// NewResetLink is [Registry.NewLink] for an address that has a password, or is in several
// organisations: the password is replaced, and with it whoever has the link gets all that
// the address has. Opens are the ids of all organisations that the address is in or
// invited to; with another list it is an [AccountError], which has the right one.
func (r *Registry) NewResetLink(ctx context.Context, by Actor, email string, opens []string) (token string,
	l Link, err error) {
	if len(opens) == 0 || len(opens) > maxOpens {
		return "", Link{}, invalid("reset", "name every organisation that the link opens: 1 to %d", maxOpens)
	}
	return r.newLink(ctx, by, "account.reset", Link{Email: email, Opens: opens})
}

func (r *Registry) newLink(ctx context.Context, by Actor, action Action, l Link) (token string, _ Link, err error) {
	if err := by.May(action); err != nil {
		return "", Link{}, err
	}
	l.Email = strings.ToLower(strings.TrimSpace(l.Email))
	if err := checkText("email", l.Email, 254); err != nil {
		return "", Link{}, err
	}
	all, err := r.mayLink(ctx, l)
	switch {
	case errors.Is(err, ErrNotFound):
		return "", Link{}, invalid("email", "no member has it")
	case err != nil:
		return "", Link{}, err
	case len(l.Opens) > 0:
		l.Opens = all
	default:
		l.OrganizationID = all[0]
	}
	return r.addLink(ctx, by, l)
}

// mayLink returns the organisations that a link opens, or what forbids it: [ErrNotFound]
// when the address is not in the one that it is for.
func (r *Registry) mayLink(ctx context.Context, l Link) (all []string, err error) {
	if r.elsewhere(l.Email) {
		return nil, ErrElsewhere
	}
	members, err := r.config.Store.Memberships(ctx, l.Email)
	if err != nil {
		return nil, err
	}
	account, err := r.config.Store.Account(ctx, l.Email)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	all = organizationsOf(members)
	unnamed := func(id string) bool { return !slices.Contains(l.Opens, id) }
	switch in := slices.Contains(all, l.OrganizationID); {
	case len(all) == 0, l.OrganizationID != "" && !in:
		return nil, ErrNotFound
	case len(l.Opens) == 0 && (len(all) > 1 || account.Password != ""),
		len(l.Opens) > 0 && slices.ContainsFunc(all, unnamed):
		return nil, &AccountError{l.Email, account.Password != "", all}
	}
	return all, nil
}

// elsewhere tells whether a provider of single sign-on speaks for an address.
func (r *Registry) elsewhere(email string) bool {
	_, domain, _ := strings.Cut(strings.ToLower(strings.TrimSpace(email)), "@")
	return slices.Contains(r.config.ProviderDomains, domain)
}

func organizationsOf(members []Member) (ids []string) {
	for _, m := range members {
		ids = append(ids, m.OrganizationID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (r *Registry) addLink(ctx context.Context, by Actor, l Link) (token string, _ Link, err error) {
	token, l.Hash = newToken()
	l.CreatedAt = now()
	l.ExpiresAt = l.CreatedAt.Add(LinkLife)
	if by.DryRun {
		return "", l, nil
	}
	action := Action("account.link")
	if len(l.Opens) > 0 {
		action = "account.reset"
	}
	commit, err := r.config.Store.AddLink(ctx, l, ofLink(action, by, l))
	if err != nil {
		return "", Link{}, err
	}
	_, err = r.settle(ctx, by, commit)
	return token, l, err
}

// ofLink is the entry for what is done with a link: in the server's own log, and in that
// of each organisation that the link opens although the account was there.
func ofLink(action Action, by Actor, l Link) Entry {
	entry := by.did(action, "", l.Email, tokens.Touch, tokens.Organization(""))
	entry.Changes = diff(nil, map[string]string{"organization": l.OrganizationID,
		"opens": strings.Join(l.Opens, " ")})
	by.IdempotencyKey = ""
	for _, id := range l.Opens {
		entry.With = append(entry.With,
			by.did(action, id, l.Email, tokens.Touch, tokens.Organization(id)))
	}
	return entry
}

// acceptFor accepts the invitation that a link was for. The password is set: what cannot
// be accepted now is offered to the person who signs in.
func (r *Registry) acceptFor(ctx context.Context, by Actor, l Link) {
	if len(l.Opens) > 0 {
		return
	}
	members, _ := r.config.Store.Memberships(ctx, l.Email)
	for _, m := range members {
		if m.OrganizationID == l.OrganizationID || l.OrganizationID == "" && len(members) == 1 {
			r.Accept(ctx, by, l.Email, m.ID)
		}
	}
}
