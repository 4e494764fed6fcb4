// Package keys is the domain of Imara: organisations and their API keys.
// A key is an OAuth2 confidential client that a customer creates: a name, scopes,
// the APIs it may call, a client id, and a secret that is shown once.
// The [Registry] holds the rules: who may have how many keys, which secret still
// counts, and that nothing which changes a key forgets to tell the verifiers.
//
// # One transaction, one entry
//
// Whatever changes what a key may do appends to the revocation log in the same
// transaction: a cut if tokens that exist must die, a touch if servers need only
// read the key again. The [Store] has one method that changes a key, and that
// method takes the entry; there is no way to save a key without one. A change
// that cuts returns a [Receipt]: settled once no verifier accepts an older token, waiting when
// the actor does not wait that long. What is so already appends nothing, and has the receipt
// of the cut that made it so.
//
// # Exact limits
//
// A plan limits the active keys of an organisation. Creating locks the
// organisation's row, counts, then inserts; the count cannot be stale, whatever
// the concurrency. A counter column would be one statement shorter and would
// drift with the first key that expires, which no statement sees.
//
// # People
//
// A [Member] belongs to one organisation and has a role there. An [Account] is the
// person behind an address, who may be a member of several: a password, and browsers
// that are signed in. It is no part of any organisation, and nothing about it is in an
// organisation's log.
//
// # Signing keys
//
// The keys that sign tokens are kept here, sealed: a [SigningRing] decides what becomes
// of them, and the [Store] stores that with the entry that tells of it. That one was
// withdrawn stands in the log alone.
//
// # Rejected: status columns and jobs
//
// Whether a key is active is computed from the times on it. Nothing has to run
// for a key to expire or for an old secret to end.
package keys
