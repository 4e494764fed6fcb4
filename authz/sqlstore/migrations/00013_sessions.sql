-- +goose Up
-- A join counts the sessions of its key.
CREATE INDEX sessions_by_client ON sessions (client_id);
