package management

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
)

// TestRepeatedRequestIsCarriedOutOnce: the answer says so, and never shows the
// secret again; another request with the key is refused; so is one of many at once.
func TestRepeatedRequestIsCarriedOutOnce(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	post := func(path, body, key string) reply {
		return w.call("POST", "/v1/orgs/org/keys"+path, token, body, "Idempotency-Key", key)
	}
	first := post("", `{"name":"CI","scopes":["alerts:read"]}`, "build-812")
	again := post("", `{"name":"CI","scopes":["alerts:read"]}`, "build-812")
	if first.Code != 201 || first.Header().Get("Idempotency-Replayed") != "" || first.json["secret"] == nil {
		t.Fatalf("%s", first.Body)
	}
	key := first.json["key"].(map[string]any)
	if again.Code != 201 || again.Header().Get("Idempotency-Replayed") != "true" || again.json["secret"] != nil || again.json["secret_delivered_at"] == nil ||
		again.json["key"].(map[string]any)["id"] != key["id"] {
		t.Errorf("%s", again.Body)
	}
	w.problem("another body", post("", `{"name":"CD","scopes":["alerts:read"]}`, "build-812"), 422, "idempotency_mismatch")
	w.problem("another route", post("/"+key["id"].(string)+"/revoke", "", "build-812"), 422, "idempotency_mismatch")
	w.problem("a bad key", post("", `{}`, "build 812"), 400, "invalid_header")
	if other := w.call("POST", "/v1/orgs/other/keys", w.tokenOf("other", everything, "imara_ci_99999999999999999999"), `{"name":"CI","scopes":["alerts:read"]}`, "Idempotency-Key", "build-812"); other.Code != 201 || other.json["secret"] == nil {
		t.Errorf("another client's: %s", other.Body)
	}
	id := key["id"].(string)
	for _, path := range []string{"/secrets", "/suspend", "/resume", "/revoke"} {
		one, two := post("/"+id+path, "", "key"+path), post("/"+id+path, "", "key"+path)
		if one.Code >= 300 || two.Code != one.Code || two.Header().Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: %s\nthen %s", path, one.Body, two.Body)
		}
		if path == "/revoke" && two.json["receipt"].(map[string]any)["position"] != one.json["receipt"].(map[string]any)["position"] {
			t.Errorf("two receipts: %s\nthen %s", one.Body, two.Body)
		}
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	made := map[string]int{}
	for range 8 {
		all.Go(func() {
			got := post("", `{"name":"many","scopes":["alerts:read"]}`, "many")
			mu.Lock()
			defer mu.Unlock()
			if got.json["secret"] != nil {
				made["with a secret"]++
			} else if got.Code != 201 && got.json["code"] != "name_taken" {
				t.Errorf("%s", got.Body)
			}
		})
	}
	all.Wait()
	if made["with a secret"] != 1 {
		t.Errorf("%v", made)
	}
	// Nothing that was refused is remembered.
	w.problem("refused", post("", `{"name":"late","scopes":["nothing"]}`, "late"), 422, "invalid_field")
	if got := post("", `{"name":"late","scopes":["alerts:read"]}`, "late"); got.Code != 201 {
		t.Errorf("after a refusal: %s", got.Body)
	}
}

