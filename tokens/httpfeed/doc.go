// Package httpfeed follows an issuer's revocation log over HTTP.
// It is the feed for verifiers that cannot or need not reach Redis: a resource
// server gives a [Feed] to [tokens.NewVerifier] and needs nothing else.
// Revocations arrive on a long poll within a network round trip; the same poll
// renews the verifier's lease and acknowledges what it has applied.
//
// # The exchange
//
//	POST   {url}/feed/sessions           [Join] → 200 [Examined], or 201 [Joined]
//	GET    {url}/feed/sessions/{session}?nonce=&after=&head=&wait_ms= → 200 [Page], 404 or 410: join again
//	DELETE {url}/feed/sessions/{session} → 204
//
// PROTOCOL.md, beside package tokens, has it all for other languages.
//
// A join without verdicts stores nothing: the server answers with an [Examination]. The
// same join with the verdicts of a verifier is answered with a session. What answers
// here is a [tokens.Verifier] and what the feed does with pages, so that what is
// examined is what decides later. A server that sends no examination is joined at once.
//
// The session is stored before the first poll is answered. A revocation that
// commits later finds it in the list of those who must confirm; one that
// committed earlier is in the first page. That is why joining alone renews no
// lease: the snapshot may be older than the session.
//
// A poll sent at local time s, answered with everything up to the log's tip as
// it was age before the poll arrived, proves completeness as of s - age. No
// clock but the verifier's own is involved: the longer of what its monotonic and its
// wall clock say, since the former stands still while a machine is suspended. The
// answer repeats the poll's nonce: a maintenance page, or an answer that a cache kept,
// proves nothing.
// "after" says what the verifier has applied, and so is its acknowledgement.
//
// The feed gets its own access tokens, and drops one that is refused: a token that
// was cut, together with whatever else was, must not keep a verifier out until it
// expires.
//
// Server-sent events were rejected: a stream that stalls looks like one on which
// nothing happens, and an acknowledgement would need a second channel.
package httpfeed
