// Package authz is the authorization server: it exchanges keys for access
// tokens, publishes what verifiers need, and carries revocations to them.
// A [Server] is the OAuth endpoints; a [Relay] follows the revocation log in the
// database, serves it to verifiers, and knows who has applied what.
//
// # Exchange
//
// POST /oauth2/token goes through a strict front: method, media type, size,
// repeated parameters, exactly one way to authenticate. Then the client is
// authenticated, then the grant engine of go-oauth2 runs. That engine checks
// scopes before secrets and accepts credentials from a URL, which is why nothing
// reaches it that the front has not parsed and proved.
//
// The steady state reads no database. A client's record is cached with the log
// position q at which it was read, and used only while no entry about the client
// or its organisation is newer than q. The token carries as rv the position that
// this server had applied before it looked: if the cache was behind all the same,
// because another server revoked the key a moment ago, the token is dead on
// arrival at every verifier. A cache with a time to live was rejected: it is late
// by design.
//
// # Revoke
//
// The change and its entry commit together; then a wait begins for each session that the
// database lists. An entry says which position a session must reach; the session's own
// polls say which it has, with the head there, so that what was said of another history
// counts for nothing. One that stays silent for its lease and a margin refuses every token
// since, so the wait is bounded.
//
// The wait belongs to the server: [Relay.Confirm] and [Relay.Reached] watch it, and one
// goroutine settles all waits of a process. What is known is stored after half a second, so
// that whoever takes the wait over goes on with that; what is settled is stored, read back
// and only then answered, so that two servers say the same. When nobody knows who had to
// confirm, a receipt says that every lease has ended, and no number. Receipts are committed
// without waiting for the disk, since both halves of what a crash of the machine may leave
// are true; waiting would double what a revocation costs.
//
// A session whose key may no longer follow ends in the transaction that says so. No lease of
// it is renewed after that, so a wait counts its lease from there.
//
// A round reads the log's tip every 200 ms, and at once after a commit of this
// process. What a round finds is complete as of the moment before it read: that
// moment is what renews leases, this server's own and those of its followers.
// The server is a session like any other, because it verifies tokens too.
//
// An acknowledgement says "I have it" and is read as "I refuse". So a verifier shows
// before it joins that it refuses what it must: package examination has the questions.
// A join stores nothing before, and its session before anything is answered, so that no
// evidence reaches a verifier for which no revocation waits.
//
// # Several servers
//
// Servers of one database know of each other through it. Each is a session; a
// session names the server through which it follows, or Redis. A server reports
// there what those who follow through it have applied, so that a revocation at
// another can count them, and beats once a second. It retires whoever is silent
// for two leases: its own, servers that no longer beat, and whoever they left behind. Whoever
// was ended stays listed until its lease, or what its owner lets it accept, has passed since.
// A verifier that moves to another server is taken over by it.
//
// With Redis each server also publishes: package redisfeed has that protocol.
//
// # Deviation
//
// RFC 8414 §2 requires response_types_supported, and clients of MCP require
// authorization_endpoint as well. A server without authorization requests has neither; it
// names the response type none, and an endpoint that refuses every request.
package authz
