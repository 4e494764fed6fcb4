-- +goose Up
-- Receipts have a table of their own: the log is only ever appended to. A receipt that
-- waits is replaced, one that is settled never.
CREATE TABLE receipts (
    seq        BIGINT PRIMARY KEY REFERENCES log (seq),
    state      TEXT NOT NULL,
    latest     BIGINT NOT NULL,
    settled_at BIGINT NOT NULL,
    waited_us  BIGINT NOT NULL,
    recovered  BOOLEAN NOT NULL,
    confirmed  BIGINT NOT NULL,
    total      BIGINT NOT NULL,
    evidence   TEXT NOT NULL
);
CREATE INDEX receipts_waiting ON receipts (seq) WHERE state = 'waiting';

-- Who had to confirm, and how each did, as JSON; its id is a hash of it.
CREATE TABLE evidence (
    id      TEXT PRIMARY KEY,
    members TEXT NOT NULL
);

-- Receipts of the time before. One that was stored long after its cut, and says that
-- nobody was waited for, was made by another wait than the cut's: all that is known is
-- that every lease has ended.
INSERT INTO receipts (seq, state, latest, settled_at, waited_us, recovered, confirmed, total, evidence)
SELECT seq, state, 0, confirmed_at, waited_us, FALSE, confirmed, total, ''
FROM log WHERE kind = 'cut' AND confirmed_at > 0;
UPDATE receipts SET state = CASE WHEN state = 'confirmed' THEN 'lease_ended' ELSE state END,
                    recovered = TRUE, confirmed = 0, total = 0
WHERE settled_at - waited_us > (SELECT at + 1000000 FROM log WHERE log.seq = receipts.seq);

CREATE INDEX log_cuts ON log (subject, seq) WHERE kind = 'cut';

-- An acknowledgement is of a position and the head there.
ALTER TABLE sessions ADD COLUMN applied_head BIGINT NOT NULL DEFAULT 0;

-- Up to settled, every cut has its receipt.
ALTER TABLE feed ADD COLUMN settled BIGINT NOT NULL DEFAULT 0;
