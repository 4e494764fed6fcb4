package keys

import (
	"context"
	"errors"

	"github.com/imara/apikeys/tokens"
)

// A Leak is what became of a secret that was reported.
type Leak struct {
	Key     Key
	Receipt Receipt
	// Kept: the organisation's policy wants to be told only.
	Kept bool
}

// ReportLeak ends a secret that somebody found. To have it is enough: who holds a
// secret can do worse with it. Every token that was bought with it is cut; another
// secret of the key goes on working, with its tokens. Where says where it was found. Reporting again, or a
// secret that ended so long ago that no token of it is alive, changes nothing: an
// old secret is no switch to stop a key with. [ErrNotFound] when the secret is not
// one of this server's.
func (r *Registry) ReportLeak(ctx context.Context, by Actor, secret Secret, where string) (Leak, error) {
	key, err := r.config.Store.KeyOfCredential(ctx, secret.CredentialID())
	decoy := Credential{MAC: make([]byte, 32), Pepper: r.config.Peppers.current()}
	stored := &decoy
	if c := key.credential(secret.CredentialID()); c != nil {
		stored = c
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Leak{}, err
	}
	if !r.config.Peppers.match(*stored, secret.text) || stored == &decoy {
		return Leak{}, ErrNotFound
	}
	if where != "" && checkText("where", where, 200) != nil {
		where = "a place that cannot be named"
	}
	var kept bool
	by.MemberID, by.Role = "", ""
	changed, receipt, err := r.change(ctx, by, "secret.leaked", key.OrganizationID, key.ID, func(o Organization, _ int, k *Key, e *Entry) error {
		c := k.credential(stored.ID)
		if c == nil {
			return ErrNotFound
		}
		e.Reason = "secret …" + c.Hint + " was found"
		if where != "" {
			e.Reason += " in " + where
		}
		at := now()
		kept = o.Policy.KeepLeaked && c.Live(at)
		told := !c.LeakedAt.IsZero() && (kept || !c.Live(at))
		if told || !k.RevokedAt.IsZero() || !c.Live(at.Add(-Retention)) {
			return already(tokens.Credential(c.ID))
		}
		if c.LeakedAt = at; kept {
			return nil
		}
		if c.Live(at) {
			c.EndsAt = at
		}
		e.cutSecrets(k, []string{c.ID})
		return nil
	})
	return Leak{changed, receipt, kept}, err
}
