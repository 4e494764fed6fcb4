package tokens_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/tokenstest"
)

// BenchmarkVerifySeen is a token that was verified before.
func BenchmarkVerifySeen(b *testing.B) {
	issuer := tokenstest.New(b)
	v := issuer.Verifier(audience)
	raw := issuer.Token(audience, "alerts:read")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyNew verifies tokens it has not seen, and the same tokens with
// golang-jwt alone, in turns: x-golang-jwt is the ratio of the two.
func BenchmarkVerifyNew(b *testing.B) {
	issuer := tokenstest.New(b)
	v := issuer.Verifier(audience)
	var raws [4096]string
	for i := range raws {
		raws[i] = issuer.TokenWith(func(c *tokens.Claims) { c.Audience, c.ID = tokens.Audience{audience}, fmt.Sprint(i) })
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{tokens.ES256}), jwt.WithIssuer(tokenstest.URL), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	keys := issuer.Keys()
	find := func(t *jwt.Token) (any, error) {
		key, err := keys.Key(t.Header["kid"].(string))
		return key.Public, err
	}
	var ours, theirs time.Duration
	n := 0
	for b.Loop() {
		if n%len(raws) == 0 {
			v = issuer.Verifier(audience) // with an empty cache
		}
		raw := raws[n%len(raws)]
		n++
		begun := time.Now()
		if _, err := v.Verify(raw); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if _, err := parser.ParseWithClaims(raw, &jwt.RegisteredClaims{}, find); err != nil {
			b.Fatal(err)
		}
		ours += middle.Sub(begun)
		theirs += time.Since(middle)
	}
	b.ReportMetric(float64(ours.Nanoseconds())/float64(n), "ours-ns/op")
	b.ReportMetric(float64(ours)/float64(theirs), "x-golang-jwt")
}
