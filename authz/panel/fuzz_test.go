package panel

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/imara/apikeys/keys"
)

// endpoint answers every request with one text.
type endpoint string

func (e endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(string(e)))}, nil
}

// FuzzProviderAnswer: whatever a provider sends the browser back with, says at its token
// endpoint and signs in an ID token, it ends as a problem that people can read, or signs
// in somebody with an address in a domain of the provider, and with roles of its rules.
func FuzzProviderAnswer(f *testing.F) {
	const issuer = "https://sso.example"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	good := `"iss":"` + issuer + `","aud":"panel","sub":"ann","exp":4102444800,"iat":1,"nonce":"n"`
	for _, claims := range []string{`,"email":"ann@acme.example","email_verified":true,"groups":["admins"],"auth_time":1`,
		`,"email":"ann@acme.example@evil.example","email_verified":true`, `,"email":["ann@acme.example"],"email_verified":"true"`,
		`,"email":" ANN@ACME.EXAMPLE ","email_verified":1,"groups":{"admins":true},"auth_time":1e400`, `,"auth_time":-9.3e18,"email":null`} {
		f.Add("code=x&state=s", `{"access_token":"a","token_type":"Bearer","id_token":"ID"}`, "{"+good+claims+"}")
	}
	f.Add("error=access_denied&error_description=%00", `{}`, `{}`)
	f.Add("iss=https://evil.example&code=x", `{"error":"invalid_grant"}`, `null`)
	f.Add("code=x", `{"access_token":"a","id_token":7}`, `[]`)
	q := &provider{Provider: Provider{ID: "acme", Issuer: issuer, ClientID: "panel", Domains: []string{"acme.example"},
		Rules: []Rule{{"groups", "admins", "acme", keys.Admin}, {"", "", "other", keys.Developer}}},
		client:   oauth2.Config{ClientID: "panel", ClientSecret: "x", Endpoint: oauth2.Endpoint{TokenURL: issuer + "/token", AuthStyle: oauth2.AuthStyleInHeader}},
		verifier: oidc.NewVerifier(issuer, &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{key.Public()}}, &oidc.Config{ClientID: "panel", SupportedSigningAlgs: []string{"ES256"}})}
	f.Fuzz(func(t *testing.T, query, answer, claims string) {
		text := base64.RawURLEncoding.EncodeToString
		input := text([]byte(`{"alg":"ES256"}`)) + "." + text([]byte(claims))
		digest := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		raw := input + "." + text(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		q.http = &http.Client{Transport: endpoint(strings.ReplaceAll(answer, "ID", raw))}
		id, err := q.identity(t.Context(), values, ssoBegun{provider: "acme", state: "s", nonce: "n", verifier: "v"})
		var readable *ssoError
		if err != nil {
			if !errors.As(err, &readable) || readable.Text == "" || readable.status < 400 {
				t.Fatalf("%q %q: %v", answer, claims, err)
			}
			return
		}
		_, domain, _ := strings.Cut(id.Email, "@")
		if !slices.Contains(q.Domains, domain) || id.ProvedAt.After(time.Now()) || id.Roles["acme"] != "" && id.Roles["acme"] != keys.Admin ||
			!json.Valid([]byte(claims)) {
			t.Fatalf("%q: %+v", claims, id)
		}
	})
}
