-- +goose Up
-- How long a verifier may accept a stale view, as its owner configured it.
ALTER TABLE sessions ADD COLUMN accept_stale_us BIGINT NOT NULL DEFAULT 0;
