-- +goose Up
CREATE TABLE usage_counts (
    key_id  TEXT NOT NULL REFERENCES keys (id),
    hour    BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    count   BIGINT NOT NULL,
    PRIMARY KEY (key_id, hour, outcome)
);
CREATE INDEX usage_counts_by_hour ON usage_counts (hour);

CREATE TABLE attempts (
    key_id  TEXT NOT NULL REFERENCES keys (id),
    outcome TEXT NOT NULL,
    address TEXT NOT NULL,
    count   BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (key_id, outcome, address)
);
CREATE INDEX attempts_by_time ON attempts (last_at);
CREATE INDEX attempts_by_key ON attempts (key_id, last_at);

CREATE TABLE scope_uses (
    key_id  TEXT NOT NULL REFERENCES keys (id),
    scope   TEXT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (key_id, scope)
);
