package management

import (
	"context"
	"errors"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens/signing"
)

// A SigningKey signs tokens.
type SigningKey struct {
	KeyID     string     `json:"kid"`
	Algorithm string     `json:"algorithm" enum:"ES256,RS256,EdDSA"`
	State     string     `json:"state" enum:"next,current,previous,withdrawn" doc:"A next one is published and has signed nothing."`
	CreatedAt time.Time  `json:"created_at"`
	ReadyAt   *time.Time `json:"ready_at,omitempty" doc:"From when on a next one can be rotated to."`
	ActiveAt  *time.Time `json:"active_at,omitempty" doc:"From when on it signed; not there for one that never did."`
	Until     *time.Time `json:"until,omitempty" doc:"How long a previous one is published."`
	Position  uint64     `json:"position,omitempty" doc:"Of the cut of a withdrawn one, in the revocation log."`
}

// RotateSigningKey is the request to let the next one sign.
type RotateSigningKey struct {
	Algorithm string `json:"algorithm"`
}

// WithdrawnSigningKey is the answer to a withdrawal.
type WithdrawnSigningKey struct {
	KeyID string `json:"kid"`
	// Receipt says how far the cut of its tokens has reached.
	Receipt *authz.Receipt `json:"receipt,omitempty"`
	Keys    []SigningKey   `json:"signing_keys"`
}

// SigningActivity is what the audit logs of all organisations have since a signing key
// was made: who has that key can have forged a token of anybody in it.
type SigningActivity struct {
	KeyID string    `json:"kid"`
	Since time.Time `json:"since" doc:"When the key was made."`
	Until time.Time `json:"until"`
	All   int       `json:"all" doc:"How many rows there are; only the latest are listed."`
	// Activities are what was done, the latest first.
	Activities []Activity `json:"activities"`
}

// An Activity is how often somebody did something.
type Activity struct {
	ClientID string    `json:"client_id" doc:"The key that asked, or the part of the server that did it by itself."`
	Member   string    `json:"member,omitempty" doc:"The member for whom the key acted."`
	Action   string    `json:"action"`
	Count    int       `json:"count"`
	FirstAt  time.Time `json:"first_at"`
	LastAt   time.Time `json:"last_at"`
}

// SigningKeyPath names one.
type SigningKeyPath struct {
	KeyID string `path:"kid"`
}

// errKID: there is no signing key with this kid.
var errKID = errors.New("no such signing key")

func (s *server) signingRoutes() {
	register(s, route{id: "list-signing-keys", method: "GET", path: "/signing-keys",
		scope: "operator", action: "signing.read",
		summary: "List signing keys, the newest of each algorithm first"}, s.listSigningKeys, nil)
	register(s, route{id: "rotate-signing-key", method: "POST", path: "/signing-keys",
		scope: "operator", action: "signing.rotate", status: 201,
		summary: "Let the next signing key of an algorithm sign, and make another"},
		s.rotateSigningKey, s.signingKeyRotated)
	register(s, route{id: "withdraw-signing-key", method: "POST", path: "/signing-keys/{kid}/withdraw",
		scope: "operator", action: "signing.withdraw", cuts: true,
		summary: "Take a signing key out of use that somebody else may have, before this returns"},
		s.withdrawSigningKey, s.signingKeyWithdrawn)
	register(s, route{id: "show-signing-key-activity", method: "GET", path: "/signing-keys/{kid}/activity",
		scope: "operator", action: "signing.read",
		summary: "Sum up the audit logs since a signing key was made"}, s.signingActivity, nil)
}

// ShowSigningKeys are a ring's keys for programs.
func ShowSigningKeys(ring *signing.Ring) []SigningKey {
	list := []SigningKey{}
	for _, k := range ring.Keys() {
		shown := SigningKey{KeyID: k.ID, Algorithm: k.Algorithm, State: string(k.State),
			CreatedAt: k.CreatedAt.UTC(), ActiveAt: optional(k.ActiveAt.UTC()),
			Until: optional(k.Until.UTC()), Position: k.Withdrawn}
		if k.State == signing.Next {
			shown.ReadyAt = optional(k.ReadyAt.UTC())
		}
		list = append(list, shown)
	}
	return list
}

func (s *server) signingKeys() *answer[List[SigningKey]] {
	return &answer[List[SigningKey]]{Body: List[SigningKey]{Data: ShowSigningKeys(s.config.Ring)}}
}

func (s *server) listSigningKeys(context.Context, call, *struct{ Caller }) (*answer[List[SigningKey]], error) {
	return s.signingKeys(), nil
}

func (s *server) rotateSigningKey(ctx context.Context, c call, in *struct {
	Terms
	Body RotateSigningKey
}) (*answer[List[SigningKey]], error) {
	if err := s.config.Registry.RotateSigningKey(ctx, c.by, in.Body.Algorithm); err != nil {
		return nil, err
	}
	return s.signingKeys(), nil
}

func (s *server) signingKeyRotated(context.Context, call, keys.Event) (*answer[List[SigningKey]], error) {
	return s.signingKeys(), nil
}

func (s *server) withdrawSigningKey(ctx context.Context, c call, in *struct {
	SigningKeyPath
	Terms
	Body *Reason
}) (*answer[WithdrawnSigningKey], error) {
	return s.withdraw(ctx, c.by, in.KeyID, given(in.Body).Reason)
}

// signingKeyWithdrawn answers again a request that withdrew a key: as every second
// withdrawal, it returns the receipt, and waits for it if need be.
func (s *server) signingKeyWithdrawn(ctx context.Context, c call, e keys.Event) (
	*answer[WithdrawnSigningKey], error) {
	c.by.IdempotencyKey = ""
	return s.withdraw(ctx, c.by, e.Target, e.Reason)
}

func (s *server) withdraw(ctx context.Context, by keys.Actor, kid, reason string) (
	*answer[WithdrawnSigningKey], error) {
	receipt, err := s.config.Registry.WithdrawSigningKey(ctx, by, kid, reason)
	if err != nil {
		return nil, signingKeyError(err)
	}
	done := &answer[WithdrawnSigningKey]{Body: WithdrawnSigningKey{KeyID: kid}}
	done.Body.Keys = ShowSigningKeys(s.config.Ring)
	if receipt.Position != 0 {
		done.Body.Receipt = authz.ShowReceipt(receipt)
		done.Status, done.Location = s.waiting(receipt)
	}
	return done, nil
}

func (s *server) signingActivity(ctx context.Context, _ call, in *struct {
	SigningKeyPath
	Caller
}) (*answer[SigningActivity], error) {
	activity, err := ShowSigningActivity(ctx, s.config.Registry, in.KeyID)
	return &answer[SigningActivity]{Body: activity}, signingKeyError(err)
}

// ShowSigningActivity is the activity since a signing key was made, for programs.
func ShowSigningActivity(ctx context.Context, r *keys.Registry, kid string) (SigningActivity, error) {
	shown := SigningActivity{KeyID: kid, Until: time.Now().UTC(), Activities: []Activity{}}
	list, all, since, err := r.SigningActivity(ctx, kid)
	shown.All, shown.Since = all, since.UTC()
	for _, a := range list {
		shown.Activities = append(shown.Activities, Activity{ClientID: a.ClientID, Member: a.MemberID,
			Action: string(a.Action), Count: a.Count, FirstAt: a.First.UTC(), LastAt: a.Last.UTC()})
	}
	return shown, err
}

// signingKeyError says what was not found.
func signingKeyError(err error) error {
	if errors.Is(err, keys.ErrNotFound) {
		return errKID
	}
	return err
}
