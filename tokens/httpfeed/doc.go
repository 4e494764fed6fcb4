// Package httpfeed follows an issuer's revocation log over HTTP.
// It is the feed for verifiers that cannot or need not reach Redis: a resource
// server gives a [Feed] to [tokens.NewVerifier] and needs nothing else.
// Revocations arrive on a long poll within a network round trip; the same poll
// renews the verifier's lease and acknowledges what it has applied.
//
// # The exchange
//
//	POST   {url}/feed/sessions           {"name","lease_ms","accept_stale_ms"} → 201 [Joined]
//	GET    {url}/feed/sessions/{session}?nonce=&after=&head=&wait_ms= → 200 [Page], 404 or 410: join again
//	DELETE {url}/feed/sessions/{session} → 204
//
// The session is stored before the first poll is answered. A revocation that
// commits later finds it in the list of those who must confirm; one that
// committed earlier is in the first page. That is why joining alone renews no
// lease: the snapshot may be older than the session.
//
// A poll sent at local time s, answered with everything up to the log's tip as
// it was age before the poll arrived, proves completeness as of s - age. No
// clock but the verifier's own monotonic one is involved. The answer repeats the
// poll's nonce: a maintenance page, or an answer that a cache kept, proves nothing.
// "after" says what the verifier has applied, and so is its acknowledgement.
//
// The feed gets its own access tokens, and drops one that is refused: a token that
// was cut, together with whatever else was, must not keep a verifier out until it
// expires.
//
// Server-sent events were rejected: a stream that stalls looks like one on which
// nothing happens, and an acknowledgement would need a second channel.
package httpfeed