// TestChangesMeetTheirVersion: If-Match guards every change, a member must send it,
// and what is shown has the ETag of what is stored.
func TestChangesMeetTheirVersion(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	path := "/v1/orgs/org/keys/" + w.ids["org"]["key"]
	tag := w.call("GET", path, token, "").Header().Get("ETag")
	if !regexp.MustCompile(`^"[0-9a-f]{24}"$`).MatchString(tag) {
		t.Fatalf("ETag %s", tag)
	}
	edited := w.call("PATCH", path, token, `{"description":"For builds"}`, "If-Match", tag)
	if edited.Code != 200 || edited.Header().Get("ETag") == tag || edited.json["key"].(map[string]any)["description"] != "For builds" {
		t.Errorf("%v %s", edited.Header(), edited.Body)
	}
	for _, row := range []struct{ method, path, body string }{
		{"PATCH", "", `{"name":"lost"}`}, {"DELETE", "", ""}, {"POST", "/revoke", ""}, {"POST", "/suspend", ""}, {"POST", "/secrets", ""},
	} {
		w.problem(row.method+row.path, w.call(row.method, path+row.path, token, row.body, "If-Match", tag), 412, "precondition_failed")
	}
	w.problem("a member without it", w.call("PATCH", path, token, `{"name":"x"}`, "Imara-Actor", "mem_org_admin"), 428, "precondition_required")
	now := w.call("GET", path, token, "").Header().Get("ETag")
	if now != edited.Header().Get("ETag") {
		t.Errorf("the answer says %s, the key has %s", edited.Header().Get("ETag"), now)
	}
	if got := w.call("PATCH", path, token, `{"name":"x"}`, "Imara-Actor", "mem_org_admin", "If-Match", now); got.Code != 200 {
		t.Errorf("%s", got.Body)
	}
	now = w.call("GET", path, token, "").Header().Get("ETag")
	for _, match := range []string{"W/" + now, strings.TrimSuffix(now, `"`) + `-gzip"`, `"old", W/` + now, "*"} {
		if got := w.call("PATCH", path, token, `{"name":"x"}`, "If-Match", match); got.Code != 200 {
			t.Errorf("%s: %s", match, got.Body)
		}
	}
	member := "/v1/orgs/org/members/mem_org_auditor"
	tag = w.call("GET", member, token, "").Header().Get("ETag")
	if got := w.call("PATCH", member, token, `{"name":"Ann"}`, "If-Match", tag); got.Code != 200 {
		t.Errorf("%s", got.Body)
	}
	w.problem("a member's", w.call("PATCH", member, token, `{"name":"Bob"}`, "If-Match", tag), 412, "precondition_failed")
	organization := w.call("GET", "/v1/orgs/org", token, "").Header().Get("ETag")
	if got := w.call("PATCH", "/v1/orgs/org/policy", token, `{"approval":true}`, "If-Match", organization); got.Code != 200 {
		t.Errorf("%s", got.Body)
	}
	w.problem("an organisation's", w.call("PATCH", "/v1/orgs/org", token, `{"name":"x"}`, "If-Match", organization), 412, "precondition_failed")
}

