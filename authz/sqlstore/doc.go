// Package sqlstore keeps organisations, keys, the revocation log and signing
// keys in a SQL database.
// By default that is SQLite in the data directory, with nothing to install.
// One [Store] is all of keys.Store and signing.Store.
//
// The schema and every statement are one text that SQLite and Postgres both
// run: numbered parameters, times as microseconds, no engine's own functions. A
// store differs from another only in how it connects, how it locks a row and
// what its errors are called. A query builder was rejected: the SQL stands in
// the method that promises what it does.
//
// SQLite runs in write-ahead mode with synchronous=FULL: what was acknowledged
// is on the disk. One connection writes, so that a transaction never finds the
// database locked by its own process; others only read. The directory is locked
// against a second process.
package sqlstore
