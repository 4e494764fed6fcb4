-- +goose Up
-- How many tokens a minute a key may buy; 0 is what the server allows.
ALTER TABLE keys ADD COLUMN tokens_per_minute BIGINT NOT NULL DEFAULT 0;
