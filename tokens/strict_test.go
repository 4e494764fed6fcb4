package tokens_test

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/tokenstest"
)

// TestBoundTokenIsNoBearerToken: a token with a cnf of whatever value is refused until its
// proof can be checked (S-103, S-107, S-125).
func TestBoundTokenIsNoBearerToken(t *testing.T) {
	b := newBench(t)
	for _, cnf := range []string{`{"jkt":"x"}`, `{"x5t#S256":"x"}`, `{"jwk":{}}`, `{}`, `[]`, `""`, `"x"`, `0`, `false`, `null`} {
		raw := b.sign(t, goodHeader, goodClaims(map[string]any{"cnf": json.RawMessage(cnf)}))
		if _, err := b.verifier.Verify(raw); !errors.Is(err, tokens.ErrMalformed) || !strings.Contains(err.Error(), "cnf") {
			t.Errorf("cnf %s: %v", cnf, err)
		}
		if _, err := b.verifier.VerifySignature(raw); !errors.Is(err, tokens.ErrMalformed) {
			t.Errorf("the signature of cnf %s: %v", cnf, err)
		}
		if u, err := tokens.Inspect(raw); err != nil || u.Claims.ClientID != "client" {
			t.Errorf("cnf %s cannot be looked at: %v", cnf, err)
		}
	}
}

// TestTokenIsNotAcceptedBeforeItsTime: nbf, new and seen (S-055).
func TestTokenIsNotAcceptedBeforeItsTime(t *testing.T) {
	b := newBench(t)
	now := time.Now().Unix()
	for _, row := range []struct {
		nbf  any
		want error
	}{
		{now - 3600, nil}, {now, nil}, {now + 4, nil}, {0, nil}, {1, nil},
		{now + 60, tokens.ErrNotForUs}, {now + 3600, tokens.ErrNotForUs}, {int64(1<<53 - 1), tokens.ErrNotForUs},
		{int64(1 << 53), tokens.ErrMalformed}, {int64(1<<63 - 1), tokens.ErrMalformed}, {-1, tokens.ErrMalformed},
		{fmt.Sprint(now - 60), tokens.ErrMalformed}, {1.5, tokens.ErrMalformed}, {true, tokens.ErrMalformed},
		{[]int64{now}, tokens.ErrMalformed}, {json.RawMessage("null"), tokens.ErrMalformed},
		{json.RawMessage("1e3"), tokens.ErrMalformed}, {map[string]any{}, tokens.ErrMalformed},
	} {
		raw := b.sign(t, goodHeader, goodClaims(map[string]any{"nbf": row.nbf}))
		for _, when := range []string{"new", "seen"} {
			if _, err := b.verifier.Verify(raw); !errors.Is(err, row.want) {
				t.Errorf("nbf %s, %s: %v, want %v", row.nbf, when, err, row.want)
			}
		}
	}
}

