-- +goose Up
-- Accounts of people who sign in with a provider are bound at their next sign-in.
ALTER TABLE accounts ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN subject TEXT NOT NULL DEFAULT '';
-- The family of the program that began the session.
ALTER TABLE web_sessions ADD COLUMN agent TEXT NOT NULL DEFAULT '';