// TestEditedKeyIsCheckedLikeANewOne is: the update runs the same
// checks, and no member that is not the caller's to set is taken.
func TestEditedKeyIsCheckedLikeANewOne(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	path := "/v1/orgs/org/keys/" + w.ids["org"]["key"]
	before := w.call("GET", path, token, "").Body.String()
	for name, row := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"empty name":       {`{"name":""}`, 422, "invalid_field"},
		"long name":        {`{"name":"` + strings.Repeat("x", 81) + `"}`, 422, "invalid_field"},
		"no scopes":        {`{"scopes":[]}`, 422, "invalid_field"},
		"unknown scope":    {`{"scopes":["nothing"]}`, 422, "invalid_field"},
		"restricted scope": {`{"scopes":["operator"]}`, 403, "scope_not_grantable"},
		"dangerous scope":  {`{"scopes":["billing:all"]}`, 403, "scope_not_grantable"},
		"past end":         {`{"expires_at":"2001-01-01T00:00:00Z"}`, 422, "invalid_field"},
		"a network":        {`{"networks":["203.0.113.300"]}`, 422, "invalid_field"},
		"token life":       {`{"token_ttl_seconds":7}`, 422, "invalid_field"},
		"unknown owner":    {`{"owner":"mem_other_owner"}`, 422, "invalid_field"},
		"id":               {`{"id":"key_2"}`, 400, "invalid_body"},
		"org_id":           {`{"org_id":"other"}`, 400, "invalid_body"},
		"status":           {`{"status":"active"}`, 400, "invalid_body"},
		"created_at":       {`{"created_at":"2001-01-01T00:00:00Z"}`, 400, "invalid_body"},
		"secret_hash":      {`{"secret_hash":"x"}`, 400, "invalid_body"},
		"requested_by":     {`{"requested_by":"me"}`, 400, "invalid_body"},
		"verified":         {`{"verified":true}`, 400, "invalid_body"},
	} {
		w.problem(name, w.call("PATCH", path, token, row.body), row.status, row.code)
	}
	for name, row := range map[string][3]string{
		"role of an organisation": {"PATCH", "/v1/orgs/org", `{"name":"x","plan":"Enterprise"}`},
		"operator":                {"PATCH", "/v1/orgs/org", `{"name":"x","operator":true}`},
		"member id":               {"POST", "/v1/orgs/org/members", `{"name":"x","email":"x@example.com","role":"owner","id":"mem_1"}`},
		"granted request":         {"POST", "/v1/orgs/org/limit-requests", `{"max_keys":1000,"reason":"x","state":"granted"}`},
	} {
		w.problem(name, w.call(row[0], row[1], token, row[2]), 400, "invalid_body")
	}
	if after := w.call("GET", path, token, "").Body.String(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	ends := time.Now().Add(time.Hour).UTC().Truncate(time.Second).Format(time.RFC3339)
	edited := w.call("PATCH", path, token, `{"scopes":["alerts:read","alerts:write"],"networks":["203.0.113.9","2001:db8::/32"],"expires_at":"`+ends+`","token_ttl_seconds":60}`)
	if key := edited.json["key"].(map[string]any); edited.Code != 200 || fmt.Sprint(key["networks"]) != "[203.0.113.9/32 2001:db8::/32]" || key["expires_at"] != ends || key["token_ttl_seconds"] != 60.0 || edited.json["receipt"] == nil {
		t.Errorf("%s", edited.Body)
	}
	edited = w.call("PATCH", path, token, `{"expires_at":null,"networks":[]}`)
	if key := edited.json["key"].(map[string]any); key["expires_at"] != nil || key["networks"] != nil || len(key["scopes"].([]any)) != 2 || edited.json["receipt"] != nil {
		t.Errorf("%s", edited.Body)
	}
}

// TestListsAreSortedAndFiltered: pages join in every order; nothing of a query
// reaches SQL; an unknown parameter is refused.
func TestListsAreSortedAndFiltered(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	for i := range 9 {
		if got := w.call("POST", "/v1/orgs/org/keys", token, fmt.Sprintf(`{"name":"%c %d","scopes":["alerts:%s"],"expires_at":"20%d-01-01T00:00:00Z"}`, "cab"[i%3], i, []string{"read", "write"}[i%2], 90-i)); got.Code != 201 {
			t.Fatal(got.Body)
		}
	}
	ids := func(query string) (found []string) {
		cursor := ""
		for {
			got := w.call("GET", "/v1/orgs/org/keys?limit=4&"+query+cursor, token, "")
			if got.Code != 200 {
				t.Fatalf("%s: %s", query, got.Body)
			}
			for _, k := range got.json["data"].([]any) {
				found = append(found, k.(map[string]any)["name"].(string))
			}
			next, more := got.json["next_cursor"].(string)
			if more != (got.json["has_more"] == true) || more != strings.HasSuffix(got.Header().Get("Link"), `>; rel="next"`) {
				t.Fatalf("%s %v", got.Body, got.Header())
			}
			if !more {
				return found
			}
			cursor = "&cursor=" + next
		}
	}
	names := ids("sort=name")
	if len(names) != 10 || !slices.IsSorted(names) {
		t.Errorf("by name: %v", names)
	}
	reversed := slices.Clone(names)
	slices.Reverse(reversed)
	if got := ids("sort=-name"); !slices.Equal(got, reversed) {
		t.Errorf("by name, descending: %v", got)
	}
	if got := ids("sort=expires_at"); got[0] != "b 8" || got[9] != "key" {
		t.Errorf("by end: %v", got)
	}
	if got := ids("scope=alerts:write&sort=name"); len(got) != 4 {
		t.Errorf("by scope: %v", got)
	}
	if got := ids("q=A&status=active&unused_for=1d"); len(got) != 3 {
		t.Errorf("by text: %v", got)
	}
	first := w.call("GET", "/v1/orgs/org/keys?limit=4&sort=name", token, "").json["next_cursor"].(string)
	for _, query := range []string{"sort=-name&cursor=" + first, "sort=name&q=a&cursor=" + first} {
		w.problem("the cursor of another list", w.call("GET", "/v1/orgs/org/keys?"+query, token, ""), 400, "invalid_cursor")
	}
	for _, query := range []string{"sort=name;--", "sort=created_at%20DESC", "status=$1", "unused_for=$$", "limit=4%20OR%201", "unknown=1", "sort=NAME", "unused_for=-1d"} {
		w.problem(query, w.call("GET", "/v1/orgs/org/keys?"+query, token, ""), 422, "invalid_field")
	}
	if got := ids("q=%25"); len(got) != 0 {
		t.Errorf("a wildcard found %v", got)
	}
}

