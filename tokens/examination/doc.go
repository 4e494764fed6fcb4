// Package examination finds out, before a verifier joins, whether it refuses what it
// must.
// An [Examiner] hands out an [httpfeed.Examination]: tokens of an issuer that does not
// exist, and sessions in which some of them are cut. It compares the verdicts with what
// they have to be. Authorization servers need it; resource servers do not.
//
// # Why
//
// An acknowledgement says "I have it", and a receipt reads it as "I refuse". A verifier
// in another language that spells subjects wrongly acknowledges every cut and accepts
// every token. It finds out here, not after the first revocation that counted.
//
// # What is asked
//
// For each rule a pair of tokens that differ in nothing else: one that only this rule
// refuses, and one that is accepted. What a verifier has to know comes as it comes from
// a feed, a snapshot and pages, and verdicts are asked for before and after each, so that
// one that is remembered too long is found as well. [Rules] names what can be broken.
//
// Nothing in it is real: issuer, audience and kids are made up, the tokens have no scope,
// and the private keys are dropped as soon as they have signed. It guards against
// mistakes, not against lies: a verifier can answer well and then do something else.
//
// # What it costs
//
// Tokens are signed once for each algorithm and shared by the examinations of some
// minutes. Which of them are asked about, in which order, and when each cut comes, is
// drawn for every examination. The expected verdicts travel with the verifier, sealed
// in a ticket, so that any server can check them and none has to remember anything. The
// rejected option, a row for each examination that is under way, would let anybody with
// a key of the feed fill the database.
package examination
