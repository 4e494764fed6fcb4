// Package redisfeed follows an issuer's revocation log over Redis.
// It is the feed for many verifiers, or for the fastest revocation: entries arrive
// on a stream, and confirmations go back, without the authorization server between.
// A [Feed] is the verifier's side; a [Publisher] is what the authorization servers write with.
//
// # Redis is a cable
//
// Redis holds nothing that counts. It may be flushed, restarted empty, fail over
// to a replica that lacks the last writes, or be split in two; none of that makes
// a verifier accept what it must not. A lease is never renewed because Redis
// answered, only by evidence that the database was read after the verifier's own
// poll:
//
//   - A publisher begins a round (round n), reads the database's tip, appends the
//     rows that the stream lacks, and finishes: done = (n, tip). Any number of
//     publishers do so; there is no leader.
//   - A verifier polls at its local time s and sees round q. When it later sees a
//     done above q, and holds every entry up to that tip, it is complete as of s.
//
// No clock but the verifier's own is involved. Two rules guard against another
// Redis behind the same address. A poll compares and sets the verifier's own slot, and
// reads the rounds in the same script: a slot that does not hold what it wrote last means
// that earlier polls, made to another data set, no longer count. Rounds that were read by
// a command of their own could be another data set's than the slot, where a connection is
// moved between the two. A publisher's start leaves a nonce that its finish must find. A
// poll is a write, so that a replica refuses it.
//
// An acknowledgement needs no such care: what was applied is applied, whichever data
// set hears of it. It goes out at once when entries come between polls, and with
// the next poll else.
//
// While no round is finished for half a lease the feed follows the server over
// HTTP, as another session. The view of the session before serves, and ages, until
// the new one is confirmed; only then is the old one left, so that every view that
// may be relied on belongs to a session that revocations wait for.
//
// # Scripts
//
// A script that does not end stops Redis, and only an administrator ends it. So verifiers
// may run scripts that are loaded, and load none: servers do, at their first round, and
// again when Redis has lost them by a restart, a failover or a flush. A verifier that finds
// none polls again until the next round; its view ages meanwhile. Redis functions were
// rejected: a replica that was promoted has them, but so has everybody who may call one,
// and a cluster wants them on every node.
//
// # Keys
//
// One hash tag, {rev:<issuer>}, so that a cluster keeps them together:
//
//	…:log  stream, the id is <position>-0       v, s, k, t, h of an entry; p, h before it
//	…:hb   hash    round, dr (done round), tip, floor, head, n:<publisher>
//	…:ack  hash    session → its last poll; session:a → its sealed acknowledgement
//	…:wm   zset    session → position up to which it says it has applied the log: a hint
//
// Pub/Sub and client tracking were rejected: both lose messages without telling.
// Keys that expire were rejected as the truth: an eviction would be an acquittal.
package redisfeed
