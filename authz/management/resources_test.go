package management

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imara/apikeys/keys"
)

// TestReplacingAResourceTakesNoScopeFromAKey: it is refused with the keys, also when it is
// only tried, until they are revoked or have it no more; what takes nothing goes through.
func TestReplacingAResourceTakesNoScopeFromAKey(t *testing.T) {
	w := newWorld(t)
	token := w.token("staff", everything+" "+keys.OperatorScope)
	put := func(query string, scopes ...string) reply {
		var list []string
		for _, s := range scopes {
			list = append(list, fmt.Sprintf(`{"name":%q}`, s))
		}
		return w.call("POST", "/v1/resources"+query, token,
			`{"audience":"https://reports.example.com","name":"Reports","scopes":[`+strings.Join(list, ",")+`]}`)
	}
	if got := put("", "reports:read", "reports:write"); got.Code != 201 {
		t.Fatalf("a new one: %d %s", got.Code, got.Body)
	}
	one := w.aKey("org", "one", "", "reports:read", "reports:write")
	two := w.aKey("other", "two", "", "reports:read")
	for _, row := range []struct {
		name   string
		scopes []string
		keys   []string
	}{
		{"without any", nil, []string{one.ID, two.ID}},
		{"without one", []string{"reports:write"}, []string{one.ID, two.ID}},
		{"with another in its place", []string{"reports:read", "reports:writes"}, []string{one.ID}},
	} {
		for _, query := range []string{"", "?dry_run=true"} {
			got := put(query, row.scopes...)
			w.problem(row.name, got, 409, "in_use")
			var named []string
			for _, id := range got.json["keys"].([]any) {
				named = append(named, id.(string))
			}
			slices.Sort(row.keys)
			if !slices.Equal(named, row.keys) || got.json["key_count"] != float64(len(row.keys)) || !strings.Contains(got.json["detail"].(string), row.keys[0]) {
				t.Errorf("%s: %s", row.name, got.Body)
			}
		}
	}
	removed := w.call("DELETE", "/v1/resources/"+w.resourceID("https://reports.example.com"), token, "")
	w.problem("removed", removed, 409, "in_use")
	if removed.json["key_count"] != 2.0 {
		t.Errorf("%s", removed.Body)
	}
	if got := put("", "reports:write", "reports:read", "reports:more"); got.Code != 200 {
		t.Errorf("with more, in another order: %d %s", got.Code, got.Body)
	}
	if got := put("", "reports:write", "reports:read"); got.Code != 200 {
		t.Errorf("without one that no key has: %d %s", got.Code, got.Body)
	}
	if _, _, err := w.registry.Revoke(t.Context(), keys.Program("test"), "org", one.ID, ""); err != nil {
		t.Fatal(err)
	}
	if got := put("", "reports:read"); got.Code != 200 {
		t.Errorf("its key is revoked: %d %s", got.Code, got.Body)
	}
	w.problem("the other's is not", put("", "reports:more"), 409, "in_use")
}

// TestManyKeysAreCountedAndSomeNamed: an answer has an end.
func TestManyKeysAreCountedAndSomeNamed(t *testing.T) {
	w := newWorld(t)
	for i := range 12 {
		w.aKey("org", fmt.Sprint("key ", i), "", "alerts:write")
	}
	got := w.call("POST", "/v1/resources", w.token("staff", keys.OperatorScope), `{"audience":"https://api.example.com","name":"API","scopes":[{"name":"alerts:read"}]}`)
	w.problem("many", got, 409, "in_use")
	if got.json["key_count"] != 12.0 || len(got.json["keys"].([]any)) != 5 {
		t.Errorf("%s", got.Body)
	}
}

func (w *world) resourceID(audience string) string {
	w.t.Helper()
	catalogue, err := w.registry.Catalogue(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	res, _ := catalogue.Resource(audience)
	return res.ID
}
