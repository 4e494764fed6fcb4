package keys_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
)

// TestAServerIsFoundedOnce: of many at once, with two links, one becomes the owner; the
// operator has one key that works, the one which that owner was given.
func TestAServerIsFoundedOnce(t *testing.T) {
	store := keystest.NewMemory()
	r, err := keys.New(keys.Config{Store: store, Relay: store, Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))}, CheckpointKey: keystest.CheckpointKey})
	if err != nil {
		t.Fatal(err)
	}
	program := keys.Program("test")
	if _, err := r.PutResource(t.Context(), program, keys.Resource{Audience: api, Name: "API", Scopes: []keys.Scope{{Name: "operator", Restricted: true}}}); err != nil {
		t.Fatal(err)
	}
	var links [2]string
	for i := range links {
		if links[i], _, err = r.NewFoundingLink(t.Context(), program); err != nil {
			t.Fatal(err)
		}
	}
	f := keys.Founding{Organization: "Acme", Name: "Ann", Email: "Ann@Example.com", Password: password, Scopes: []string{"operator"}}
	by := keys.Actor{ClientID: "panel"}
	for name, spoil := range map[string]func(*keys.Founding){
		"organization": func(f *keys.Founding) { f.Organization = "" },
		"name":         func(f *keys.Founding) { f.Name = "" },
		"email":        func(f *keys.Founding) { f.Email = "nobody" },
		"password":     func(f *keys.Founding) { f.Password = "short" },
	} {
		bad := f
		spoil(&bad)
		var input *keys.InputError
		if _, _, err := r.Found(t.Context(), by, links[0], bad); !errors.As(err, &input) || input.Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.UseLink(t.Context(), by, links[0], password); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("a link without an address gives somebody a password: %v", err)
	}
	if list, err := r.Organizations(t.Context(), "", 10); err != nil || len(list) != 0 {
		t.Errorf("bad input made %v %v", list, err)
	}

	var mu sync.Mutex
	var winner keys.Created
	won := 0
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			session, first, err := r.Found(t.Context(), by, links[i%2], f)
			for errors.Is(err, keys.ErrBusy) { // passwords take turns
				session, first, err = r.Found(t.Context(), by, links[i%2], f)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && session != "":
				winner, won = first, won+1
			case !errors.Is(err, keys.ErrNotFound):
				t.Errorf("%q %v", session, err)
			}
		})
	}
	wait.Wait()
	if won != 1 {
		t.Fatalf("%d founded", won)
	}
	list, err := r.Keys(t.Context(), keys.OperatorOrganization, keys.Page{Status: keys.Active})
	if err != nil || len(list) != 1 || list[0].ID != winner.Key.ID {
		t.Errorf("%v %v", list, err)
	}
	record, err := r.Record(t.Context(), winner.Key.ClientID, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(record, winner.Secret, winner.Key.CreatedAt); err != nil {
		t.Error(err)
	}
	members, err := store.Memberships(t.Context(), "ann@example.com")
	if err != nil {
		t.Fatal(err)
	}
	var roles []string
	for _, m := range members {
		roles = append(roles, string(m.Role))
	}
	if slices.Sort(roles); !slices.Equal(roles, []string{"operator", "owner"}) {
		t.Errorf("the owner is %q", roles)
	}
	if _, err := r.SignIn(t.Context(), keys.Program("test"), "ann@example.com", password, ""); err != nil {
		t.Error(err)
	}
	if _, _, err := r.NewFoundingLink(t.Context(), program); !errors.Is(err, keys.ErrExists) {
		t.Errorf("another link: %v", err)
	}
}
