-- +goose Up
-- Events are the types that it wants, space-separated; none is all.
CREATE TABLE webhooks (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    url             TEXT NOT NULL,
    events          TEXT NOT NULL,
    created_at      BIGINT NOT NULL
);
CREATE INDEX webhooks_by_organization ON webhooks (organization_id, created_at, id);

-- Written with the event: a crash cannot lose one.
CREATE TABLE deliveries (
    id         TEXT PRIMARY KEY,
    webhook_id TEXT NOT NULL REFERENCES webhooks (id),
    seq        BIGINT NOT NULL REFERENCES log (seq),
    type       TEXT NOT NULL,
    state      TEXT NOT NULL,
    attempts   BIGINT NOT NULL,
    next_at    BIGINT NOT NULL,
    tried_at   BIGINT NOT NULL,
    status     BIGINT NOT NULL,
    error      TEXT NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE state = 'pending';
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, seq);

CREATE INDEX keys_by_end ON keys (expires_at) WHERE revoked_at = 0 AND expires_at > 0;