// TestNamesAreExact: what is written in another case is not the member, alone or beside
// it, in claims and header (R-027, J-04).
func TestNamesAreExact(t *testing.T) {
	b := newBench(t)
	for _, row := range [][2]string{{"exp", "EXP"}, {"iss", "ISS"}, {"iss", "Iss"}, {"iss", "i\u017f\u017f"}, {"iss", "is\u017f"},
		{"sub", "\u017fub"}, {"aud", "Aud"}, {"iat", "IAT"}, {"jti", "JTI"}, {"client_id", "Client_ID"}, {"client_id", "ClientID"},
		{"org", "ORG"}, {"rv", "RV"}, {"rv", "Position"}, {"exp", "ExpiresAt"}, {"iss", "iss "}, {"iss", "iss\u0000"}} {
		good := goodClaims(nil)
		lone := strings.Replace(good, `"`+row[0]+`":`, quoted(row[1])+":", 1)
		if _, err := b.verifier.Verify(b.sign(t, goodHeader, lone)); !errors.Is(err, tokens.ErrMalformed) {
			t.Errorf("%q for %s: %v", row[1], row[0], err)
		}
		if u, err := tokens.Inspect(b.sign(t, goodHeader, lone)); err == nil && complete(u.Claims) {
			t.Errorf("inspect takes %q for %s", row[1], row[0])
		}
	}
	for _, claims := range []string{`"SCOPE":"admin",`, `"\u017fcope":"admin",`, `"CRD":"x",`, `"NBF":1,`, `"CNF":{},`, `"x":1,"X":2,`, `"exp":1,`, `"e\u0078p":1,`} {
		raw := b.sign(t, goodHeader, "{"+claims+strings.Replace(goodClaims(map[string]any{"scope": nil}), "{", "", 1))
		if c, err := b.verifier.Verify(raw); err == nil {
			t.Errorf("%s: accepted with scope %q", claims, c.Scope)
		}
	}
	for _, header := range []string{`{"TYP":"at+jwt","alg":"ES256","kid":"k1"}`, `{"typ":"at+jwt","ALG":"ES256","kid":"k1"}`,
		`{"typ":"at+jwt","alg":"ES256","KID":"k1"}`, `{"typ":"at+jwt","alg":"ES256","\u212aid":"k1"}`,
		`{"typ":"at+jwt","alg":"ES256","kid":"k1","CRIT":["x"]}`, `{"typ":"at+jwt","alg":"ES256","kid":"k1","x":1,"X":1}`,
		`{"typ":"at+jwt","alg":"ES256","kid":"k1","k\u0069d":"k1"}`} {
		raw := b.sign(t, header, goodClaims(nil))
		if _, err := b.verifier.Verify(raw); err == nil {
			t.Errorf("accepted %s", header)
		}
		if u, err := tokens.Inspect(raw); err == nil && u.Header.Type != "" && u.Header.Algorithm != "" && u.Header.KeyID != "" {
			t.Errorf("inspect understands %s", header)
		}
	}
}

// complete tells whether every claim that goodClaims has was found.
func complete(c tokens.Claims) bool {
	return c.Issuer != "" && c.Subject != "" && len(c.Audience) > 0 && c.ExpiresAt > 0 && c.IssuedAt > 0 &&
		c.ID != "" && c.ClientID != "" && c.Organization != "" && c.Position > 0
}

