package main

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"

	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/signing"
)

const (
	accept = httpfeed.Accept
	refuse = httpfeed.Refuse
	noidea = httpfeed.Unknown

	quiet = "nothing cut" // the feed of vectors that are about the token

	longAgo = 1_735_689_600 // 2025
	farOff  = 4_102_444_800 // 2100
)

// A book is the vectors while they are written.
type book struct {
	signers map[string]*signing.Signer
	feeds   map[string]feed
	vectors []vector
	err     error
}

func (b *book) add(name, feed, token string, verdict httpfeed.Verdict) {
	b.vectors = append(b.vectors, vector{name, feed, token, verdict})
}

// fields are a header or claims. A nil value takes one away.
type fields map[string]any

func (f fields) with(changes fields) fields {
	f = maps.Clone(f)
	maps.Copy(f, changes)
	maps.DeleteFunc(f, func(_ string, value any) bool { return value == nil })
	return f
}

var (
	header = fields{"typ": "at+jwt", "alg": "ES256", "kid": es256}
	claims = fields{"iss": issuer, "sub": "subject", "aud": audience, "exp": farOff, "iat": longAgo, "jti": "jti",
		"client_id": "client", "org": "org", "crd": "secret", "rv": 990, "scope": "alerts:read alerts:write"}
)

// claimed is a token with other claims.
func (b *book) claimed(changes fields) string { return b.sign(es256, header, claims.with(changes)) }

// headed is one with another header.
func (b *book) headed(changes fields) string { return b.sign(es256, header.with(changes), claims) }

// by is a token of another signing key.
func (b *book) by(kid, algorithm string, changes fields) string {
	return b.sign(kid, header.with(fields{"kid": kid, "alg": algorithm}), claims.with(changes))
}

func (b *book) sign(kid string, header, claims fields) string {
	return b.text(kid, b.json(header), b.json(claims))
}

// text is a token of a header and claims that are written by hand.
func (b *book) text(kid, header, claims string) string {
	raw, err := b.signers[kid].JWS([]byte(header), []byte(claims))
	if err != nil {
		b.err = err
	}
	return raw
}

func (b *book) json(f fields) string {
	text, err := json.Marshal(f)
	if err != nil {
		b.err = err
	}
	return string(text)
}

// parts are the three of a token, encoded.
func parts(raw string) (header, claims, signature string) {
	all := strings.Split(raw, ".")
	return all[0], all[1], all[2]
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
