//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
)

// ask makes a call of the management API about the demo organisation.
func (c *child) ask(method, path, token, body string) reply {
	return do(method, c.url+"/v1/orgs/org_demo"+path, "application/json", "Bearer "+token, body)
}

// TestSuspendedKeyDoesNothingForItself is R-073: a key that manages keys, and is
// suspended, resumes nothing with the token that it has, and gets no other.
func TestSuspendedKeyDoesNothingForItself(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	operator := server.operatorToken()
	r := server.ask("POST", "/keys", operator, `{"name":"Panel","scopes":["keys:read","keys:write"]}`)
	var panel management.KeyWithSecret
	if err := json.Unmarshal([]byte(r.body), &panel); err != nil || r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	token, _ := server.tokenFor(panel.Key.ClientID, panel.Secret.Value)
	own := "/keys/" + panel.Key.ID
	if r := server.ask("GET", own, token, ""); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := server.ask("POST", own+"/suspend", operator, ""); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for _, row := range []struct{ method, path, body string }{
		{"GET", own, ""}, {"POST", own + "/resume", ""}, {"POST", own + "/secrets", ""}, {"PATCH", own, `{"name":"x"}`}, {"DELETE", own, ""},
		{"POST", "/keys", `{"name":"x","scopes":["alerts:read"]}`},
	} {
		if r := server.ask(row.method, row.path, token, row.body); r.status != 401 || !strings.Contains(r.body, "revoked") {
			t.Errorf("%s %s: %d %s", row.method, row.path, r.status, r.body)
		}
	}
	if again, r := server.tokenFor(panel.Key.ClientID, panel.Secret.Value); again != "" || !strings.Contains(r.body, "suspended") {
		t.Errorf("a token: %s", r.body)
	}
	r = server.ask("GET", own, operator, "")
	var key management.Key
	if err := json.Unmarshal([]byte(r.body), &key); err != nil || key.Status != "suspended" || key.Name != "Panel" || len(key.Secrets) != 1 {
		t.Errorf("%s", r.body)
	}
}

// TestPlanLimitHoldsOverReplicas is R-077: three servers on one database, one free
// slot, creates among revokes and changes of the plan: never one too many.
func TestPlanLimitHoldsOverReplicas(t *testing.T) {
	listen := address(t)
	start := replicas(t, sqlstoretest.URL(t), "http://"+listen)
	servers := []*child{start(listen), start(address(t)), start(address(t))}
	operator := servers[0].operatorToken()
	for i := range 8 { // the demo integration has the first
		if _, r := servers[0].create(operator, fmt.Sprint("first ", i)); r.status != 201 {
			t.Fatal(r.body)
		}
	}
	if r := servers[0].ask("POST", "/limit", operator, `{"max_keys":10,"reason":"a test"}`); r.status != 200 {
		t.Fatal(r.body)
	}
	count := func(n int, status func(reply) bool) (matching int) {
		var all sync.WaitGroup
		var mu sync.Mutex
		for i := range n {
			all.Go(func() {
				_, r := servers[i%3].create(operator, fmt.Sprint("round ", n, " ", i))
				mu.Lock()
				defer mu.Unlock()
				if status(r) {
					matching++
				} else if !strings.Contains(r.body, "plan_limit_reached") {
					t.Errorf("%d %s", r.status, r.body)
				}
			})
		}
		all.Wait()
		return matching
	}
	if made := count(64, func(r reply) bool { return r.status == 201 }); made != 1 {
		t.Errorf("%d made for one slot", made)
	}
	if r := servers[1].ask("POST", "/plan", operator, `{"plan":"Professional"}`); r.status != 200 {
		t.Fatal(r.body)
	}
	if r := servers[2].ask("POST", "/limit", operator, `{"max_keys":null,"reason":"over"}`); r.status != 200 {
		t.Fatal(r.body)
	}
	if made := count(12, func(r reply) bool { return r.status == 201 }); made != 0 {
		t.Errorf("%d made over the limit of a smaller plan", made)
	}
	r := servers[2].ask("GET", "/limits", operator, "")
	if strings.TrimSpace(r.body) != `{"active":10,"max":5}` {
		t.Errorf("%s", r.body)
	}
}
