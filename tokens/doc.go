// Package tokens verifies the access tokens of an Imara issuer, and refuses
// revoked ones before the call that revoked them has returned.
// A resource server makes a [Verifier], wraps its handlers with
// [Verifier.Require], and lets [Verifier.Run] follow the issuer in the background.
// Verifying needs no network: signing keys, revocations and the proof that both
// are current are in memory.
//
//	feed, err := httpfeed.New(httpfeed.Config{URL: issuer, Name: "alerts-api", ClientID: id, ClientSecret: secret})
//	verifier, err := tokens.NewVerifier(tokens.Config{Issuer: issuer, Audience: "https://api.example.com", Feed: feed})
//	go verifier.Run(ctx)
//	http.Handle("GET /alerts", verifier.Require("alerts:read")(alerts))
//
// # What a token is
//
// An RFC 9068 JWT, signed by one key of one algorithm. Besides the registered
// claims it carries org, the organisation of the API key, rv, the position in the
// revocation log that the minting server had applied, and crd, the id of the secret
// that it was bought with.
//
// # How revocation is decided
//
// The issuer keeps a log with gapless positions. An [Entry] cuts a subject: an
// API key (client), an organisation, one token (jti), a secret (crd), a signing key
// (kid) or the whole issuer. A token is refused when any of its subjects has a cut at a
// position above its rv. Positions need no clock, so neither skew nor a second
// shared by two events can let a token through, and a key that is resumed or
// narrowed needs no exception: its next token has a higher rv.
//
// # How a verifier knows that it knows
//
// [Revocations] is a lease. A [Feed] renews it only with evidence that the
// issuer's database was read after the feed's own request was sent, and that
// every entry up to that reading is applied. Past the lease a verifier answers
// 503 with Retry-After: silence must never mean "nothing was revoked". Its owner may
// choose otherwise with [Stale], and the issuer's receipts then say so. The
// rejected option, a time to live on cached answers, is late by design and
// cannot tell an empty list from a lost one.
//
// # Responses that go on
//
// A decision is about one moment. [Verifier.RequireStream] guards what lasts longer:
// each write is decided upon, and the feed acknowledges a cut only when those that
// were in progress are over. [Verifier.Watch] is the context alone. The view knows
// the streams by their subjects, so that a cut costs as much as it ends, and requests
// that do not watch cost what they did. The rejected option, to look again every few
// seconds, is late by design, and costs most when nothing happens.
//
// # Other languages
//
// PROTOCOL.md, beside this file, is all of it without Go; testdata/vectors.json are
// tokens and feeds with the verdicts that are right, and this package gives each of them.
//
// # What it imports
//
// The standard library and golang-jwt, so that a resource server adds one module.
package tokens
