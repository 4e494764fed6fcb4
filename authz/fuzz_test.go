package authz

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/imara/apikeys/tokens"
)

// FuzzIssuer: a server can be mounted at every issuer that is accepted, and answers where
// its clients look for it.
func FuzzIssuer(f *testing.F) {
	for _, seed := range []string{"https://h", "https://h/t1", "http://[::1]:8080/a/b", "https://h/a//b", "https://h/%7Bx%7D", "https://h/.well-known",
		"https://h/.well-known/oauth-authorization-server", "https://h/oauth2/token", "https://h/caf%C3%A9", "https://h/feed/sessions/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, issuer string) {
		if tokens.CheckIdentifier(issuer) != nil {
			return
		}
		v, err := tokens.NewVerifier(tokens.Config{Issuer: issuer, Audience: ManagementAudience(issuer), Feed: blindFeed{}, InsecureHTTP: true})
		if err != nil {
			t.Fatalf("%q: %v", issuer, err)
		}
		s := &Server{config: Config{Issuer: issuer}, verifier: v}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest("GET", issuer+"/livez", nil))
		if w.Code != http.StatusOK {
			t.Fatalf("%q: %d %v", issuer, w.Code, w.Header())
		}
	})
}

// blindFeed is a feed that knows nothing.
type blindFeed struct{ tokens.Feed }

func (blindFeed) Revocations() *tokens.Revocations { return tokens.NewRevocations(0) }
