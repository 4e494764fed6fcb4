package sqlstore

import (
	"context"
	"database/sql"
	"slices"
)

// Migrations 1, 4 and 5 had several texts before they were frozen, and each has run
// somewhere. repairs say what the others lack of their last text, by a column that
// only the last has, and what gives it to them. They are one text for SQLite and
// Postgres, as the migrations are.
var repairs = []struct {
	table, column string
	statements    []string
}{
	// Sessions of verifiers live for a lease; those that are alive join again.
	{"sessions", "client_id", []string{
		`DROP TABLE sessions`,
		`CREATE TABLE sessions (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL,
    client_id       TEXT NOT NULL,
    via             TEXT NOT NULL,
    lease_us        BIGINT NOT NULL,
    joined_at       BIGINT NOT NULL,
    applied         BIGINT NOT NULL,
    beat            BIGINT NOT NULL,
    accept_stale_us BIGINT NOT NULL DEFAULT 0
)`}},
	// The issuer was not kept, and is what the server's own API is named after. Each
	// key follows the one before it.
	{"signing_keys", "issuer", []string{
		`CREATE TABLE signing_keys_before AS SELECT * FROM signing_keys`,
		`DROP TABLE signing_keys`,
		`CREATE TABLE signing_keys (
    id         TEXT PRIMARY KEY,
    issuer     TEXT NOT NULL,
    algorithm  TEXT NOT NULL,
    replaces   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    active_at  BIGINT NOT NULL,
    box        BYTEA NOT NULL,
    UNIQUE (algorithm, replaces)
)`,
		`INSERT INTO signing_keys (id, issuer, algorithm, replaces, created_at, active_at, box)
SELECT k.id, SUBSTR(r.audience, 1, LENGTH(r.audience) - LENGTH('/v1')), k.algorithm,
       COALESCE(LAG(k.id) OVER (PARTITION BY k.algorithm ORDER BY k.created_at, k.id), ''),
       k.created_at, k.active_at, k.box
FROM signing_keys_before k, (SELECT audience FROM resources
                             WHERE name = 'Imara management API' ORDER BY created_at LIMIT 1) r`,
		`DROP TABLE signing_keys_before`}},
	{"credentials", "leaked_at", []string{
		`ALTER TABLE credentials ADD COLUMN leaked_at BIGINT NOT NULL DEFAULT 0`}},
	// What was dangerous is what the least of the two roles that could give it may give.
	{"scopes", "granted_by", []string{
		`ALTER TABLE scopes ADD COLUMN granted_by TEXT NOT NULL DEFAULT ''`,
		`UPDATE scopes SET granted_by = 'admin' WHERE dangerous`,
		`ALTER TABLE scopes DROP COLUMN dangerous`}},
	{"keys", "staff_hold", []string{
		`ALTER TABLE keys ADD COLUMN staff_hold BOOLEAN NOT NULL DEFAULT FALSE`}},
}

// repairedIndexes are those that not every text made.
var repairedIndexes = []string{
	`CREATE INDEX IF NOT EXISTS log_terminal ON log (seq) WHERE terminal`,
	`CREATE INDEX IF NOT EXISTS keys_counted
ON keys (organization_id, expires_at) WHERE revoked_at = 0`,
	`CREATE INDEX IF NOT EXISTS attempts_by_key ON attempts (key_id, last_at)`,
}

// repair is migration 9. It asks the engine what is there, and changes nothing in a
// database that the frozen texts made.
func repair(ctx context.Context, tx *sql.Tx) error {
	var statements []string
	for _, r := range repairs {
		columns, err := columnsOf(ctx, tx, r.table)
		if err != nil {
			return err
		}
		if !slices.Contains(columns, r.column) {
			statements = append(statements, r.statements...)
		}
	}
	for _, statement := range append(statements, repairedIndexes...) {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// columnsOf asks in the one way that every engine knows.
func columnsOf(ctx context.Context, tx *sql.Tx, table string) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT * FROM `+table+` WHERE FALSE`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return rows.Columns()
}
