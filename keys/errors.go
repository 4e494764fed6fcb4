package keys

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNotFound: no such organisation, key, secret or member here. What belongs
	// to another organisation is not found either.
	ErrNotFound = errors.New("not found")
	// ErrExists: the id is taken.
	ErrExists = errors.New("already exists")
	// ErrNameTaken: another active key of the organisation has this name, upper
	// and lower case being the same.
	ErrNameTaken = errors.New("an active key has this name")
	// ErrRevoked: the key was revoked; that is final.
	ErrRevoked = errors.New("key revoked")
	// ErrExpired: the key's own end has passed.
	ErrExpired = errors.New("key expired")
	// ErrSuspended: the key is suspended until somebody resumes it.
	ErrSuspended = errors.New("key suspended")
	// ErrNoAPIAccess: the organisation's plan does not include API access.
	ErrNoAPIAccess = errors.New("the plan does not include API access")
	// ErrCredentials: unknown client, or the secret does not match. It never says which.
	ErrCredentials = errors.New("unknown client, or the secret does not match")
	// ErrSecretEnded: the secret was right once and has ended.
	ErrSecretEnded = errors.New("secret ended")
	// ErrRotating: the key already has two live secrets.
	ErrRotating = errors.New("a rotation is in progress")
	// ErrNetwork: the key may not be used from this address.
	ErrNetwork = errors.New("not from this network")
	// ErrPending: the key waits for approval.
	ErrPending = errors.New("the key waits for approval")
	// ErrNotPending: the key does not wait for approval.
	ErrNotPending = errors.New("the key does not wait for approval")
	// ErrForbidden: the actor's role, or the organisation's policy, does not allow it.
	ErrForbidden = errors.New("not allowed")
	// ErrChanged: what was to be changed has another version by now.
	ErrChanged = errors.New("it was changed meanwhile")
	// ErrLastOwner: the organisation would have no Owner.
	ErrLastOwner = errors.New("the last owner stays")
	// ErrElsewhere: people with this address sign in with a provider of single sign-on,
	// and have no password here.
	ErrElsewhere = errors.New("signs in with a provider")
	// ErrSubject: the address is bound to another person of the provider, or to another
	// provider, until the operator unbinds it.
	ErrSubject = errors.New("the address belongs to another person of the provider")
	// ErrAccount: the link would open more than the organization that it is for; an
	// [AccountError] says what.
	ErrAccount = errors.New("the address has an account")
	// ErrOwnsKeys: keys must go to another member first.
	ErrOwnsKeys = errors.New("the member owns keys")
	// ErrLifetime: the organisation's policy wants the key to end earlier.
	ErrLifetime = errors.New("the policy limits how long keys live")
	// ErrRepeated: the same request has been carried out.
	ErrRepeated = errors.New("carried out before")
	// ErrInUse: active keys use it.
	ErrInUse = errors.New("active keys use it")
	// ErrScope: the scope is restricted, and not for this organisation or not for
	// this caller to grant.
	ErrScope = errors.New("the scope may not be granted")
	// ErrBusy: too many passwords are being checked; the next second is better.
	ErrBusy = errors.New("too many sign-ins at once")
	// ErrLost: the store failed over to one that does not have the change. Make it again.
	ErrLost error = fmt.Errorf("%w: the change was lost", ErrUnavailable)
	// ErrUnavailable: the store cannot answer or write now; nothing was changed,
	// or it is not known whether something was.
	ErrUnavailable = errors.New("the store is not available")
)

// An AccountError refuses a link for an address that can sign in already, or is in other
// organisations: whoever has the link would have all of that. It wraps [ErrAccount].
type AccountError struct {
	Email    string
	Password bool     // there is one
	Opens    []string // ids of all organisations that the address is in, or invited to
}

func (e *AccountError) Error() string {
	return fmt.Sprintf("%v: a link would open %s", ErrAccount, strings.Join(e.Opens, ", "))
}
func (e *AccountError) Unwrap() error { return ErrAccount }

// A LimitError refuses one more active key.
type LimitError struct {
	Plan   string
	Active int
	Limit  int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%d of %d active keys (%s)", e.Active, e.Limit, e.Plan)
}

// An InUseError is [ErrInUse] with the keys that are in the way.
type InUseError struct {
	// Scopes that would be taken from them; none when it is the whole resource.
	Scopes []string
	Keys   []KeyUse // in the order of their ids
}

// Named are the keys that the text names.
func (e *InUseError) Named() []KeyUse { return e.Keys[:min(len(e.Keys), 5)] }

func (e *InUseError) Error() string {
	text := fmt.Sprintf("keys that use it: %d", len(e.Keys))
	if len(e.Scopes) > 0 {
		text = fmt.Sprintf("keys that have %s: %d", strings.Join(e.Scopes, " "), len(e.Keys))
	}
	for _, k := range e.Named() {
		text += fmt.Sprintf(", %s of %s", k.ID, k.OrganizationID)
	}
	if len(e.Keys) > len(e.Named()) {
		text += ", …"
	}
	return text
}

func (e *InUseError) Unwrap() error { return ErrInUse }

// An InputError names a field that was given and cannot be accepted.
type InputError struct {
	Field  string // as the API spells it
	Reason string
}

func (e *InputError) Error() string { return e.Field + ": " + e.Reason }

func invalid(field, format string, args ...any) error {
	return &InputError{Field: field, Reason: fmt.Sprintf(format, args...)}
}
