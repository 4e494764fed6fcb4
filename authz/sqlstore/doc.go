// Package sqlstore keeps organisations, keys, the revocation log and signing
// keys in a SQL database.
// By default that is SQLite in the data directory, with nothing to install.
// One [Store] is all of keys.Store.
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
//
// # Versions of the schema
//
// The schema is what the migrations make, in the order of their numbers: the files
// of migrations, and migration_NNNNN.go where SQL cannot ask what is there. Each is
// one transaction with the row that says that it has run, so that one that is killed
// is run anew; servers that start at once take turns. A server runs on the schema of
// the next version: a migration adds, with a default, and drops only what no version
// that may still run reads or writes.
//
// SQLite's tables are made strict after the migrations, see makeStrict; later migrations
// are run there with the words of strict tables in place of Postgres' types.
//
// To add one: a file with the next number; a line in frozen_test.go, which the test
// prints; one in Go is named in upgrade too. A committed one is never changed, since
// it has run somewhere and does not run there again. Of migrations 1, 4 and 5 several
// texts have run: migration 9 asks a database what it lacks of the last ones, and adds
// it. testdata has a database of each text, and of every release, made by the program
// of that commit (make.sh says how); tests open them and want the schema of a new
// database, and every row.
//
// Whether a database has what the code needs is asked of the engine, at the start
// and by Ping: names of tables and columns, against those of a database in memory
// that the same migrations make. So nothing is listed twice. A number of a version
// was rejected: it says what has run, not what is there, and both a changed
// migration and a hand at the database make that two things. More than is needed is
// what a later version added, and right. Types, constraints and indexes are not
// compared: without an index a store is slow, not wrong, and each engine writes the
// others in its own way. The comparison is one query of the catalog, and holds for ten
// seconds, so that probes cost nothing.
//
// # Damaged rows
//
// A row that is not as this program writes rows is a [RowError] of what needs it, and
// counted. What one organization reads fails with it: a list without a key, a member or
// an event would look complete. What every organization or a start needs goes on without
// it: a preset or a scope is left out, so that nobody is granted it; an organization is in
// the list of all, marked; of the log, what is damaged cuts more rather than less.
package sqlstore
