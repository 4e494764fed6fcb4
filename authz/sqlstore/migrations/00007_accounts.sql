-- +goose Up
CREATE TABLE accounts (
    email    TEXT PRIMARY KEY,
    password TEXT NOT NULL
);

CREATE TABLE web_sessions (
    hash       BYTEA PRIMARY KEY,
    email      TEXT NOT NULL REFERENCES accounts (email),
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL
);
CREATE INDEX web_sessions_by_email ON web_sessions (email);

CREATE TABLE links (
    hash       BYTEA PRIMARY KEY,
    email      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX members_by_email ON members (email);
