-- +goose Up
-- What a verifier is, and which rules it broke when it was examined. One that joined
-- before this, or at a server from before it, was not.
ALTER TABLE sessions ADD COLUMN protocol BIGINT NOT NULL DEFAULT 1;
ALTER TABLE sessions ADD COLUMN implementation TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN unproved TEXT NOT NULL DEFAULT 'protocol';
