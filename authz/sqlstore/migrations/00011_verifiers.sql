-- +goose Up
-- Which protocol every verifier speaks: from 2 on, the cut of a secret is about the secret.
-- A new database begins with 2.
ALTER TABLE feed ADD COLUMN protocol BIGINT NOT NULL DEFAULT 1;

-- Position of a restore that servers still wait out, 0 for none.
ALTER TABLE feed ADD COLUMN restored BIGINT NOT NULL DEFAULT 0;

-- What a key may have as a verifier; 0 is what the server allows.
ALTER TABLE keys ADD COLUMN max_sessions BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN max_lease_us BIGINT NOT NULL DEFAULT 0;

-- Who uses more today goes on: longer leases than ten seconds, and waivers.
UPDATE keys SET max_lease_us = (SELECT MAX(s.lease_us) FROM sessions s WHERE s.client_id = keys.client_id)
WHERE client_id IN (SELECT client_id FROM sessions WHERE lease_us > 10000000);
UPDATE keys SET scopes = scopes || ' revocations:waive'
WHERE client_id IN (SELECT client_id FROM sessions WHERE accept_stale_us > 0);
