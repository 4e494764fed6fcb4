package management

import (
	"context"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// EditKey is the request to change a key. What is not there stays.
type EditKey struct {
	Name            *string         `json:"name,omitempty"`
	Description     *string         `json:"description,omitempty"`
	Scopes          *[]string       `json:"scopes,omitempty" maxItems:"100"`
	Resources       *[]string       `json:"resources,omitempty" maxItems:"100"`
	Owner           *string         `json:"owner,omitempty" doc:"Hands it over."`
	ExpiresAt       Null[time.Time] `json:"expires_at,omitzero" required:"false" doc:"null lets it live for ever."`
	Networks        *[]string       `json:"networks,omitempty" maxItems:"50"`
	TokenTTLSeconds *int            `json:"token_ttl_seconds,omitempty"`
	// The next are for operators: what the key may cost the server.
	TokensPerMinute *int   `json:"tokens_per_minute,omitempty" doc:"How many tokens it may buy; 0 is the server's default."`
	MaxSessions     *int   `json:"max_sessions,omitempty" doc:"How many verifiers may follow with the key at once; 0 is the default."`
	MaxLeaseMS      *int64 `json:"max_lease_ms,omitempty" doc:"The longest lease of these; 0 is the default of 10000."`
}

// ChangedKey is the answer to a change of a key.
type ChangedKey struct {
	Key Key `json:"key"`
	// Receipt says how far the cut of its tokens has reached; not there when nothing
	// was taken away.
	Receipt *authz.Receipt `json:"receipt,omitempty"`
	Limits  Limits         `json:"limits"`
}

// Reason is why something is done, for the record.
type Reason struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

func (s *server) editKey(ctx context.Context, c call, in *struct {
	KeyPath
	Change
	Body EditKey
}) (*answer[ChangedKey], error) {
	b := in.Body
	networks, err := keys.ParseNetworks(given(b.Networks))
	if err != nil {
		return nil, err
	}
	key, receipt, err := s.config.Registry.Edit(ctx, c.by, c.organization, in.Key, func(e *keys.KeyEdit) {
		set(&e.Name, b.Name)
		set(&e.Description, b.Description)
		set(&e.OwnerID, b.Owner)
		set(&e.Scopes, b.Scopes)
		set(&e.Resources, b.Resources)
		if b.Scopes != nil && b.Resources == nil {
			e.Resources = nil // those of the scopes
		}
		if b.ExpiresAt.Set {
			e.ExpiresAt = b.ExpiresAt.Value
		}
		if b.Networks != nil {
			e.Networks = networks
		}
		if b.TokenTTLSeconds != nil {
			e.TokenTTL = seconds(*b.TokenTTLSeconds)
		}
		set(&e.TokensPerMinute, b.TokensPerMinute)
		set(&e.Verifier.Sessions, b.MaxSessions)
		if b.MaxLeaseMS != nil {
			e.Verifier.Lease = time.Duration(min(*b.MaxLeaseMS, 1<<40)) * time.Millisecond
		}
	})
	return s.changed(ctx, c, key, receipt, err)
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (s *server) revokeKey(ctx context.Context, c call, in *struct {
	KeyPath
	Terms
	Body *Reason
}) (*answer[ChangedKey], error) {
	key, receipt, err := s.config.Registry.Revoke(ctx, c.by, c.organization, in.Key, given(in.Body).Reason)
	return s.changed(ctx, c, key, receipt, err)
}

func (s *server) suspendKey(ctx context.Context, c call, in *struct {
	KeyPath
	Terms
	Body *Reason
}) (*answer[ChangedKey], error) {
	key, receipt, err := s.config.Registry.Suspend(ctx, c.by, c.organization, in.Key, given(in.Body).Reason)
	return s.changed(ctx, c, key, receipt, err)
}

func (s *server) resumeKey(ctx context.Context, c call, in *struct {
	KeyPath
	Terms
}) (*answer[ChangedKey], error) {
	key, err := s.config.Registry.Resume(ctx, c.by, c.organization, in.Key)
	return s.changed(ctx, c, key, keys.Receipt{}, err)
}

func (s *server) approveKey(ctx context.Context, c call, in *struct {
	KeyPath
	Terms
}) (*answer[ChangedKey], error) {
	key, err := s.config.Registry.Approve(ctx, c.by, c.organization, in.Key)
	return s.changed(ctx, c, key, keys.Receipt{}, err)
}

func (s *server) changed(ctx context.Context, c call, key keys.Key, receipt keys.Receipt, err error) (*answer[ChangedKey], error) {
	if err != nil {
		return nil, err
	}
	changed := &answer[ChangedKey]{ETag: etag(key.Version()), Body: ChangedKey{Key: show(key), Limits: s.limits(ctx, c)}}
	if receipt.Position != 0 {
		changed.Body.Receipt = authz.ShowReceipt(receipt)
		changed.Status, changed.Location = s.waiting(receipt)
	}
	return changed, nil
}

// keyRevoked answers again a request that revoked a key: as every second revoke, it
// returns the receipt, and waits for it if need be.
func (s *server) keyRevoked(ctx context.Context, c call, e keys.Event) (*answer[ChangedKey], error) {
	c.by.IdempotencyKey, c.by.IfMatch = "", ""
	key, receipt, err := s.config.Registry.Revoke(ctx, c.by, c.organization, e.Target, e.Reason)
	return s.changed(ctx, c, key, receipt, err)
}

// keyChanged answers again a request that changed a key.
func (s *server) keyChanged(ctx context.Context, c call, e keys.Event) (*answer[ChangedKey], error) {
	key, err := s.config.Registry.Key(ctx, c.organization, e.Target)
	if err != nil {
		return nil, err
	}
	receipt, err := s.config.Registry.Reached(ctx, c.by, e)
	return s.changed(ctx, c, key, receipt, err)
}
