package keys

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/secure/precis"
)

// A Key is an API key: an OAuth2 confidential client.
type Key struct {
	ID             string
	OrganizationID string
	ClientID       string
	Name           string
	Description    string
	// OwnerID is the member who answers for it; empty when it has none.
	OwnerID string
	Access
	// Verifier limits what follows the revocation log with the key. Only an operator sets it.
	Verifier VerifierLimits
	// TokensPerMinute is how many tokens it may buy; 0 is what the server allows. Only an
	// operator sets it.
	TokensPerMinute int
	// StaffHold: the operator suspended it, and resumes it.
	StaffHold bool
	// Pending: it waits for approval, and has no secret. RequestedBy is who asked
	// for such a key, and collects its first secret.
	Pending       bool
	RequestedBy   string
	CreatedAt     time.Time
	SuspendedAt   time.Time // zero: not suspended
	RevokedAt     time.Time // zero: not revoked
	RevokedReason string
	// RevokedPosition is the entry of the revocation log that cut it.
	RevokedPosition uint64
	// Credentials are its secrets, the newest first.
	Credentials []Credential
}

// Status of a key at a moment.
type Status string

// The statuses. Active, Pending and Suspended keys take a slot of the plan.
const (
	Active    Status = "active"
	Pending   Status = "pending"
	Suspended Status = "suspended"
	Expired   Status = "expired"
	Revoked   Status = "revoked"
)

// Status at time t.
func (k *Key) Status(t time.Time) Status {
	switch {
	case !k.RevokedAt.IsZero():
		return Revoked
	case !k.ExpiresAt.IsZero() && !t.Before(k.ExpiresAt):
		return Expired
	case !k.SuspendedAt.IsZero():
		return Suspended
	case k.Pending:
		return Pending
	}
	return Active
}

// Counts tells whether the key takes a slot of the plan at time t: it is neither
// revoked nor expired.
func (k *Key) Counts(t time.Time) bool {
	s := k.Status(t)
	return s != Expired && s != Revoked
}

// Ended is when a key that does not count any more stopped to.
func (k *Key) Ended() time.Time {
	if !k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || k.RevokedAt.Before(k.ExpiresAt)) {
		return k.RevokedAt
	}
	return k.ExpiresAt
}

// usable returns why the key cannot be used at time t, or nil.
func (k *Key) usable(t time.Time) error {
	switch k.Status(t) {
	case Revoked:
		return ErrRevoked
	case Expired:
		return ErrExpired
	case Suspended:
		return ErrSuspended
	case Pending:
		return ErrPending
	}
	return nil
}

// fields are what changes are told by, and what a version is made of.
func (k *Key) fields() map[string]string {
	f := map[string]string{"name": k.Name, "description": k.Description, "owner": k.OwnerID,
		"scopes": strings.Join(k.Scopes, " "), "resources": strings.Join(k.Resources, " "), "networks": joined(k.Networks),
		"expires_at": stamp(k.ExpiresAt), "suspended_at": stamp(k.SuspendedAt), "revoked_at": stamp(k.RevokedAt)}
	if k.TokenTTL > 0 {
		f["token_ttl"] = k.TokenTTL.String()
	}
	if k.Pending {
		f["pending"] = "true"
	}
	if k.TokensPerMinute > 0 {
		f["tokens_per_minute"] = strconv.Itoa(k.TokensPerMinute)
	}
	if k.Verifier != (VerifierLimits{}) {
		f["verifier"] = fmt.Sprintf("%d sessions, leases up to %v", k.MaxSessions(), k.MaxLease())
	}
	for _, c := range k.Credentials {
		f["secret."+c.ID] = cmp.Or(stamp(c.EndsAt), "active")
		if !c.LeakedAt.IsZero() {
			f["leaked."+c.ID] = stamp(c.LeakedAt)
		}
	}
	return f
}

// Version changes whenever the key does; not when it is used.
func (k *Key) Version() string { return version(k.fields()) }

// LastUsedAt is the last use of any of its secrets.
func (k *Key) LastUsedAt() (last time.Time) {
	for _, c := range k.Credentials {
		if c.LastUsedAt.After(last) {
			last = c.LastUsedAt
		}
	}
	return last
}

// Unused tells whether the key was used once, but not in the ninety days before t.
func (k *Key) Unused(t time.Time) bool {
	last := k.LastUsedAt()
	return !last.IsZero() && last.Before(t.Add(-idle))
}

// EndsSoon tells whether the key expires within a week of t, or has expired.
func (k *Key) EndsSoon(t time.Time) bool {
	return !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(t.Add(soon))
}

// Live counts the secrets that work at time t: two while one replaces the other.
func (k *Key) Live(t time.Time) int {
	n := 0
	for _, c := range k.Credentials {
		if c.Live(t) {
			n++
		}
	}
	return n
}

// now is the time in the precision that every store keeps.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// SearchKey is what a name must contain to be found by a text, when both are such: ß is
// found by ss, and ss by ß.
func SearchKey(text string) string { return strings.ReplaceAll(NameKey(text), "ß", "ss") }

// SearchesClients tells whether a text may be a part of a client id: less finds almost all.
func SearchesClients(text string) bool {
	return len(text) >= 4 && !strings.Contains(clientPrefix, text)
}

// NameKey is equal for names that are the same to a reader: case, width and
// runs of spaces do not matter (RFC 8266).
func NameKey(name string) string {
	key, err := precis.Nickname.CompareKey(name)
	if err != nil {
		return name
	}
	return key
}
