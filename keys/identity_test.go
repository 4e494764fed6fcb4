package keys_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
)

// TestAProviderSaysWhoIsAMemberOfWhat: at every sign-in the memberships become what the
// provider says, no key is lost, no other organisation is touched, and no organisation
// loses its last owner.
func TestAProviderSaysWhoIsAMemberOfWhat(t *testing.T) {
	r := people(t)
	program := keys.Program("test")
	for _, id := range []string{"sales", "another"} {
		if _, err := r.CreateOrganization(t.Context(), program, keys.Organization{ID: id, Name: id, Plan: "Professional"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.AddMember(t.Context(), program, keys.Member{OrganizationID: "another", Name: "Eve", Email: "eve@example.com", Role: keys.Admin, AcceptedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	var kept []keys.Member
	enter := func(email string, roles map[string]keys.Role) (session string, err error) {
		session, kept, err = r.Enter(t.Context(), keys.Actor{ClientID: "sign-in", Address: "203.0.113.9"}, keys.Identity{Email: email, Name: "Eve Adams", Roles: roles, ProvedAt: time.Unix(1e9, 0).UTC()})
		return session, err
	}
	member := func(session string) (list []string) {
		t.Helper()
		v, err := r.Visitor(t.Context(), session)
		if err != nil {
			t.Fatal(err)
		}
		if v.Email != "eve@example.com" || !v.ProvedAt.Equal(time.Unix(1e9, 0)) {
			t.Errorf("%+v", v)
		}
		for _, m := range v.Memberships {
			list = append(list, fmt.Sprint(m.OrganizationID, " ", m.Role))
		}
		slices.Sort(list)
		return list
	}
	var session string
	for _, step := range []struct {
		roles map[string]keys.Role
		want  []string
	}{
		{map[string]keys.Role{"org": keys.Developer, "sales": ""}, []string{"another admin", "org developer"}},
		{map[string]keys.Role{"org": keys.Auditor, "sales": keys.Owner}, []string{"another admin", "org auditor", "sales owner"}},
		{map[string]keys.Role{"org": keys.Developer}, []string{"another admin", "org developer", "sales owner"}},
	} {
		var err error
		if session, err = enter(" Eve@Example.com", step.roles); err != nil {
			t.Fatal(err)
		}
		if got := member(session); !slices.Equal(got, step.want) {
			t.Errorf("%v: %q", step.roles, got)
		}
	}

	v, err := r.Visitor(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	mine := v.Memberships[slices.IndexFunc(v.Memberships, func(m keys.Member) bool { return m.OrganizationID == "org" })]
	made, err := r.Create(t.Context(), program, "org", keys.NewKey{Name: "Eve's", OwnerID: mine.ID, Access: keys.Access{Scopes: []string{"alerts:read"}}})
	if err != nil {
		t.Fatal(err)
	}
	if session, err = enter("eve@example.com", map[string]keys.Role{"org": ""}); err != nil {
		t.Fatal(err)
	}
	if got := member(session); !slices.Equal(got, []string{"another admin", "sales owner"}) {
		t.Errorf("after the role is gone: %q", got)
	}
	if k, err := r.Key(t.Context(), "org", made.Key.ID); err != nil || k.Status(time.Now()) != keys.Active {
		t.Errorf("the key of who left: %v %v", k, err)
	}
	if session, err = enter("eve@example.com", map[string]keys.Role{"sales": ""}); err != nil || len(kept) != 1 || kept[0].OrganizationID != "sales" {
		t.Errorf("the last owner: kept %v, %v", kept, err)
	}
	if got := member(session); !slices.Equal(got, []string{"another admin", "sales owner"}) {
		t.Errorf("the last owner: %q", got)
	}
	// Another is last owner, and staff: the role that ends ends all the same.
	if _, err := r.CreateOrganization(t.Context(), program, keys.Organization{ID: keys.OperatorOrganization, Name: "Operator", Plan: "Enterprise", Operator: true}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"eve", "olga"} {
		if _, err := r.AddMember(t.Context(), program, keys.Member{OrganizationID: keys.OperatorOrganization, Name: name, Email: name + "@example.com", Role: keys.Staff, AcceptedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if session, err = enter("eve@example.com", map[string]keys.Role{"sales": "", "another": keys.Admin, keys.OperatorOrganization: ""}); err != nil || len(kept) != 1 {
		t.Errorf("kept %v, %v", kept, err)
	}
	if got := member(session); !slices.Equal(got, []string{"another admin", "sales owner"}) {
		t.Errorf("without the role of staff: %q", got)
	}
	if _, kept, err := r.Enter(t.Context(), program, keys.Identity{Email: "olga@example.com", Roles: map[string]keys.Role{keys.OperatorOrganization: ""}}); err != nil || len(kept) != 1 {
		t.Errorf("the last staff: kept %v, %v", kept, err)
	}
	if _, err := enter("eve@example.com", map[string]keys.Role{"nowhere": keys.Owner}); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("no such organisation: %v", err)
	}
	if _, err := enter("mallory@example.com", map[string]keys.Role{"org": ""}); !errors.Is(err, keys.ErrForbidden) {
		t.Errorf("nobody's member: %v", err)
	}
	var input *keys.InputError
	if _, err := enter("mallory", map[string]keys.Role{"org": keys.Owner}); !errors.As(err, &input) {
		t.Errorf("no address: %v", err)
	}
	// Who has no password gets in with none.
	for _, guess := range []string{"", " ", password} {
		if _, err := r.SignIn(t.Context(), program, "eve@example.com", guess, ""); !errors.Is(err, keys.ErrCredentials) {
			t.Errorf("%q: %v", guess, err)
		}
	}
	sessions, err := r.Sessions(t.Context(), v)
	if err != nil || len(sessions) != 6 || sessions[0].Address != "203.0.113.9" {
		t.Errorf("%+v %v", sessions, err)
	}
	if err := r.EndSessions(t.Context(), program, v, func(s keys.WebSession) bool { return !s.Of(session) }); err != nil {
		t.Fatal(err)
	}
	if sessions, err = r.Sessions(t.Context(), v); err != nil || len(sessions) != 1 {
		t.Errorf("%+v %v", sessions, err)
	}
	if _, err := r.Visitor(t.Context(), session); err != nil {
		t.Error(err)
	}
}