// TestDocumentIsWhatIsServed: the OpenAPI document has every route, its scope and
// its schemas, and points nowhere else.
func TestDocumentIsWhatIsServed(t *testing.T) {
	w := newWorld(t)
	got := w.call("GET", "/v1/openapi.json", "", "")
	var document struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(got.Body.Bytes(), &document); err != nil || got.Code != 200 || document.OpenAPI != "3.1.0" {
		t.Fatalf("%d, %v", got.Code, err)
	}
	ids := map[string]bool{}
	for _, rt := range w.server.routes {
		op, ok := document.Paths["/v1"+rt.path][strings.ToLower(rt.method)]
		if !ok || op.OperationID == "" || ids[op.OperationID] {
			t.Errorf("%s %s: in the document %t, as %q", rt.method, rt.path, ok, op.OperationID)
		}
		ids[op.OperationID] = true
	}
	for _, ref := range regexp.MustCompile(`"\$ref":"([^"]*)"`).FindAllStringSubmatch(got.Body.String(), -1) {
		name, ok := strings.CutPrefix(ref[1], "#/components/schemas/")
		if _, there := document.Components.Schemas[name]; !ok || !there {
			t.Errorf("a reference to %s", ref[1])
		}
	}
	if strings.Contains(got.Body.String(), "ErrorModel") || strings.Contains(got.Body.String(), "$schema") {
		t.Error("something of the library's own is in the document")
	}
	if page := w.call("GET", "/v1/errors/nothing", "", ""); page.Code != 404 {
		t.Errorf("%s", page.Body)
	}
}

// TestNoAnswerShowsASecret is R-072: what every route answers to every role has no
// secret, MAC or private key.
func TestNoAnswerShowsASecret(t *testing.T) {
	w := newWorld(t)
	key, err := w.registry.Key(t.Context(), "org", w.ids["org"]["key"])
	if err != nil {
		t.Fatal(err)
	}
	mac := []byte(key.Credentials[0].MAC)
	for _, rt := range w.server.routes {
		if rt.method != http.MethodGet {
			continue
		}
		got := w.call(rt.method, fill(rt.path, w.ids["org"]), w.token("staff", everything+" operator"), "")
		text := got.Body.String()
		if got.Code != 200 || strings.Contains(text, "imara_cs_") || strings.Contains(text, "[redacted]") ||
			strings.Contains(text, fmt.Sprintf("%x", mac)) || strings.Contains(strings.ToLower(text), "pepper") || strings.Contains(text, `"d":`) {
			t.Errorf("%s: %d %s", rt.path, got.Code, text)
		}
	}
}

