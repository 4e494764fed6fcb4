package keys

import (
	"context"
	"slices"
)

// Accept begins a membership to which a person is invited. Email is that of the person who
// is signed in. Errors: [ErrNotFound] when there is no such invitation of that address:
// it was taken back, declined, or is somebody else's; or it was accepted before.
func (r *Registry) Accept(ctx context.Context, by Actor, email, memberID string) (Member, error) {
	return r.answer(ctx, by, "member.accept", email, memberID, func(m *Member) { m.AcceptedAt = now() })
}

// Decline ends an invitation. Errors: as of [Registry.Accept].
func (r *Registry) Decline(ctx context.Context, by Actor, email, memberID string) (Member, error) {
	return r.answer(ctx, by, "member.decline", email, memberID, func(m *Member) { m.RemovedAt = now() })
}

func (r *Registry) answer(ctx context.Context, by Actor, action Action, email, memberID string,
	change func(*Member)) (Member, error) {
	members, err := r.config.Store.Memberships(ctx, email)
	if err != nil {
		return Member{}, err
	}
	i := slices.IndexFunc(members, func(m Member) bool { return m.ID == memberID })
	if i < 0 {
		return Member{}, ErrNotFound
	}
	by.MemberID, by.Role, by.IfMatch = memberID, members[i].Role, ""
	return r.changeMember(ctx, by, action, members[i].OrganizationID, memberID,
		func(_ Organization, _ []Member, _ int, m *Member) error {
			if m.Active() {
				return ErrNotFound
			}
			change(m)
			return nil
		})
}
