package keys

import (
	"context"
	"slices"
	"time"

	"github.com/imara/apikeys/tokens"
)

// A Record is all that decides whether a client may have a token, as one moment
// of the store knew it.
type Record struct {
	Key          Key
	Organization Organization
	// Position of the revocation log at that moment.
	Position uint64
}

// Record reads a client's record, that of another one, decoy, where there is no such client,
// or returns [ErrNotFound] where there is neither. It takes the same time either way.
func (r *Registry) Record(ctx context.Context, clientID, decoy string) (*Record, error) {
	return r.config.Store.Record(ctx, clientID, decoy)
}

// Authenticate checks a secret against a record, nil for an unknown client, at
// time t, and returns the credential that matched. It reads no store, and takes
// the same time whatever is wrong.
//
// Errors: [ErrCredentials] says only that the pair is not right. Once it is
// right, [ErrSecretEnded], [ErrRevoked], [ErrExpired], [ErrSuspended] and
// [ErrNoAPIAccess] say why it does not count.
func (r *Registry) Authenticate(record *Record, secret Secret, t time.Time) (Credential, error) {
	stored := Credential{MAC: make([]byte, 32), Pepper: r.config.Peppers.current()}
	if record != nil {
		for _, c := range record.Key.Credentials {
			if c.ID == secret.CredentialID() {
				stored = c
			}
		}
	}
	if !r.config.Peppers.match(stored, secret.text) || record == nil {
		return Credential{}, ErrCredentials
	}
	if !stored.Live(t) {
		return stored, ErrSecretEnded
	}
	if err := record.Key.usable(t); err != nil {
		return stored, err
	}
	return stored, r.APIAccess(record.Organization)
}

// A Use of a secret: when, and from which address.
type Use struct {
	At   time.Time
	From string
}

// FirstUse starts the end of the secrets that wait for a newer one to be used:
// from the use of it at time t, each has the time that its rotation left it.
func (r *Registry) FirstUse(ctx context.Context, k Key, credentialID string, t time.Time) error {
	_, _, err := r.change(ctx, Program("server"), "secret.first_use", k.OrganizationID, k.ID, func(_ Organization, _ int, k *Key, e *Entry) error {
		e.Reason = "secret " + credentialID
		if !k.Awaits(credentialID) {
			return already(tokens.Credential(credentialID))
		}
		// No token that an old secret bought until now outlives it.
		earliest := now().Add(MaxTokenTTL)
		for i := range k.Credentials {
			old := &k.Credentials[i]
			end := t.Add(old.EndsAfterUse).Truncate(time.Microsecond)
			if end.Before(earliest) {
				end = earliest
			}
			if old.ID != credentialID && old.EndsAfterUse > 0 {
				old.EndsAfterUse = 0
				if end.Before(old.EndsAt) {
					old.EndsAt = end
				}
			}
		}
		return nil
	})
	return err
}

// Awaits tells whether the first use of a secret makes older ones end.
func (k *Key) Awaits(credentialID string) bool {
	newest := len(k.Credentials) > 0 && k.Credentials[0].ID == credentialID
	return newest && slices.ContainsFunc(k.Credentials[1:], func(c Credential) bool { return c.EndsAfterUse > 0 })
}
