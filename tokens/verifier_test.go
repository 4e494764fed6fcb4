package tokens_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/tokenstest"
)

const audience = "https://api.example.com"

// bench is a verifier with one key of its own, for tokens that no issuer signs.
type bench struct {
	key      *ecdsa.PrivateKey
	verifier *tokens.Verifier
}

type keyMap map[string]tokens.Key

func (m keyMap) Key(kid string) (tokens.Key, error) {
	if k, ok := m[kid]; ok {
		return k, nil
	}
	return tokens.Key{}, tokens.ErrUnknownKey
}

func newBench(t testing.TB) *bench {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{key: key}
	b.verifier, err = tokens.NewVerifier(tokens.Config{Issuer: tokenstest.URL, Audience: audience, Feed: tokenstest.New(t),
		Keys: keyMap{"k1": {Algorithm: tokens.ES256, Public: key.Public()}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// sign makes a JWS of any header and payload with the bench's key.
func (b *bench) sign(t testing.TB, header, payload string) string {
	t.Helper()
	input := encode(header) + "." + encode(payload)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, b.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + rs(r, s)
}

func rs(r, s *big.Int) string {
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return base64.RawURLEncoding.EncodeToString(signature)
}

const goodHeader = `{"typ":"at+jwt","alg":"ES256","kid":"k1"}`

// goodClaims are complete; changes replace or, with nil, remove members.
func goodClaims(changes map[string]any) string {
	now := time.Now().Unix()
	c := map[string]any{"iss": tokenstest.URL, "sub": "client", "aud": audience, "exp": now + 600, "iat": now, "jti": "j1",
		"client_id": "client", "scope": "alerts:read", "org": "org", "rv": 1000}
	for name, value := range changes {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestGoodTokenIsAcceptedNewAndSeen(t *testing.T) {
	b := newBench(t)
	for _, header := range []string{goodHeader, `{"alg":"ES256","kid":"k1","typ":"application/at+jwt"}`, `{"alg":"ES256","kid":"k1","typ":"AT+JWT","x":"ignored"}`} {
		raw := b.sign(t, header, goodClaims(nil))
		for _, when := range []string{"new", "seen"} {
			c, err := b.verifier.Verify(raw)
			if err != nil {
				t.Fatalf("%s, %s: %v", header, when, err)
			}
			if c.ClientID != "client" || !c.HasScope("alerts:read") || !c.Audience.Has(audience) {
				t.Errorf("claims %+v", c)
			}
		}
	}
	many := b.sign(t, goodHeader, goodClaims(map[string]any{"aud": []string{"https://other.example", audience}}))
	if _, err := b.verifier.Verify(many); err != nil {
		t.Errorf("one of two audiences: %v", err)
	}
}

// TestHeaderTrapsAreRefused is what golang-jwt lets pass, and what no parser
// should: rows, J-01 and J-08.
func TestHeaderTrapsAreRefused(t *testing.T) {
	b := newBench(t)
	for name, header := range map[string]string{
		"crit unknown":        `{"typ":"at+jwt","alg":"ES256","kid":"k1","crit":["exp"]}`,
		"crit empty":          `{"typ":"at+jwt","alg":"ES256","kid":"k1","crit":[]}`,
		"crit string":         `{"typ":"at+jwt","alg":"ES256","kid":"k1","crit":"x"}`,
		"b64":                 `{"typ":"at+jwt","alg":"ES256","kid":"k1","b64":false}`,
		"typ JWT":             `{"typ":"JWT","alg":"ES256","kid":"k1"}`,
		"typ absent":          `{"alg":"ES256","kid":"k1"}`,
		"typ introspection":   `{"typ":"token-introspection+jwt","alg":"ES256","kid":"k1"}`,
		"typ assertion":       `{"typ":"client-authentication+jwt","alg":"ES256","kid":"k1"}`,
		"typ dpop":            `{"typ":"dpop+jwt","alg":"ES256","kid":"k1"}`,
		"typ number":          `{"typ":1,"alg":"ES256","kid":"k1"}`,
		"typ, dotted I":       `{"typ":"appl\u0130cation/at+jwt","alg":"ES256","kid":"k1"}`,
		"alg none":            `{"typ":"at+jwt","alg":"none","kid":"k1"}`,
		"alg noNE":            `{"typ":"at+jwt","alg":"noNE","kid":"k1"}`,
		"alg missing":         `{"typ":"at+jwt","kid":"k1"}`,
		"alg list":            `{"typ":"at+jwt","alg":["ES256"],"kid":"k1"}`,
		"alg number":          `{"typ":"at+jwt","alg":7,"kid":"k1"}`,
		"alg ES384":           `{"typ":"at+jwt","alg":"ES384","kid":"k1"}`,
		"alg of another key":  `{"typ":"at+jwt","alg":"EdDSA","kid":"k1"}`,
		"alg RS256":           `{"typ":"at+jwt","alg":"RS256","kid":"k1"}`,
		"duplicate alg":       `{"typ":"at+jwt","alg":"none","alg":"ES256","kid":"k1"}`,
		"duplicate kid, case": `{"typ":"at+jwt","alg":"ES256","KID":"k2","kid":"k1"}`,
		"jwk":                 `{"typ":"at+jwt","alg":"ES256","kid":"k1","jwk":{}}`,
		"jku":                 `{"typ":"at+jwt","alg":"ES256","kid":"k1","jku":"http://127.0.0.1/"}`,
		"x5u":                 `{"typ":"at+jwt","alg":"ES256","kid":"k1","x5u":"http://127.0.0.1/"}`,
		"x5c":                 `{"typ":"at+jwt","alg":"ES256","kid":"k1","x5c":[]}`,
		"cty JWT":             `{"typ":"at+jwt","alg":"ES256","kid":"k1","cty":"JWT"}`,
		"zip":                 `{"typ":"at+jwt","alg":"ES256","kid":"k1","zip":"DEF"}`,
		"p2c":                 `{"typ":"at+jwt","alg":"ES256","kid":"k1","p2c":2147483647}`,
		"kid absent":          `{"typ":"at+jwt","alg":"ES256"}`,
		"kid unknown":         `{"typ":"at+jwt","alg":"ES256","kid":"k2"}`,
		"kid path":            `{"typ":"at+jwt","alg":"ES256","kid":"../../etc/passwd"}`,
		"kid SQL":             `{"typ":"at+jwt","alg":"ES256","kid":"' OR 1=1--"}`,
		"kid NUL":             `{"typ":"at+jwt","alg":"ES256","kid":"k1\u0000"}`,
		"kid CRLF":            `{"typ":"at+jwt","alg":"ES256","kid":"k1\r\n"}`,
		"kid long":            `{"typ":"at+jwt","alg":"ES256","kid":"` + strings.Repeat("k", 65) + `"}`,
		"kid number":          `{"typ":"at+jwt","alg":"ES256","kid":1}`,
		"not JSON":            `{"typ":"at+jwt"`,
		"array":               `["at+jwt"]`,
		"null":                `null`,
		"UTF-16":              "\xff\xfe{\x00}\x00",
		"byte order mark":     "\xef\xbb\xbf" + goodHeader,
	} {
		_, err := b.verifier.Verify(b.sign(t, header, goodClaims(nil)))
		if !errors.Is(err, tokens.ErrMalformed) && !errors.Is(err, tokens.ErrUnknownKey) && !errors.Is(err, tokens.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClaimTrapsAreRefused drops each claim and gives it each wrong type (R-027, J-02, J-04).
func TestClaimTrapsAreRefused(t *testing.T) {
	b := newBench(t)
	refuse := func(name, payload string, want ...error) {
		t.Helper()
		_, err := b.verifier.Verify(b.sign(t, goodHeader, payload))
		for _, w := range want {
			if errors.Is(err, w) {
				return
			}
		}
		t.Errorf("%s: %v, want %v", name, err, want)
	}
	for _, claim := range []string{"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "org", "rv"} {
		refuse(claim+" absent", goodClaims(map[string]any{claim: nil}), tokens.ErrMalformed)
		for _, wrong := range []any{map[string]any{}, []int{1}, true, -1, 1.5, json.RawMessage("1e400"), json.RawMessage("null"), "", json.RawMessage(`[null]`)} {
			refuse(fmt.Sprintf("%s = %v", claim, wrong), goodClaims(map[string]any{claim: wrong}), tokens.ErrMalformed, tokens.ErrNotForUs)
		}
	}
	now := time.Now().Unix()
	refuse("exp as text", goodClaims(map[string]any{"exp": fmt.Sprint(now + 600)}), tokens.ErrMalformed)
	refuse("another issuer", goodClaims(map[string]any{"iss": "https://evil.example"}), tokens.ErrNotForUs)
	refuse("issuer with a slash", goodClaims(map[string]any{"iss": tokenstest.URL + "/"}), tokens.ErrNotForUs)
	refuse("another audience", goodClaims(map[string]any{"aud": "https://other.example"}), tokens.ErrNotForUs)
	refuse("audience prefix", goodClaims(map[string]any{"aud": audience + ".evil.example"}), tokens.ErrNotForUs)
	refuse("expired", goodClaims(map[string]any{"exp": now - 6}), tokens.ErrExpired)
	refuse("issued in the future", goodClaims(map[string]any{"iat": now + 20}), tokens.ErrNotForUs)
	refuse("payload null", "null", tokens.ErrMalformed)
	refuse("payload array", "[]", tokens.ErrMalformed)
	refuse("payload text", `"x"`, tokens.ErrMalformed)
	good := goodClaims(nil)
	refuse("repeated claim", `{"iss":"https://evil.example",`+good[1:], tokens.ErrMalformed)
	refuse("claim in another case", `{"ISS":"https://evil.example",`+good[1:], tokens.ErrMalformed)
	refuse("forty members", `{`+members(40)+`,`+good[1:], tokens.ErrMalformed)
	refuse("after the object", good+"{}", tokens.ErrMalformed)
}

func members(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"m%d":1`, i))
	}
	return strings.Join(list, ",")
}

// TestOneTokenHasOneSpelling: what decoders skip or round is not accepted (J-03, S-065, R-026).
func TestOneTokenHasOneSpelling(t *testing.T) {
	b := newBench(t)
	good := b.sign(t, goodHeader, goodClaims(nil))
	if _, err := b.verifier.Verify(good); err != nil {
		t.Fatal(err)
	}
	last := good[len(good)-1]
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	sibling := alphabet[strings.IndexByte(alphabet, last)^1]
	for name, raw := range map[string]string{
		"line break at the end":     good + "\n",
		"line break inside":         good[:len(good)-10] + "\r\n" + good[len(good)-10:],
		"space before":              " " + good,
		"padding":                   good + "==",
		"last character re-spelled": good[:len(good)-1] + string(sibling),
		"standard alphabet":         strings.NewReplacer("-", "+", "_", "/").Replace(good) + "+",
		"truncated":                 good[:len(good)-1],
		"extended":                  good + "A",
		"percent-encoded":           good + "%0A",
		"braces":                    "{" + good + "}",
		"four parts":                good + ".x",
		"five parts":                good + ".x.y",
		"two parts":                 good[:strings.LastIndexByte(good, '.')],
		"no signature":              good[:strings.LastIndexByte(good, '.')+1],
		"empty":                     "",
		"dots":                      strings.Repeat(".", 8000),
		"a megabyte of dots":        strings.Repeat(".", 1<<20),
		"too long":                  good + strings.Repeat("A", 8<<10),
		"JSON serialisation":        `{"payload":"x","signatures":[]}`,
	} {
		if _, err := b.verifier.Verify(raw); !errors.Is(err, tokens.ErrMalformed) && !errors.Is(err, tokens.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignatureMustMatch(t *testing.T) {
	b, stranger := newBench(t), newBench(t)
	if _, err := b.verifier.Verify(stranger.sign(t, goodHeader, goodClaims(nil))); !errors.Is(err, tokens.ErrSignature) {
		t.Errorf("another's key: %v", err)
	}
	good := strings.Split(b.sign(t, goodHeader, goodClaims(nil)), ".")
	swapped := good[0] + "." + encode(goodClaims(map[string]any{"scope": "admin"})) + "." + good[2]
	if _, err := b.verifier.Verify(swapped); !errors.Is(err, tokens.ErrSignature) {
		t.Errorf("another payload: %v", err)
	}
	der := encode(string(append([]byte{0x30, 0x44}, make([]byte, 68)...)))
	if _, err := b.verifier.Verify(good[0] + "." + good[1] + "." + der); err == nil {
		t.Error("DER signature accepted")
	}
	// The verifier's public key as an HMAC secret.
	input := encode(`{"typ":"at+jwt","alg":"HS256","kid":"k1"}`) + "." + encode(goodClaims(nil))
	spki, err := x509.MarshalPKIXPublicKey(b.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range [][]byte{spki, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), b.key.X.Bytes()} {
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		if _, err := b.verifier.Verify(input + "." + encode(string(m.Sum(nil)))); !errors.Is(err, tokens.ErrMalformed) && !errors.Is(err, tokens.ErrSignature) {
			t.Errorf("HS256 with the public key: %v", err)
		}
	}
}

// TestRespelledSignatureOfARevokedTokenIsRefused: (r, n-s) is a valid second
// signature; revocation is by jti and client, not by spelling.
func TestRespelledSignatureOfARevokedTokenIsRefused(t *testing.T) {
	issuer := tokenstest.New(t)
	v := issuer.Verifier(audience)
	raw := issuer.Token(audience)
	parts := strings.Split(raw, ".")
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(signature[32:]))
	twin := parts[0] + "." + parts[1] + "." + rs(new(big.Int).SetBytes(signature[:32]), s)
	issuer.Revoke(tokenstest.ClientID)
	for _, spelling := range []string{raw, twin} {
		if _, err := v.Verify(spelling); !errors.Is(err, tokens.ErrRevoked) {
			t.Errorf("%v", err)
		}
	}
}

// TestSeenTokenIsDecidedAnew: the cache holds a signature's verdict and nothing
// that can change.
func TestSeenTokenIsDecidedAnew(t *testing.T) {
	issuer := tokenstest.New(t)
	v := issuer.Verifier(audience)
	other, err := v.WithAudience("https://other.example")
	if err != nil {
		t.Fatal(err)
	}
	raw := issuer.Token(audience, "alerts:read")
	c, err := v.Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	c.Scope, c.ClientID, c.Audience[0] = "admin", "someone else", "https://evil.example"
	if again, err := v.Verify(raw); err != nil || again.Scope != "alerts:read" {
		t.Errorf("a caller changed the cache: %+v, %v", again, err)
	}
	if _, err := other.Verify(raw); !errors.Is(err, tokens.ErrNotForUs) {
		t.Errorf("another audience, same cache: %v", err)
	}
	issuer.Stall()
	if _, err := v.Verify(raw); !errors.Is(err, tokens.ErrStale) {
		t.Errorf("stale: %v", err)
	}
	issuer.Recover()
	if _, err := v.Verify(raw); err != nil {
		t.Errorf("recovered: %v", err)
	}
	issuer.Cut(tokens.Organization(tokenstest.Organization))
	if _, err := v.Verify(raw); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("revoked: %v", err)
	}
	if _, err := v.Verify(issuer.Token(audience)); err != nil {
		t.Errorf("minted after the cut: %v", err)
	}
}

func TestConfigThatCannotBeRightIsRefused(t *testing.T) {
	feed := tokenstest.New(t)
	for name, config := range map[string]tokens.Config{
		"no issuer":           {Audience: audience, Feed: feed},
		"issuer with slash":   {Issuer: "https://a.example/", Audience: audience, Feed: feed},
		"issuer with query":   {Issuer: "https://a.example?x", Audience: audience, Feed: feed},
		"relative issuer":     {Issuer: "a.example", Audience: audience, Feed: feed},
		"no audience":         {Issuer: tokenstest.URL, Feed: feed},
		"audience with quote": {Issuer: tokenstest.URL, Audience: `a"b`, Feed: feed},
		"no feed":             {Issuer: tokenstest.URL, Audience: audience},
		"leeway of an hour":   {Issuer: tokenstest.URL, Audience: audience, Feed: feed, Leeway: time.Hour},
	} {
		if _, err := tokens.NewVerifier(config); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestVerifierIsReadyOnceItsFeedIs(t *testing.T) {
	issuer := tokenstest.New(t)
	if err := issuer.Verifier(audience).Ready(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v, err := tokens.NewVerifier(tokens.Config{Issuer: tokenstest.URL, Audience: audience, Feed: issuer})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Ready(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("ready without keys: %v", err)
	}
	if _, err := v.Verify(issuer.Token(audience)); !errors.Is(err, tokens.ErrStale) {
		t.Errorf("verified without keys: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	b := newBench(f)
	good := b.sign(f, goodHeader, goodClaims(nil))
	f.Add(good)
	f.Add(good + "\n")
	f.Add("a.b.c")
	f.Add(encode(`{"alg":"none"}`) + "." + encode("null") + ".AA")
	f.Fuzz(func(t *testing.T, raw string) {
		claims, err := b.verifier.Verify(raw)
		if (claims == nil) == (err == nil) {
			t.Fatalf("claims %v with error %v", claims, err)
		}
		if err == nil && raw != good {
			t.Fatalf("accepted %q", raw)
		}
		tokens.Inspect(raw)
	})
}
