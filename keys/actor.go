package keys

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/tokens"
)

// An Actor is who asks for a change, and on what terms.
type Actor struct {
	// ClientID is the key whose token made the call, or a name for the program
	// itself, such as server.
	ClientID string
	// MemberID and Role are the member for whom the key acts, within its scopes; empty
	// when it acts for itself, with no limit but these.
	MemberID string
	Role     Role
	// Scopes are those of the token, which bound the actor for whomever it acts. Nil is no
	// token: a member who is here in person, or the program.
	Scopes []string
	// Operator: it may act on every organisation, and grant restricted scopes.
	Operator bool
	// RequestID and Address are those of the request, for the log.
	RequestID string
	Address   string
	// Agent is the family of the program that asks, such as Firefox.
	Agent string
	// IdempotencyKey, unless empty, is what a repetition of the request has too, and
	// RequestHash tells whether it is the same request.
	IdempotencyKey string
	RequestHash    string
	// IfMatch, unless empty, is the version that what is changed must have, or several,
	// separated by spaces, of which it must have one.
	IfMatch string
	// DryRun: everything is checked, nothing is stored.
	DryRun bool
	// Wait is how long the actor waits for the receipt of a cut: 0 is until it is settled,
	// and less is not at all. The cut itself goes on in either case.
	Wait time.Duration
}

// The scopes of the management API that decide who acts.
const (
	// OperatorScope lets a key of the operator's act on every organisation, and grant
	// every scope.
	OperatorScope = "operator"
	// ActScope lets a key act for members, within its other scopes.
	ActScope = "members:act"
)

// Program is the actor for what the program does by itself.
func Program(name string) Actor { return Actor{ClientID: name, Operator: true} }

// Name is the member, or the key that acts for itself.
func (by Actor) Name() string { return cmp.Or(by.MemberID, by.ClientID) }

// did is the entry for an action by this actor on a target.
func (by Actor) did(action Action, organizationID, target string, kind tokens.Kind, subject tokens.Subject) Entry {
	return Entry{Kind: kind, Subject: subject, Actor: by, OrganizationID: organizationID, Action: action, Target: target}
}

// agree refuses a change of what has another version by now.
func (by Actor) agree(version string) error {
	if by.IfMatch != "" && !slices.Contains(strings.Fields(by.IfMatch), version) {
		return ErrChanged
	}
	return nil
}

// errTrial ends the transaction of a dry run.
var errTrial = errors.New("dry run")

// trial is the last thing that a change says in its transaction.
func (by Actor) trial() error {
	if by.DryRun {
		return errTrial
	}
	return nil
}

// version is the same for the same fields, and for no others.
func version(fields map[string]string) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(h, "%q=%q\n", name, fields[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// stamp is a time as fields show it; empty for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