func quoted(name string) string {
	text, err := json.Marshal(name)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// TestTextThatParsersReadDifferentlyIsRefused, in values that matter and in those that do
// not, in claims and header (S-070).
func TestTextThatParsersReadDifferentlyIsRefused(t *testing.T) {
	b := newBench(t)
	for text, accepted := range map[string]bool{
		"\xff": false, "\xc0\xaf": false, "\xed\xa0\x80": false, "\xf5\x80\x80\x80": false, "caf\xe9": false,
		`\ud800`: false, `\udc00`: false, `\uDBFFx`: false, `\ud83d\ud83d`: false, `\ude00\ud83d`: false, `\ud83d\n`: false,
		`\ud83d\\ude00`: false,
		`\ud83d\ude00`:  true, `\uD83D\uDE00`: true, `\\ud800`: true, `\\\\udc00`: true, `\u00e9`: true, "é": true, "😀": true, `\ud7ff`: true, `\ue000`: true, `\ufffd`: true,
		"\x01": false, `\x`: false, `\u12`: false, "\t": false,
	} {
		good := goodClaims(nil)
		for where, raw := range map[string]string{
			"sub":          b.sign(t, goodHeader, strings.Replace(good, `"sub":"client"`, `"sub":"`+text+`"`, 1)),
			"another":      b.sign(t, goodHeader, `{"note":"`+text+`",`+good[1:]),
			"a name":       b.sign(t, goodHeader, `{"note `+text+`":1,`+good[1:]),
			"deep inside":  b.sign(t, goodHeader, `{"note":[{"x":["`+text+`"]}],`+good[1:]),
			"a deep name":  b.sign(t, goodHeader, `{"note":[{"`+text+`":0}],`+good[1:]),
			"the header":   b.sign(t, `{"note":"`+text+`",`+goodHeader[1:], good),
			"header names": b.sign(t, `{"note `+text+`":0,`+goodHeader[1:], good),
		} {
			if _, err := b.verifier.Verify(raw); (err == nil) != accepted {
				t.Errorf("%q in %s: %v", text, where, err)
			}
		}
	}
	for name, payload := range map[string]string{
		"UTF-16": "{\x00\"\x00", "byte order mark": "\xef\xbb\xbf" + goodClaims(nil), "zero byte after": goodClaims(nil) + "\x00",
		"a comment": goodClaims(nil) + "//", "trailing comma": strings.TrimSuffix(goodClaims(nil), "}") + ",}", "two": goodClaims(nil) + goodClaims(nil),
	} {
		if _, err := b.verifier.Verify(b.sign(t, goodHeader, payload)); !errors.Is(err, tokens.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	spaced := strings.NewReplacer(",", " ,\r\n\t", ":", " : ").Replace(strings.ReplaceAll(goodClaims(map[string]any{"iss": "x", "aud": "y"}), "://", ""))
	spaced = strings.Replace(strings.Replace(spaced, `"x"`, `"`+tokenstest.URL+`"`, 1), `"y"`, `[ "`+audience+`" ]`, 1)
	if _, err := b.verifier.Verify(b.sign(t, " "+goodHeader+"\n", "\t"+spaced+" ")); err != nil {
		t.Errorf("white space where JSON allows it: %v", err)
	}
}

// TestNullIsNoValue of a claim of ours, nor of an audience.
func TestNullIsNoValue(t *testing.T) {
	b := newBench(t)
	for _, row := range [][2]string{{"scope", "null"}, {"crd", "null"}, {"exp", "null"}, {"nbf", "null"}, {"aud", "null"},
		{"aud", `["` + audience + `",null]`}, {"aud", `[null,"` + audience + `"]`}, {"aud", `[null]`}} {
		claim, value := row[0], row[1]
		raw := b.sign(t, goodHeader, goodClaims(map[string]any{claim: json.RawMessage(value)}))
		if _, err := b.verifier.Verify(raw); !errors.Is(err, tokens.ErrMalformed) {
			t.Errorf("%s = %s: %v", claim, value, err)
		}
	}
	other := goodClaims(map[string]any{"note": json.RawMessage("null")})
	if _, err := b.verifier.Verify(b.sign(t, goodHeader, other)); err != nil {
		t.Errorf("a null of somebody else's: %v", err)
	}
}

// TestTimesAreIntegers below 2^53, in digits: what overflows or is rounded is refused, to
// the safe side.
func TestTimesAreIntegers(t *testing.T) {
	b := newBench(t)
	now := time.Now().Unix()
	for _, claim := range []string{"exp", "iat", "nbf", "rv"} {
		for _, value := range []string{"9223372036854775807", "-9223372036854775808", "9223372036854775808", "18446744073709551615",
			"18446744073709551617", "9007199254740992", "1e9", "1E9", "1e400", "1e-1", "-0", "-1",
			fmt.Sprint(now) + ".0", fmt.Sprint(now) + ".5", fmt.Sprintf("%de0", now), fmt.Sprintf(`"%d"`, now)} {
			raw := b.sign(t, goodHeader, goodClaims(map[string]any{claim: json.RawMessage(value)}))
			if _, err := b.verifier.Verify(raw); !errors.Is(err, tokens.ErrMalformed) {
				t.Errorf("%s = %s: %v", claim, value, err)
			}
		}
	}
	largest := json.RawMessage("9007199254740991")
	for claim, want := range map[string]error{"exp": nil, "rv": nil, "iat": tokens.ErrNotForUs, "nbf": tokens.ErrNotForUs} {
		raw := b.sign(t, goodHeader, goodClaims(map[string]any{claim: largest}))
		if _, err := b.verifier.Verify(raw); !errors.Is(err, want) {
			t.Errorf("%s = 2^53-1: %v, want %v", claim, err, want)
		}
	}
}

// TestEd25519HasTwoNames: EdDSA, and Ed25519 of RFC 9864, in a header and in a JWK Set (J-07).
func TestEd25519HasTwoNames(t *testing.T) {
	issuer := tokenstest.New(t)
	public, sign := ed25519Signer(t)
	for _, published := range []string{"EdDSA", "Ed25519"} {
		jwk, err := tokens.NewJWK("k1", tokens.Key{Algorithm: published, Public: public})
		if err != nil {
			t.Fatal(err)
		}
		key, err := jwk.Key()
		if err != nil {
			t.Fatalf("published as %s: %v", jwk.Algorithm, err)
		}
		for _, key := range []tokens.Key{key, {Algorithm: published, Public: public}} {
			v, err := tokens.NewVerifier(tokens.Config{Issuer: tokenstest.URL, Audience: audience, Feed: issuer, Keys: keyMap{"k1": key}})
			if err != nil {
				t.Fatal(err)
			}
			for header, accepted := range map[string]bool{"EdDSA": true, "Ed25519": true, "ed25519": false, "Ed448": false, "ES256": false, "eddsa": false} {
				raw := sign(`{"typ":"at+jwt","alg":"`+header+`","kid":"k1"}`, goodClaims(nil))
				if _, err := v.Verify(raw); (err == nil) != accepted {
					t.Errorf("published as %s, signed as %s: %v", published, header, err)
				}
			}
		}
	}
}

func ed25519Signer(t *testing.T) (ed25519.PublicKey, func(header, claims string) string) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return public, func(header, claims string) string {
		input := encode(header) + "." + encode(claims)
		return input + "." + encode(string(ed25519.Sign(private, []byte(input))))
	}
}

// TestIntrospectionAnswerIsReadStrictly: whatever is not plainly active true is not an answer.
func TestIntrospectionAnswerIsReadStrictly(t *testing.T) {
	issuer := tokenstest.New(t)
	raw := issuer.Token(audience)
	for body, want := range map[string]error{
		`{"active":true}`: nil, ` {"active": true, "scope": null, "client_id":"x"} `: nil, `{"active":false}`: tokens.ErrRevoked,
		`{"ACTIVE":true}`: tokens.ErrStale, `{"active":false,"active":true}`: tokens.ErrStale, `{"active":false,"ACTIVE":true}`: tokens.ErrStale,
		`{"active":"true"}`: tokens.ErrStale, `{"active":1}`: tokens.ErrStale, `{"active":null}`: tokens.ErrStale, `{}`: tokens.ErrStale, ``: tokens.ErrStale,
		`{"active":true}{"active":false}`: tokens.ErrStale, `[{"active":true}]`: tokens.ErrStale, `true`: tokens.ErrStale, "{\"active\":true,\"x\":\"\xff\"}": tokens.ErrStale,
		`{"active":true,"x":"\ud800"}`: tokens.ErrStale, `{"x":{"active":true}}`: tokens.ErrStale,
		`{"active":true,"x":"` + strings.Repeat("x", 64<<10) + `"}`: tokens.ErrStale,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) }))
		v, err := tokens.NewVerifier(tokens.Config{Issuer: tokenstest.URL, Audience: audience, Feed: issuer, Keys: issuer.Keys(),
			Stale: tokens.Stale{Introspect: &tokens.Introspection{URL: server.URL, ClientID: "id", ClientSecret: "secret"}}})
		if err != nil {
			t.Fatal(err)
		}
		issuer.Stall()
		if _, err := v.VerifyContext(t.Context(), raw); !errors.Is(err, want) {
			t.Errorf("%.80s: %v, want %v", body, err, want)
		}
		server.Close()
	}
}
