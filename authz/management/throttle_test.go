package management

import (
	"net/http"
	"testing"

	"github.com/imara/apikeys/authz/limits"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
)

// TestStrangersAreSlowedDown: tokens that are none, and reports of secrets that are nobody's,
// are told to wait after a while; a good token and a true report go through all the same.
func TestStrangersAreSlowedDown(t *testing.T) {
	for name, fail := range map[string]func(w *world) reply{
		"tokens that are none": func(w *world) reply { return w.call("GET", "/v1/me", "garbage", "") },
		"no token":             func(w *world) reply { return w.call("GET", "/v1/orgs/org", "", "") },
		"reports of nothing":   func(w *world) reply { return w.call("POST", "/v1/leaks", "", `{"secret":"x"}`) },
	} {
		w := newWorld(t)
		limiter, err := limits.New(limits.Config{})
		if err != nil {
			t.Fatal(err)
		}
		w.server.config.Throttle = web.NewThrottle(limiter)
		leaked, err := w.registry.Create(t.Context(), keys.Program("test"), "org",
			keys.NewKey{Name: "leaked", Access: keys.Access{Scopes: []string{"alerts:read"}}})
		if err != nil {
			t.Fatal(err)
		}
		var got reply
		for range 5000 {
			if got = fail(w); got.Code == http.StatusTooManyRequests {
				break
			}
		}
		w.problem(name, got, 429, "rate_limited")
		h := got.Header()
		if h.Get("Retry-After") == "" || h.Get("RateLimit") == "" || h.Get("RateLimit-Policy") == "" || got.json["fix"] == "" {
			t.Errorf("%s: %v %s", name, h, got.Body)
		}
		if got := w.call("GET", "/v1/orgs/org", w.token("org", everything), ""); got.Code != 200 {
			t.Errorf("%s: a good token: %s", name, got.Body)
		}
		if got := w.call("POST", "/v1/leaks", "", `{"secret":"`+leaked.Secret.Reveal()+`"}`); got.Code >= 300 || got.json["known"] != true {
			t.Errorf("%s: a true report: %s", name, got.Body)
		}
	}
}