// TestPlanChangesWhileKeysAreMade is R-077: whatever the order of creates, revokes
// and downgrades, no more keys are made than the plan of the moment allows.
func TestPlanChangesWhileKeysAreMade(t *testing.T) {
	w := newWorld(t)
	token, staff := w.token("org", everything), w.token("staff", everything+" operator")
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			switch i % 4 {
			case 0:
				w.call("POST", "/v1/orgs/org/plan", staff, []string{`{"plan":"Professional"}`, `{"plan":"Enterprise"}`, `{"plan":"Starter"}`}[i/4%3])
			default:
				got := w.call("POST", "/v1/orgs/org/keys", token, fmt.Sprintf(`{"name":"n%d","scopes":["alerts:read"]}`, i))
				if got.Code == 201 && i%4 == 3 {
					w.call("POST", "/v1/orgs/org/keys/"+got.json["key"].(map[string]any)["id"].(string)+"/revoke", token, "")
				} else if got.Code != 201 && got.json["code"] != "plan_limit_reached" {
					t.Errorf("%s", got.Body)
				}
			}
		})
	}
	all.Wait()
	// The log is the order in which it happened: replay it.
	events, err := w.registry.Events(t.Context(), "org", keys.EventPage{})
	if err != nil {
		t.Fatal(err)
	}
	plan, custom, active := "Enterprise", "", 0
	for _, e := range events {
		if to, ok := e.Changes["plan"]; ok {
			plan = to.To
		}
		if to, ok := e.Changes["custom_limit"]; ok {
			custom = to.To
		}
		limit := map[string]int{"Professional": 5, "Enterprise": 20, "Starter": 2}[plan]
		if custom != "" {
			limit = 3
		}
		switch e.Action {
		case "key.create":
			if active >= limit {
				t.Errorf("event %d made key %d of %d", e.Position, active+1, limit)
			}
			active++
		case "key.revoke":
			active--
		}
	}
}

// TestTimesAreReadAsPeopleWriteThem: a plus that was not escaped is one, and what is no
// time is refused in words of ours.
func TestTimesAreReadAsPeopleWriteThem(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	for _, query := range []string{"since=2026-01-01T00:00:00+00:00", "since=2026-01-01T00:00:00%2B00:00", "since=2026-01-01T00:00:00%2000:00",
		"since=2026-01-01T00:00:00+02:00&until=2099-01-01T00:00:00.5+01%3A30", "until=2099-01-01T00:00:00-02:00"} {
		if got := w.call("GET", "/v1/orgs/org/audit-events?"+query, token, ""); got.Code != 200 {
			t.Errorf("%s: %d %s", query, got.Code, got.Body)
		}
	}
	path := "/v1/orgs/org/keys/" + w.ids["org"]["key"]
	for _, row := range []struct{ method, path, body string }{
		{"GET", "/v1/orgs/org/audit-events?since=yesterday", ""}, {"GET", "/v1/orgs/org/audit-events?since=1", ""},
		{"PATCH", path, `{"expires_at":5}`}, {"PATCH", path, `{"expires_at":"soon"}`}, {"PATCH", path, `{"expires_at":{}}`},
		{"POST", "/v1/orgs/org/keys", `{"name":"x","scopes":["alerts:read"],"expires_at":[1]}`},
	} {
		got := w.call(row.method, row.path, token, row.body)
		if got.Code < 400 || got.Code >= 500 || strings.Contains(got.Body.String(), "UnmarshalJSON") ||
			strings.Contains(got.Body.String(), "2006-") || !strings.Contains(got.Body.String(), "RFC 3339") {
			t.Errorf("%s %s: %d %s", row.path, row.body, got.Code, got.Body)
		}
	}
}
