-- +goose Up
-- settings is JSON of what no query asks for: policy, limit request, who set the
-- custom limit.
ALTER TABLE organizations ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';

-- Networks are space-separated.
ALTER TABLE keys ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN networks TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN token_ttl_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN pending BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE keys ADD COLUMN requested_by TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN staff_hold BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX keys_by_owner ON keys (owner_id) WHERE revoked_at = 0;

ALTER TABLE credentials ADD COLUMN ends_after_use_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE credentials ADD COLUMN first_used_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE credentials ADD COLUMN last_used_from TEXT NOT NULL DEFAULT '';
ALTER TABLE credentials ADD COLUMN leaked_at BIGINT NOT NULL DEFAULT 0;

ALTER TABLE scopes ADD COLUMN heading TEXT NOT NULL DEFAULT '';
ALTER TABLE scopes ADD COLUMN level TEXT NOT NULL DEFAULT '';
ALTER TABLE scopes ADD COLUMN granted_by TEXT NOT NULL DEFAULT '';

CREATE TABLE presets (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    scopes      TEXT NOT NULL
);

-- A request that is repeated with its Idempotency-Key finds what it did.
ALTER TABLE log ADD COLUMN idempotency_key TEXT NOT NULL DEFAULT '';
ALTER TABLE log ADD COLUMN request_hash TEXT NOT NULL DEFAULT '';
CREATE INDEX log_by_idempotency ON log (actor, idempotency_key) WHERE idempotency_key <> '';

-- Counting an organisation's keys reads this index only.
CREATE INDEX keys_counted ON keys (organization_id, expires_at) WHERE revoked_at = 0;
