package management

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
)

// gitHub signs reports, and publishes the key as GitHub does.
type gitHub struct {
	key     *ecdsa.PrivateKey
	url     string
	fetched atomic.Int64
	down    atomic.Bool
}

func newGitHub(t *testing.T) *gitHub {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	g := &gitHub{key: key}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g.fetched.Add(1)
		if g.down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"public_keys": []map[string]any{{"key_identifier": "k1", "is_current": true,
			"key": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}}})
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

func (g *gitHub) sign(t *testing.T, body string) string {
	sum := sha256.Sum256([]byte(body))
	signature, err := ecdsa.SignASN1(rand.Reader, g.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(signature)
}

// TestGitHubReportsEndSecrets: a signed report ends what it names and labels each
// match; what is not signed by a key of GitHub's does nothing.
func TestGitHubReportsEndSecrets(t *testing.T) {
	g := newGitHub(t)
	a := newAPI(t, "Enterprise")
	a.server.config.GitHubKeys, a.server.github = g.url, &githubKeys{url: g.url}
	a.handler = web.Log(slog.New(slog.DiscardHandler), a.server.handler())
	c, err := a.registry.Create(t.Context(), keys.Program("test"), "org", keys.NewKey{Name: "CI", Access: keys.Access{Scopes: []string{"alerts:read"}}})
	if err != nil {
		t.Fatal(err)
	}
	secret := c.Secret.Reveal()
	unknown := typo(secret)
	body := fmt.Sprintf(`[{"token":%q,"type":"imara_secret","url":"https://github.com/x","source":"commit"},{"token":%q,"type":"imara_secret","url":"","source":"CONTENT<"}]`, secret, unknown)
	report := func(body, id, signature string) reply {
		return a.call("POST", "/v1/leaks/github", "", body, "Github-Public-Key-Identifier", id, "Github-Public-Key-Signature", signature)
	}
	signed := g.sign(t, body)
	g.down.Store(true)
	a.problem("keys that cannot be fetched", report(body, "k1", signed), 503, "store_unavailable")
	a.problem("and are not asked for again at once", report(body, "k1", signed), 503, "store_unavailable")
	g.down.Store(false)
	*a.server.github = githubKeys{url: g.url}
	for name, row := range map[string][3]string{
		"no signature":    {body, "k1", ""},
		"no key":          {body, "", signed},
		"unknown key":     {body, "k2", signed},
		"another body":    {strings.Replace(body, "commit", "content", 1), "k1", signed},
		"re-serialised":   {strings.Replace(body, `,"type"`, `, "type"`, 1), "k1", signed},
		"not a signature": {body, "k1", "AAAA"},
	} {
		a.problem(name, report(row[0], row[1], row[2]), 401, "invalid_signature")
	}
	if n := g.fetched.Load(); n != 2 {
		t.Errorf("the keys were fetched %d times", n)
	}
	if a.works(c) != nil {
		t.Fatal("an unsigned report ended the secret")
	}
	for range 2 { // a report may come twice
		got := report(body, "k1", signed)
		var feedback []GitHubFeedback
		if err := json.Unmarshal(got.Body.Bytes(), &feedback); err != nil || got.Code != 200 || len(feedback) != 2 {
			t.Fatalf("%d %s", got.Code, got.Body)
		}
		sum := sha256.Sum256([]byte(secret))
		if feedback[0].Label != "true_positive" || feedback[0].TokenHash != hex.EncodeToString(sum[:]) || feedback[1].Label != "false_positive" {
			t.Errorf("%+v", feedback)
		}
		if strings.Contains(got.Body.String(), secret[20:40]) {
			t.Error("the answer has the secret")
		}
	}
	if a.works(c) == nil {
		t.Error("the secret still works")
	}
	events, _ := a.registry.Events(t.Context(), "org", keys.EventPage{Action: "secret.leaked"})
	if len(events) != 1 || !strings.HasSuffix(events[0].Reason, "GitHub (commit)") || strings.Contains(fmt.Sprint(events), secret[20:40]) {
		t.Errorf("%+v", events)
	}
	var many strings.Builder
	many.WriteString("[")
	for i := range maxMatches {
		fmt.Fprintf(&many, `{"token":"%d","type":"x","url":"","source":"commit"},`, i)
	}
	whole := strings.TrimSuffix(many.String(), ",") + "]"
	if got := report(whole, "k1", g.sign(t, whole)); got.Code != 200 || strings.Count(got.Body.String(), "false_positive") != maxMatches {
		t.Errorf("%d", got.Code)
	}
	large := `["` + strings.Repeat("x", maxBody) + `"]`
	a.problem("a large report", report(large, "k1", g.sign(t, large)), 413, "body_too_large")
}

// typo is a secret with one character that is another.
func typo(secret string) string {
	other := "0"
	if secret[30:31] == other {
		other = "1"
	}
	return secret[:30] + other + secret[31:]
}

// works signs in with the secret.
func (a *api) works(c keys.Created) error {
	record, err := a.registry.Record(a.t.Context(), c.Key.ClientID, "")
	if err != nil {
		a.t.Fatal(err)
	}
	_, err = a.registry.Authenticate(record, c.Secret, c.Key.CreatedAt)
	if current := record.Key.Credentials[0]; err == nil && !current.EndsAt.IsZero() {
		return keys.ErrSecretEnded
	}
	return err
}

// TestAnybodyMayReportALeak: without a token, and learns nothing but whether it helped.
func TestAnybodyMayReportALeak(t *testing.T) {
	a := newAPI(t, "Enterprise")
	c, err := a.registry.Create(t.Context(), keys.Program("test"), "org", keys.NewKey{Name: "CI", Access: keys.Access{Scopes: []string{"alerts:read"}}})
	if err != nil {
		t.Fatal(err)
	}
	secret := c.Secret.Reveal()
	for name, text := range map[string]string{"nothing": "", "a word": "hunter2", "a typo": typo(secret)} {
		if got := a.call("POST", "/v1/leaks", "", fmt.Sprintf(`{"secret":%q}`, text)); got.Code != 200 || got.json["known"] != false {
			t.Errorf("%s: %s", name, got.Body)
		}
	}
	if a.works(c) != nil {
		t.Fatal("it ended")
	}
	got := a.call("POST", "/v1/leaks", "", fmt.Sprintf(`{"secret":%q,"where":"a gist"}`, secret))
	if got.Code != 200 || got.json["known"] != true || got.json["ended"] != true || strings.Contains(got.Body.String(), "org") || a.works(c) == nil {
		t.Errorf("%s", got.Body)
	}
	if got := a.call("POST", "/v1/leaks/github", "", "[]"); got.Code != 404 {
		t.Errorf("GitHub's reports are not asked for: %d", got.Code)
	}
}
