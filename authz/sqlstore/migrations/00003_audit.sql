-- +goose Up
-- The log is the audit log too: whose change, what it was, who made it, and a
-- hash over it and the organisation's entry before it. Entries from before this
-- version have no hash.
ALTER TABLE log ADD COLUMN organization_id TEXT NOT NULL DEFAULT '';
ALTER TABLE log ADD COLUMN action TEXT NOT NULL DEFAULT '';
ALTER TABLE log ADD COLUMN target TEXT NOT NULL DEFAULT '';
ALTER TABLE log ADD COLUMN member_id TEXT NOT NULL DEFAULT '';
ALTER TABLE log ADD COLUMN request_id TEXT NOT NULL DEFAULT '';
ALTER TABLE log ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE log ADD COLUMN changes TEXT NOT NULL DEFAULT '';
ALTER TABLE log ADD COLUMN hash BYTEA;
CREATE INDEX log_by_organization ON log (organization_id, seq);

CREATE TABLE checkpoints (
    organization_id TEXT NOT NULL,
    seq             BIGINT NOT NULL,
    signed          TEXT NOT NULL,
    PRIMARY KEY (organization_id, seq)
);
CREATE INDEX checkpoints_by_seq ON checkpoints (seq);

-- Members that left stay, so that what they did still has a name.
ALTER TABLE members ADD COLUMN removed_at BIGINT NOT NULL DEFAULT 0;
