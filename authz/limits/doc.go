// Package limits counts what happens too often, and says how long to wait.
// A [Limiter] decides in this process's memory, in well under a microsecond.
// Over Redis the servers of an issuer tell each other what they counted.
//
// # Design
//
// A budget is one number: the time at which it is full again (the generic cell rate
// algorithm, ITU-T I.371). It costs one entry of a map, forgets by itself, and allows
// exactly [keys.Rate] in each span of time.
//
// No request waits for Redis. What a server took is added there five times a second, and
// what the others took comes back in the answer: together they may exceed a budget by what
// they take within that fifth of a second. A server that was restarted knows again at its
// first count. Without Redis, or while it is away, each server counts alone: a limit is then
// as many times as wide as there are servers, and never closed or open altogether. Budgets
// from which less than a tenth is taken are not told: with them each count would be a
// command, and none of them is near its limit.
//
// In Redis a budget is a key, limit:<HMAC of issuer and name>, that expires when it is full.
// No address and no name can be read there.
//
// A counter in Redis for each request was rejected: it puts a round trip, and a dependency,
// before every answer, and a flood would be a flood of Redis too. Fixed windows were
// rejected: they allow twice the rate around their edges, and all clients come back at once.
package limits
