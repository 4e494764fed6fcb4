-- +goose Up
-- One text for SQLite and Postgres: TEXT, BIGINT, BOOLEAN and BYTEA columns.
-- Times are microseconds since 1970 in UTC; 0 stands for none.

CREATE TABLE organizations (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    plan         TEXT NOT NULL,
    custom_limit BIGINT,
    operator     BOOLEAN NOT NULL,
    created_at   BIGINT NOT NULL
);

CREATE TABLE members (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    name            TEXT NOT NULL,
    email           TEXT NOT NULL,
    role            TEXT NOT NULL,
    created_at      BIGINT NOT NULL
);
CREATE INDEX members_by_organization ON members (organization_id, created_at, id);

CREATE TABLE resources (
    id         TEXT PRIMARY KEY,
    audience   TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    algorithm  TEXT NOT NULL,
    token_ttl  BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE scopes (
    name        TEXT PRIMARY KEY,
    resource_id TEXT NOT NULL REFERENCES resources (id),
    description TEXT NOT NULL,
    restricted  BOOLEAN NOT NULL,
    ordinal     BIGINT NOT NULL
);

-- Scopes and resources are space-separated, as OAuth writes them; neither can
-- hold a space.
CREATE TABLE keys (
    id               TEXT PRIMARY KEY,
    organization_id  TEXT NOT NULL REFERENCES organizations (id),
    client_id        TEXT NOT NULL UNIQUE,
    name             TEXT NOT NULL,
    name_key         TEXT NOT NULL,
    owner_id         TEXT NOT NULL,
    scopes           TEXT NOT NULL,
    resources        TEXT NOT NULL,
    created_at       BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    suspended_at     BIGINT NOT NULL,
    revoked_at       BIGINT NOT NULL,
    revoked_reason   TEXT NOT NULL,
    revoked_position BIGINT NOT NULL
);
CREATE INDEX keys_by_organization ON keys (organization_id, created_at, id);
CREATE INDEX keys_unrevoked ON keys (organization_id, name_key) WHERE revoked_at = 0;

CREATE TABLE credentials (
    id           TEXT PRIMARY KEY,
    key_id       TEXT NOT NULL REFERENCES keys (id),
    hint         TEXT NOT NULL,
    mac          BYTEA NOT NULL,
    pepper       BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    ends_at      BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL
);
CREATE INDEX credentials_by_key ON credentials (key_id, created_at);

-- The revocation log. The row of feed is locked from the position's assignment
-- to the commit: positions are gapless and in commit order.
CREATE TABLE feed (
    one   BIGINT PRIMARY KEY CHECK (one = 1),
    seq   BIGINT NOT NULL,
    floor BIGINT NOT NULL
);

CREATE TABLE log (
    seq          BIGINT PRIMARY KEY,
    subject      TEXT NOT NULL,
    kind         TEXT NOT NULL,
    terminal     BOOLEAN NOT NULL,
    head         BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    until        BIGINT NOT NULL,
    actor        TEXT NOT NULL,
    reason       TEXT NOT NULL,
    confirmed_at BIGINT NOT NULL,
    state        TEXT NOT NULL,
    confirmed    BIGINT NOT NULL,
    total        BIGINT NOT NULL,
    waited_us    BIGINT NOT NULL
);
CREATE INDEX log_terminal ON log (seq) WHERE terminal;
CREATE INDEX log_unconfirmed ON log (seq) WHERE kind = 'cut' AND confirmed_at = 0;

CREATE TABLE sessions (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    client_id TEXT NOT NULL,
    via       TEXT NOT NULL,
    lease_us  BIGINT NOT NULL,
    joined_at BIGINT NOT NULL,
    applied   BIGINT NOT NULL,
    beat      BIGINT NOT NULL
);

-- One key follows another: two servers that add one at once cannot both.
CREATE TABLE signing_keys (
    id         TEXT PRIMARY KEY,
    issuer     TEXT NOT NULL,
    algorithm  TEXT NOT NULL,
    replaces   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    active_at  BIGINT NOT NULL,
    box        BYTEA NOT NULL,
    UNIQUE (algorithm, replaces)
);
