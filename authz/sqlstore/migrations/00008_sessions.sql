-- +goose Up
ALTER TABLE web_sessions ADD COLUMN proved_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE web_sessions ADD COLUMN address TEXT NOT NULL DEFAULT '';
