-- +goose Up
-- Whoever is a member already was never asked, and stays one.
ALTER TABLE members ADD COLUMN accepted_at BIGINT NOT NULL DEFAULT 0;
UPDATE members SET accepted_at = created_at;

ALTER TABLE links ADD COLUMN organization_id TEXT NOT NULL DEFAULT '';
ALTER TABLE links ADD COLUMN opens TEXT NOT NULL DEFAULT '';
