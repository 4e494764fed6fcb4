package management

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/imara/apikeys/keys"
)

// FuzzEditKey: whatever is sent to change a key, it is a problem and nothing was
// changed, or a key that could have been created so.
func FuzzEditKey(f *testing.F) {
	for _, body := range []string{`{"name":"x"}`, `{"scopes":["alerts:write"],"networks":["::/0"]}`, `{"expires_at":null,"token_ttl_seconds":60}`, `{"owner":"mem_org_admin"}`,
		`{"name":null}`, `{"resources":[]}`, `{"scopes":["alerts:read"],"scopes":[]}`} {
		f.Add(body)
	}
	var w *world
	f.Fuzz(func(t *testing.T, body string) {
		if w == nil {
			w = newWorld(t)
		}
		id := w.ids["org"]["key"]
		before, err := w.registry.Key(context.Background(), "org", id)
		if err != nil {
			t.Fatal(err)
		}
		got := w.call("PATCH", "/v1/orgs/org/keys/"+id, w.token("org", everything), body)
		after, err := w.registry.Key(context.Background(), "org", id)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case got.Code >= 500:
			t.Fatalf("%q: %d %s", body, got.Code, got.Body)
		case got.Code >= 300:
			if before.Version() != after.Version() || got.json["code"] == "" {
				t.Fatalf("%q: %d %s, and it changed", body, got.Code, got.Body)
			}
			return
		}
		again := keys.NewKey{Name: "copy of it", Description: after.Description, OwnerID: after.OwnerID, Access: after.Access}
		if _, err := w.registry.Create(context.Background(), keys.Actor{ClientID: "copy", DryRun: true}, "org", again); err != nil {
			t.Fatalf("%q left a key that cannot be created: %v", body, err)
		}
	})
}

func FuzzCreateKey(f *testing.F) {
	f.Add(`{"name":"a","scopes":["alerts:read"]}`)
	f.Add(`{"name":"\u0000","scopes":null,"expires_at":"0000-01-01T00:00:00Z"}`)
	f.Fuzz(func(t *testing.T, body string) {
		a := newAPI(t, "Professional")
		w := a.call("POST", "/v1/orgs/org/keys", a.token("org", both), body)
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
		if active, _, err := a.registry.Limits(t.Context(), "org"); err != nil || (active == 1) != (w.Code == 201) {
			t.Fatalf("%q: %d keys after %d", body, active, w.Code)
		}
	})
}

// FuzzCursor: what is not a cursor of this list never becomes a place in it.
func FuzzCursor(f *testing.F) {
	s := &server{Config: Config{CursorKey: make([]byte, 32)}}
	list := []string{"keys", "org"}
	good := s.cursor(list, keys.Mark{ID: "key_1", Micros: 1})
	f.Add(good)
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, cursor string) {
		var mark keys.Mark
		if err := s.readCursor(list, cursor, &mark); err == nil && cursor != good && cursor != "" {
			t.Fatalf("accepted %q", cursor)
		}
	})
}
