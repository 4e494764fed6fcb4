// Package signing keeps the keys that sign access tokens.
// A [Ring] signs with the current key of an algorithm and publishes every key
// whose tokens may still be verified; private keys are stored sealed.
// Resource servers never need this package.
//
// The keys of an algorithm are a chain: each replaces the one before it. The newest
// is the next one: it is published and signs nothing, so that every verifier has it
// by the time it is needed, in a rotation or when the current key is found to be
// stolen. The current key is the newest that was made active; older ones are
// published until no token of them can be alive. That two keys cannot replace the
// same one is all that servers need to change the chain without a lock: whoever
// comes second reads again. The rejected option, a state column moved by a job, can
// be left behind by a crash and disagrees between replicas.
//
// An algorithm has keys from when the first resource chooses it, and is published from
// then on: some clients fail on a JWK Set with keys of a kind that they do not know. Keys
// are made before the resource is stored, and the revocation log tells of them, so that
// verifiers have fetched them before the first token is signed. The rejected option,
// keys of every algorithm from the first start on, published them to everybody.
//
// A key is withdrawn by the terminal cut of its tokens in the revocation log, and by
// nothing else: the store reads it from there, so that no ring can disagree with what
// verifiers are told.
//
// Private keys are sealed with XChaCha20-Poly1305 under a key-encryption key
// that is not in the database; kid, algorithm and issuer are authenticated with
// them, so that a row cannot be copied to another name, use or server.
package signing
