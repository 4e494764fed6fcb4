package keys_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
)

// tenants is a registry with the organizations org and evil.
func tenants(t *testing.T) *keys.Registry {
	t.Helper()
	r, _ := newRegistry(t, "Professional")
	evil := keys.Organization{ID: "evil", Name: "Evil", Plan: "Professional"}
	if _, err := r.CreateOrganization(t.Context(), keys.Program("test"), evil); err != nil {
		t.Fatal(err)
	}
	return r
}

func invite(t *testing.T, r *keys.Registry, organization, email string, role keys.Role) keys.Member {
	t.Helper()
	m, err := r.AddMember(t.Context(), keys.Program("test"), keys.Member{OrganizationID: organization,
		Name: email, Email: email, Role: role})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// enter uses a link, and returns who is signed in then.
func enter(t *testing.T, r *keys.Registry, token string) (keys.Visitor, error) {
	t.Helper()
	session, err := r.UseLink(t.Context(), keys.Program("test"), token, password)
	if err != nil {
		return keys.Visitor{}, err
	}
	v, err := r.Visitor(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	return v, nil
}

func link(t *testing.T, r *keys.Registry, email, organization string) string {
	t.Helper()
	token, _, err := r.NewLink(t.Context(), keys.Program("test"), email, organization)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func organizations(list []keys.Member) (ids []string) {
	for _, m := range list {
		ids = append(ids, m.OrganizationID)
	}
	return ids
}

// TestAnInvitationGivesNothingBeforeItIsAccepted: no membership, no key of one's own, no
// place as heir, and it is no owner that an organization keeps; accepted, it is all that.
// Nobody else accepts it, nobody twice, nobody after it was taken back.
func TestAnInvitationGivesNothingBeforeItIsAccepted(t *testing.T) {
	r := tenants(t)
	program := keys.Program("test")
	ann := invite(t, r, "org", "ann@example.com", keys.Owner)
	bob := invite(t, r, "evil", "bob@example.com", keys.Owner)
	v, err := enter(t, r, link(t, r, "ann@example.com", "org"))
	if err != nil || !slices.Equal(organizations(v.Memberships), []string{"org"}) {
		t.Fatalf("%+v %v", v, err)
	}
	ann, err = r.Member(t.Context(), "org", ann.ID)
	if err != nil || !ann.Active() {
		t.Fatalf("%+v %v", ann, err)
	}
	invited := invite(t, r, "org", "bob@example.com", keys.Owner)
	owned := keys.NewKey{Name: "a", OwnerID: invited.ID, Access: keys.Access{Scopes: []string{"alerts:read"}}}
	var input *keys.InputError
	if _, err := r.Create(t.Context(), program, "org", owned); !errors.As(err, &input) {
		t.Errorf("a key of who is invited: %v", err)
	}
	if _, err := r.RemoveMember(t.Context(), program, "org", ann.ID, invited.ID); !errors.As(err, &input) {
		t.Errorf("who is invited as heir: %v", err)
	}
	if _, err := r.RemoveMember(t.Context(), program, "org", ann.ID, ""); !errors.Is(err, keys.ErrLastOwner) {
		t.Errorf("who is invited counts as owner: %v", err)
	}
	for name, answer := range map[string]func() error{
		"somebody else": func() error { _, err := r.Accept(t.Context(), program, "ann@example.com", invited.ID); return err },
		"of another":    func() error { _, err := r.Accept(t.Context(), program, "bob@example.com", ann.ID); return err },
		"of nobody":     func() error { _, err := r.Accept(t.Context(), program, "bob@example.com", "mem_none"); return err },
	} {
		if err := answer(); !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Accept(t.Context(), program, "bob@example.com", invited.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Accept(t.Context(), program, "bob@example.com", invited.ID); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
	if _, err := r.Create(t.Context(), program, "org", owned); err != nil {
		t.Error(err)
	}
	if _, err := r.RemoveMember(t.Context(), program, "evil", bob.ID, ""); err != nil {
		t.Errorf("an invited owner is not the last: %v", err)
	}
	if _, err := r.Accept(t.Context(), program, "bob@example.com", bob.ID); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("taken back: %v", err)
	}
	again := invite(t, r, "evil", "bob@example.com", keys.Owner)
	if _, err := r.Decline(t.Context(), program, "bob@example.com", again.ID); err != nil {
		t.Error(err)
	}
	if _, err := r.Accept(t.Context(), program, "bob@example.com", again.ID); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("declined: %v", err)
	}
}

// TestALinkOpensOnlyWhatItIsFor: no link resets an account that has a password or is in
// another organization, be it only invited there, and neither does one that was made
// before the account had that.
func TestALinkOpensOnlyWhatItIsFor(t *testing.T) {
	r := tenants(t)
	program := keys.Program("test")
	refused := func(what, email, organization string, password bool, opens ...string) {
		t.Helper()
		var account *keys.AccountError
		_, _, err := r.NewLink(t.Context(), program, email, organization)
		if !errors.As(err, &account) || account.Password != password || !slices.Equal(account.Opens, opens) {
			t.Errorf("%s: %v", what, err)
		}
	}
	invite(t, r, "org", "ann@example.com", keys.Owner)
	if _, err := enter(t, r, link(t, r, "ann@example.com", "")); err != nil {
		t.Fatal(err)
	}
	refused("a password, in its own organization", "ann@example.com", "org", true, "org")
	invite(t, r, "evil", "ann@example.com", keys.Developer)
	refused("a password, from another organization", " Ann@Example.com", "evil", true, "evil", "org")

	// Without a password, invited to both.
	invite(t, r, "evil", "bob@example.com", keys.Developer)
	early := link(t, r, "bob@example.com", "evil")
	invite(t, r, "org", "bob@example.com", keys.Owner)
	refused("two invitations", "bob@example.com", "evil", false, "evil", "org")
	if _, err := enter(t, r, early); !errors.Is(err, keys.ErrAccount) {
		t.Errorf("a link of before the other invitation: %v", err)
	}
	if _, err := r.SignIn(t.Context(), program, "bob@example.com", password, ""); !errors.Is(err, keys.ErrCredentials) {
		t.Errorf("it set the password: %v", err)
	}

	// The invitation that a link is for was taken back, and there is another.
	m := invite(t, r, "evil", "eve@example.com", keys.Developer)
	late := link(t, r, "eve@example.com", "evil")
	if _, err := r.RemoveMember(t.Context(), program, "evil", m.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := enter(t, r, late); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("without its invitation: %v", err)
	}
	invite(t, r, "org", "eve@example.com", keys.Developer)
	if _, err := enter(t, r, late); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("for another organization: %v", err)
	}
	var input *keys.InputError
	if _, _, err := r.NewLink(t.Context(), program, "eve@example.com", "evil"); !errors.As(err, &input) {
		t.Errorf("a link for an organization where nobody is: %v", err)
	}
}

// TestAResetNamesAllThatItOpens: an account is reset by a link that names every
// organization of it, which stands in the log of each, when it is made and when it is
// used; one more organization meanwhile ends it, and invitations stay invitations.
func TestAResetNamesAllThatItOpens(t *testing.T) {
	r := tenants(t)
	program := keys.Program("test")
	invite(t, r, "org", "ann@example.com", keys.Owner)
	if _, err := enter(t, r, link(t, r, "ann@example.com", "org")); err != nil {
		t.Fatal(err)
	}
	invite(t, r, "evil", "ann@example.com", keys.Developer)
	var input *keys.InputError
	if _, _, err := r.NewResetLink(t.Context(), program, "ann@example.com", nil); !errors.As(err, &input) {
		t.Errorf("names none: %v", err)
	}
	if _, _, err := r.NewResetLink(t.Context(), program, "ann@example.com", []string{"evil"}); !errors.Is(err, keys.ErrAccount) {
		t.Errorf("names the half: %v", err)
	}
	token, l, err := r.NewResetLink(t.Context(), program, "ann@example.com", []string{"org", "evil", "evil"})
	if err != nil || !slices.Equal(l.Opens, []string{"evil", "org"}) {
		t.Fatalf("%+v %v", l, err)
	}
	v, err := enter(t, r, token)
	if err != nil || !slices.Equal(organizations(v.Memberships), []string{"org"}) ||
		!slices.Equal(organizations(v.Invitations), []string{"evil"}) {
		t.Errorf("%+v %v", v, err)
	}
	for _, id := range []string{"", "org", "evil"} {
		for _, action := range []keys.Action{"account.reset", "account.password"} {
			events, err := r.Events(t.Context(), id, keys.EventPage{Action: action, Target: "ann@example.com"})
			want := 1
			if id == "" && action == "account.password" {
				want = 2 // the first one, too
			}
			if err != nil || len(events) != want {
				t.Errorf("%d times %s in the log of %q, %v", len(events), action, id, err)
			}
			for _, e := range events {
				if id != "" && len(e.Changes) > 0 {
					t.Errorf("the log of %s tells of the others: %v", id, e.Changes)
				}
			}
		}
	}
	token, _, err = r.NewResetLink(t.Context(), program, "ann@example.com", []string{"org", "evil"})
	if err != nil {
		t.Fatal(err)
	}
	third := keys.Organization{ID: "third", Name: "Third", Plan: "Professional"}
	if _, err := r.CreateOrganization(t.Context(), program, third); err != nil {
		t.Fatal(err)
	}
	invite(t, r, "third", "ann@example.com", keys.Owner)
	if _, err := enter(t, r, token); !errors.Is(err, keys.ErrAccount) {
		t.Errorf("it opens one more by now: %v", err)
	}
}

// TestAProvidersRoleIsAnAcceptance: in the organizations that its provider speaks about,
// and in no other.
func TestAProvidersRoleIsAnAcceptance(t *testing.T) {
	r := tenants(t)
	invite(t, r, "org", "eve@example.com", keys.Auditor)
	invite(t, r, "evil", "eve@example.com", keys.Owner)
	session, _, err := r.Enter(t.Context(), keys.Program("sso"), keys.Identity{Email: "eve@example.com",
		Name: "Eve", Roles: map[string]keys.Role{"org": keys.Developer}, ProvedAt: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.Visitor(t.Context(), session)
	if err != nil || !slices.Equal(organizations(v.Memberships), []string{"org"}) ||
		v.Memberships[0].Role != keys.Developer || !slices.Equal(organizations(v.Invitations), []string{"evil"}) {
		t.Errorf("%+v %v", v, err)
	}
}
