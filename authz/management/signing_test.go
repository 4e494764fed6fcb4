package management

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens/signing"
)

// signingKey is the kid of the one that is in a state.
func (a *api) signingKey(state signing.KeyState) string {
	a.t.Helper()
	if err := a.ring.Load(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	for _, k := range a.ring.Keys() {
		if k.State == state {
			return k.ID
		}
	}
	a.t.Fatalf("no %s key", state)
	return ""
}

// signingStates are the keys of an answer.
func signingStates(list any) map[string]string {
	states := map[string]string{}
	keys, _ := list.([]any)
	for _, k := range keys {
		k := k.(map[string]any)
		states[k["kid"].(string)] = k["state"].(string)
	}
	return states
}

// TestRotationIsRefusedUntilTheNextKeyIsReady: with what to do, whoever repeats it, and
// four at once rotate once.
func TestRotationIsRefusedUntilTheNextKeyIsReady(t *testing.T) {
	w := newWorld(t)
	token, next := w.token("staff", "operator"), w.signingKey(signing.Next)
	rotate := func(key string) reply {
		return w.call("POST", "/v1/signing-keys", token, `{"algorithm":"ES256"}`, "Idempotency-Key", key)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for range 4 {
		all.Go(func() {
			got := rotate("")
			mu.Lock()
			defer mu.Unlock()
			codes[got.Code]++
		})
	}
	all.Wait()
	if codes[201] != 1 || codes[409] != 3 || w.signingKey(signing.Current) != next {
		t.Errorf("%v", codes)
	}
	early := rotate("one")
	w.problem("too early", early, 409, "signing_key_too_new")
	detail, _ := early.json["detail"].(string)
	if early.json["fix"] == nil || !strings.Contains(detail, w.signingKey(signing.Next)) {
		t.Errorf("%s", early.Body)
	}
	w.store.Age(signing.Lead)
	first, again := rotate("one"), rotate("one")
	if first.Code != 201 || again.Code != 201 || again.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s\nthen %s", first.Body, again.Body)
	}
	if n, err := w.registry.CountEvents(t.Context(), "", keys.EventPage{Action: "signing.rotate"}); err != nil || n != 2 {
		t.Errorf("%d rotations, %v", n, err)
	}
	w.problem("another algorithm", w.call("POST", "/v1/signing-keys", token, `{"algorithm":"HS256"}`), 422, "invalid_field")
	for _, k := range w.call("GET", "/v1/signing-keys", token, "").json["data"].([]any) {
		k := k.(map[string]any)
		next, ready, active := k["state"] == "next", k["ready_at"] != nil, k["active_at"] != nil
		if next != ready || next == active || k["created_at"] == nil {
			t.Errorf("%v", k)
		}
	}
}

// TestWithdrawalHasOneReceipt: whoever repeats it, with a key and without, gets it.
func TestWithdrawalHasOneReceipt(t *testing.T) {
	w := newWorld(t)
	token, stolen, next := w.token("staff", "operator"), w.signingKey(signing.Current), w.signingKey(signing.Next)
	withdraw := func(kid, body, key string) reply {
		return w.call("POST", "/v1/signing-keys/"+kid+"/withdraw", token, body, "Idempotency-Key", key)
	}
	first := withdraw(stolen, `{"reason":"in a core dump"}`, "one")
	receipt, _ := first.json["receipt"].(map[string]any)
	if first.Code != http.StatusOK || receipt["reason"] != "in a core dump" ||
		receipt["state"] != "confirmed" || receipt["position"] == nil {
		t.Fatalf("%s", first.Body)
	}
	states := signingStates(first.json["signing_keys"])
	if states[stolen] != "withdrawn" || states[next] != "current" || len(states) != 3 {
		t.Errorf("%v", states)
	}
	for what, again := range map[string]reply{
		"the same request": withdraw(stolen, `{"reason":"in a core dump"}`, "one"),
		"without a body":   withdraw(stolen, "", ""),
		"another reason":   withdraw(stolen, `{"reason":"again"}`, "two"),
	} {
		got, _ := again.json["receipt"].(map[string]any)
		if again.Code != http.StatusOK || got["position"] != receipt["position"] || got["reason"] != receipt["reason"] {
			t.Errorf("%s: %s", what, again.Body)
		}
	}
	if n, err := w.registry.CountEvents(t.Context(), "", keys.EventPage{Action: "signing.withdraw"}); err != nil || n != 1 {
		t.Errorf("%d withdrawals, %v", n, err)
	}
	w.problem("a kid that is none", withdraw("2026-01-01-none", "", ""), 404, "signing_key_not_found")
	long := `{"reason":"` + strings.Repeat("x", 501) + `"}`
	w.problem("a reason that is too long", withdraw(next, long, ""), 422, "invalid_field")
	path, support := "/v1/signing-keys/"+next+"/withdraw", w.token("staff", "operator members:act")
	w.problem("support", w.call("POST", path, support, "", "Imara-Actor", "mem_staff_support"), 403, "forbidden")
	w.problem("a customer", w.call("POST", path, w.token("org", everything), ""), 403, "insufficient_scope")

	activity := w.call("GET", "/v1/signing-keys/"+stolen+"/activity", token, "")
	rows, _ := activity.json["activities"].([]any)
	latest, _ := rows[0].(map[string]any)
	if activity.Code != http.StatusOK || activity.json["all"] != float64(len(rows)) ||
		latest["action"] != "signing.withdraw" || latest["count"] != 1.0 || latest["last_at"] == nil {
		t.Errorf("%s", activity.Body)
	}
	w.problem("the activity of none", w.call("GET", "/v1/signing-keys/none/activity", token, ""), 404, "signing_key_not_found")
}
