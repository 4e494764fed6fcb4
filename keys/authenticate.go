package keys

import (
	"context"
	"fmt"
	"time"
)

// A Record is all that decides whether a client may have a token, as one moment
// of the store knew it.
type Record struct {
	Key          Key
	Organization Organization
	// Position of the revocation log at that moment.
	Position uint64
}

// Record reads a client's record, or [ErrNotFound].
func (r *Registry) Record(ctx context.Context, clientID string) (*Record, error) {
	return r.config.Store.Record(ctx, clientID)
}

// Authenticate checks a secret against a record, nil for an unknown client, at
// time t, and returns the credential that matched. It reads no store, and takes
// the same time whatever is wrong.
//
// Errors: [ErrCredentials] says only that the pair is not right. Once it is
// right, [ErrSecretEnded], [ErrRevoked], [ErrExpired], [ErrSuspended] and
// [ErrNoAPIAccess] say why it does not count.
func (r *Registry) Authenticate(record *Record, secret string, t time.Time) (Credential, error) {
	stored := Credential{MAC: make([]byte, 32), Pepper: r.config.Peppers.current()}
	parsed, err := ParseSecret(secret)
	if err == nil && record != nil {
		for _, c := range record.Key.Credentials {
			if c.ID == parsed.CredentialID() {
				stored = c
			}
		}
	}
	if !r.config.Peppers.match(stored, secret) || err != nil || record == nil {
		return Credential{}, ErrCredentials
	}
	if !stored.Live(t) {
		return stored, ErrSecretEnded
	}
	if err := record.Key.usable(t); err != nil {
		return stored, err
	}
	if !r.plans[record.Organization.Plan].APIAccess {
		return stored, fmt.Errorf("%w: %s", ErrNoAPIAccess, record.Organization.Plan)
	}
	return stored, nil
}

// Used records when credentials were last used, by credential id. Older times
// than are known change nothing.
func (r *Registry) Used(ctx context.Context, last map[string]time.Time) error {
	return r.config.Store.UseCredentials(ctx, last)
}
