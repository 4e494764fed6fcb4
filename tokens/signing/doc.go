// Package signing keeps the keys that sign access tokens.
// A [Ring] signs with the active key of an algorithm and publishes every key
// whose tokens may still be verified; private keys are stored sealed.
// Resource servers never need this package.
//
// A key has one algorithm and one time at which it becomes active. That is its
// whole state: the active key is the newest whose time has come, a newer one is
// published but not used yet, an older one is retiring until no token of it can
// be alive. The rejected option, a state column moved by a job, can be left
// behind by a crash and disagrees between replicas.
//
// Private keys are sealed with XChaCha20-Poly1305 under a key-encryption key
// that is not in the database; kid, algorithm and issuer are authenticated with
// them, so that a row cannot be copied to another name, use or server.
package signing
