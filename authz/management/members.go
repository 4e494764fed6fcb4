package management

import (
	"context"
	"time"

	"github.com/imara/apikeys/keys"
)

// A Member as the API shows it.
type Member struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Email     string    `json:"email"`
	Role      string    `json:"role" enum:"owner,admin,developer,auditor,billing,support,operator"`
	Status    string    `json:"status" enum:"invited,active,removed" doc:"Whoever is invited has no rights here before accepting, in the panel after a sign-in."`
	CreatedAt time.Time `json:"created_at"`
	// AcceptedAt is when the membership began.
	AcceptedAt *time.Time `json:"accepted_at,omitempty"`
	RemovedAt  *time.Time `json:"removed_at,omitempty"`
}

// AddMember is the request for a new member.
type AddMember struct {
	Name  string `json:"name" maxLength:"80"`
	Email string `json:"email"`
	Role  string `json:"role"`
	// Accepted is the operator's to say.
	Accepted bool `json:"accepted,omitempty" doc:"There is no invitation: the person agreed elsewhere. For the operator alone."`
}

// EditMember is the request to change one. What is not there stays.
type EditMember struct {
	Name *string `json:"name,omitempty"`
	Role *string `json:"role,omitempty"`
}

type MemberPath struct {
	OrgPath
	Member string `path:"member"`
}

func (s *server) memberRoutes() {
	register(s, route{id: "list-members", method: "GET", path: "/orgs/{org}/members", scope: "org:read", action: "member.read", summary: "List members"}, s.listMembers, nil)
	register(s, route{id: "add-member", method: "POST", path: "/orgs/{org}/members", scope: "org:write", action: "member.add", summary: "Invite a member", status: 201}, s.addMember, s.memberAdded)
	register(s, route{id: "show-member", method: "GET", path: "/orgs/{org}/members/{member}", scope: "org:read", action: "member.read", summary: "Show a member"}, s.showMember, nil)
	register(s, route{id: "edit-member", method: "PATCH", path: "/orgs/{org}/members/{member}", scope: "org:write", action: "member.edit", summary: "Change a member's name or role"}, s.editMember, nil)
	register(s, route{id: "remove-member", method: "DELETE", path: "/orgs/{org}/members/{member}", scope: "org:write", action: "member.remove", summary: "Remove a member"}, s.removeMember, nil)
}

func (s *server) listMembers(ctx context.Context, c call, in *struct {
	OrgPath
	Caller
	Removed bool `query:"removed" doc:"Those who left, too."`
}) (*answer[List[Member]], error) {
	if _, err := s.config.Registry.Organization(ctx, c.organization); err != nil {
		return nil, err
	}
	found, err := s.config.Registry.Members(ctx, c.organization)
	if err != nil {
		return nil, err
	}
	list := &answer[List[Member]]{Body: List[Member]{Data: []Member{}}}
	for _, m := range found {
		if m.RemovedAt.IsZero() || in.Removed {
			list.Body.Data = append(list.Body.Data, showMember(m))
		}
	}
	return list, nil
}

func (s *server) addMember(ctx context.Context, c call, in *struct {
	OrgPath
	Terms
	Body AddMember
}) (*answer[Member], error) {
	m := keys.Member{OrganizationID: c.organization, Name: in.Body.Name, Email: in.Body.Email, Role: keys.Role(in.Body.Role)}
	if in.Body.Accepted {
		m.AcceptedAt = time.Now()
	}
	return memberAnswer(s.config.Registry.AddMember(ctx, c.by, m))
}

func (s *server) memberAdded(ctx context.Context, c call, e keys.Event) (*answer[Member], error) {
	return memberAnswer(s.config.Registry.Member(ctx, c.organization, e.Target))
}

func (s *server) showMember(ctx context.Context, c call, in *struct {
	MemberPath
	Caller
}) (*answer[Member], error) {
	return memberAnswer(s.config.Registry.Member(ctx, c.organization, in.Member))
}

func (s *server) editMember(ctx context.Context, c call, in *struct {
	MemberPath
	Change
	Body EditMember
}) (*answer[Member], error) {
	return memberAnswer(s.config.Registry.EditMember(ctx, c.by, c.organization, in.Member, func(m *keys.Member) {
		set(&m.Name, in.Body.Name)
		if in.Body.Role != nil {
			m.Role = keys.Role(*in.Body.Role)
		}
	}))
}

func (s *server) removeMember(ctx context.Context, c call, in *struct {
	MemberPath
	Change
	KeysGoTo string `query:"keys_go_to" doc:"The member who takes over the keys of the one who leaves."`
}) (*answer[Member], error) {
	return memberAnswer(s.config.Registry.RemoveMember(ctx, c.by, c.organization, in.Member, in.KeysGoTo))
}

func memberAnswer(m keys.Member, err error) (*answer[Member], error) {
	if err != nil {
		return nil, err
	}
	return &answer[Member]{ETag: etag(m.Version()), Body: showMember(m)}, nil
}

func showMember(m keys.Member) Member {
	return Member{ID: m.ID, Name: m.Name, Email: m.Email, Role: string(m.Role), Status: memberStatus(m),
		CreatedAt: m.CreatedAt, AcceptedAt: optional(m.AcceptedAt), RemovedAt: optional(m.RemovedAt)}
}

func memberStatus(m keys.Member) string {
	switch {
	case !m.RemovedAt.IsZero():
		return "removed"
	case m.AcceptedAt.IsZero():
		return "invited"
	}
	return "active"
}
