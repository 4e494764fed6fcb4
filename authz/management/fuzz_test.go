package management

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
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

// FuzzCreateKey: whatever is sent, there is one key more exactly when the answer says so.
func FuzzCreateKey(f *testing.F) {
	f.Add(`{"name":"a","scopes":["alerts:read"]}`)
	f.Add(`{"name":"\u0000","scopes":null,"expires_at":"0000-01-01T00:00:00Z"}`)
	const limit = 20 // of the plan
	var a *api
	before := limit
	f.Fuzz(func(t *testing.T, body string) {
		if before == limit {
			a, before = newAPI(t, "Enterprise"), 0
		}
		w := a.call("POST", "/v1/orgs/org/keys", a.token("org", both), body)
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
		active, _, err := a.registry.Limits(t.Context(), "org")
		if err != nil || (active == before+1) != (w.Code == 201) || active < before {
			t.Fatalf("%q: %d keys after %d and %d", body, active, before, w.Code)
		}
		before = active
	})
}

// FuzzListQuery: whatever a list is asked for, the answer is a page or a problem with a
// code, and what is no cursor of the list is no place in it.
func FuzzListQuery(f *testing.F) {
	for _, query := range []string{"limit=4&sort=-name", "sort=name;--", "status=$1", "unused_for=1d&q=%25", "cursor=AAAA", "limit=-1", "since=x&until=0",
		"include=total&limit=1000000", "%zz=%", "a=\x00&q=\xff", "limit=1&limit=2"} {
		f.Add(uint8(0), query)
	}
	var w *world
	f.Fuzz(func(t *testing.T, list uint8, query string) {
		if w == nil {
			w = newWorld(t)
		}
		paths := []string{"/orgs/org/keys", "/orgs/org/audit-events", "/orgs/org/revocations", "/orgs/org/members", "/orgs/org/receipts", "/orgs/org/webhooks",
			"/orgs/org/usage", "/orgs/org/keys/review", "/orgs/org/audit-events/export", "/resources", "/presets"}
		r := httptest.NewRequest("GET", "/v1"+paths[int(list)%len(paths)], nil)
		r.URL.RawQuery = query
		r.Header.Set("Authorization", "Bearer "+w.token("org", everything))
		got := httptest.NewRecorder()
		w.handler.ServeHTTP(got, r)
		var problem struct{ Code string }
		switch err := json.Unmarshal(got.Body.Bytes(), &problem); {
		case got.Code >= 500:
			t.Fatalf("%s?%q: %d %s", r.URL.Path, query, got.Code, got.Body)
		case got.Code >= 400 && (err != nil || problem.Code == ""):
			t.Fatalf("%s?%q: %d %s", r.URL.Path, query, got.Code, got.Body)
		case strings.ContainsAny(got.Header().Get("Link"), "\r\n"):
			t.Fatalf("%s?%q: Link %q", r.URL.Path, query, got.Header().Get("Link"))
		}
	})
}

// FuzzGitHubReport: whatever GitHub has signed, it is labelled match by match or refused,
// and the answer has no token in it; what it has not signed is refused.
func FuzzGitHubReport(f *testing.F) {
	for _, body := range []string{`[{"token":"imara_cs_live_x","type":"imara_secret","url":"https://github.com/x","source":"commit"}]`,
		`[]`, `{}`, `null`, `[null]`, `[{"token":1}]`, `[{"token":"\ud800"}]`, "[{\"token\":\"\xff\"}]", `[{"source":"<script>"}]`} {
		f.Add(body, true)
	}
	f.Add(`[]`, false)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	g := &gitHub{key: key}
	var a *api
	f.Fuzz(func(t *testing.T, body string, signed bool) {
		if a == nil {
			a = newAPI(t, "Enterprise")
			// The keys are there already: nothing is fetched.
			a.server.config.GitHubKeys = "https://keys.example"
			a.server.github = &githubKeys{keys: map[string]*ecdsa.PublicKey{"k1": &key.PublicKey}}
			a.handler = web.Log(slog.New(slog.DiscardHandler), a.server.handler())
		}
		signature := "AAAA"
		if signed {
			signature = g.sign(t, body)
		}
		got := a.call("POST", "/v1/leaks/github", "", body, "Github-Public-Key-Identifier", "k1", "Github-Public-Key-Signature", signature)
		var feedback []GitHubFeedback
		switch err := json.Unmarshal(got.Body.Bytes(), &feedback); {
		case got.Code >= 500 || got.Code < 300 && (!signed || err != nil):
			t.Fatalf("%q: %d %s", body, got.Code, got.Body)
		case got.Code >= 300:
			return
		}
		for _, match := range feedback {
			if match.Label != "true_positive" && match.Label != "false_positive" || len(match.TokenHash) != 64 {
				t.Fatalf("%q: %+v", body, match)
			}
		}
	})
}

// FuzzCursor: what is not a cursor of this list never becomes a place in it.
func FuzzCursor(f *testing.F) {
	s := &server{config: Config{CursorKey: tokens.Secret(make([]byte, 32))}}
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
