package management

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// A Key as the API shows it. Times are RFC 3339 in UTC; null stands for never.
type Key struct {
	ID              string     `json:"id"`
	ClientID        string     `json:"client_id"`
	Name            string     `json:"name"`
	Description     string     `json:"description,omitempty"`
	Status          string     `json:"status" enum:"active,pending,suspended,expired,revoked"`
	Scopes          []string   `json:"scopes"`
	Resources       []string   `json:"resources"`
	Networks        []string   `json:"networks,omitempty" doc:"From which it may ask for tokens; all when there are none."`
	TokenTTLSeconds int        `json:"token_ttl_seconds,omitempty" doc:"How long its tokens live at most."`
	TokensPerMinute int        `json:"tokens_per_minute,omitempty" doc:"How many tokens it may buy; not there where the server's default counts."`
	Owner           string     `json:"owner,omitempty" doc:"The member who answers for it."`
	RequestedBy     string     `json:"requested_by,omitempty" doc:"Who collects its first secret, once it is approved."`
	CreatedAt       time.Time  `json:"created_at"`
	ExpiresAt       *time.Time `json:"expires_at" nullable:"true"`
	LastUsedAt      *time.Time `json:"last_used_at" nullable:"true"`
	SuspendedAt     *time.Time `json:"suspended_at,omitempty"`
	RevokedAt       *time.Time `json:"revoked_at,omitempty"`
	RevokedReason   string     `json:"revoked_reason,omitempty"`
	Secrets         []Secret   `json:"secrets"`
	// Receipt of its revocation, in the answer about one key; not there while it is
	// not confirmed.
	Receipt *authz.Receipt `json:"receipt,omitempty"`
}

// A Secret as the API shows it.
type Secret struct {
	ID string `json:"id"`
	// Value is in the one answer that makes the secret.
	Value        string     `json:"value,omitempty"`
	Hint         string     `json:"hint" doc:"Its last four characters."`
	State        string     `json:"state,omitempty" enum:"active,retiring,ended"`
	CreatedAt    *time.Time `json:"created_at,omitempty"`
	EndsAt       *time.Time `json:"ends_at" nullable:"true"`
	EndsAfterUse int        `json:"ends_after_use_seconds,omitempty" doc:"So long after the first use of a newer secret, it ends."`
	LastUsedAt   *time.Time `json:"last_used_at" nullable:"true"`
	LastUsedFrom string     `json:"last_used_from,omitempty"`
}

// Limits of an organisation.
type Limits struct {
	Active int `json:"active"`
	Max    int `json:"max"`
}

// CreateKey is the request to create a key.
type CreateKey struct {
	Name            string     `json:"name" maxLength:"80" doc:"What uses it."`
	Description     string     `json:"description,omitempty" maxLength:"500"`
	Scopes          []string   `json:"scopes,omitempty" maxItems:"100" doc:"At least one, here or in the preset."`
	Preset          string     `json:"preset,omitempty" doc:"Id or name of a preset, whose scopes are added."`
	Resources       []string   `json:"resources,omitempty" maxItems:"100" doc:"Audiences that it may call; those of the scopes when there are none."`
	Owner           string     `json:"owner,omitempty"`
	ExpiresAt       *time.Time `json:"expires_at,omitempty"`
	ExpiresIn       string     `json:"expires_in,omitempty" example:"90d" doc:"In place of expires_at: how long it lives from now on."`
	Networks        []string   `json:"networks,omitempty" maxItems:"50" example:"[\"203.0.113.0/24\"]"`
	TokenTTLSeconds int        `json:"token_ttl_seconds,omitempty"`
}

// KeyWithSecret is the answer that shows a new secret, once.
type KeyWithSecret struct {
	Key    Key     `json:"key"`
	Secret *Secret `json:"secret,omitempty" doc:"Not there when it was shown before, or the key waits for approval."`
	// SecretDeliveredAt says when it was shown, in the answer to a repeated request.
	SecretDeliveredAt *time.Time `json:"secret_delivered_at,omitempty"`
	Limits            Limits     `json:"limits"`
	// Receipt says how far the cut of the old secrets' tokens has reached, when the rotation
	// ended these early.
	Receipt *authz.Receipt `json:"receipt,omitempty"`
}

type OrgPath struct {
	Org string `path:"org"`
}

type KeyPath struct {
	OrgPath
	Key string `path:"key" doc:"Id or client id."`
}

type listKeys struct {
	OrgPath
	Caller
	Paging
	Status    string `query:"status" enum:"active,pending,suspended,expired,revoked"`
	Scope     string `query:"scope" doc:"Only keys with this scope."`
	Owner     string `query:"owner" doc:"Only keys of this member."`
	Q         string `query:"q" maxLength:"80" doc:"Only keys with this in their name, or with this client id."`
	UnusedFor string `query:"unused_for" example:"90d" doc:"Only keys that were not used for so long."`
	Sort      string `query:"sort" default:"-created_at" enum:"created_at,-created_at,name,-name,last_used_at,-last_used_at,expires_at,-expires_at"`
}

func (s *server) keyRoutes() {
	register(s, route{id: "list-keys", method: "GET", path: "/orgs/{org}/keys", scope: "keys:read", action: "key.read", summary: "List keys"}, s.listKeys, nil)
	register(s, route{id: "create-key", method: "POST", path: "/orgs/{org}/keys", scope: "keys:write", action: "key.create", summary: "Create a key", status: 201}, s.createKey, s.secretShown)
	register(s, route{id: "show-key", method: "GET", path: "/orgs/{org}/keys/{key}", scope: "keys:read", action: "key.read", summary: "Show a key"}, s.showKey, nil)
	register(s, route{id: "edit-key", cuts: true, method: "PATCH", path: "/orgs/{org}/keys/{key}", scope: "keys:write", action: "key.edit", summary: "Change a key"}, s.editKey, nil)
	register(s, route{id: "delete-key", cuts: true, method: "DELETE", path: "/orgs/{org}/keys/{key}", scope: "keys:write", action: "key.revoke", summary: "Revoke a key"},
		func(ctx context.Context, c call, in *struct {
			KeyPath
			Change
		}) (*answer[ChangedKey], error) {
			return s.revokeKey(ctx, c, &struct {
				KeyPath
				Terms
				Body *Reason
			}{KeyPath: in.KeyPath})
		}, nil)
	register(s, route{id: "revoke-key", cuts: true, method: "POST", path: "/orgs/{org}/keys/{key}/revoke", scope: "keys:write", action: "key.revoke", summary: "Revoke a key"}, s.revokeKey, s.keyRevoked)
	register(s, route{id: "suspend-key", cuts: true, method: "POST", path: "/orgs/{org}/keys/{key}/suspend", scope: "keys:write", action: "key.suspend", summary: "Suspend a key"}, s.suspendKey, s.keyChanged)
	register(s, route{id: "resume-key", method: "POST", path: "/orgs/{org}/keys/{key}/resume", scope: "keys:write", action: "key.resume", summary: "Resume a suspended key"}, s.resumeKey, s.keyChanged)
	register(s, route{id: "approve-key", method: "POST", path: "/orgs/{org}/keys/{key}/approve", scope: "keys:write", action: "key.approve", summary: "Approve a key that waits"}, s.approveKey, s.keyChanged)
}

func (s *server) listKeys(ctx context.Context, c call, in *listKeys) (*answer[List[Key]], error) {
	p := keys.Page{Limit: in.Limit + 1, Status: keys.Status(in.Status), Scope: in.Scope, OwnerID: in.Owner, Text: in.Q}
	order, descending := strings.CutPrefix(in.Sort, "-")
	p.Order, p.Ascending = keys.Order(order), !descending
	if in.UnusedFor != "" {
		ago, err := keys.ParseSpan(in.UnusedFor)
		if err != nil {
			return nil, &keys.InputError{Field: "unused_for", Reason: err.Error()}
		}
		p.UnusedSince = time.Now().Add(-ago)
	}
	list := []string{"keys", c.organization, in.Status, in.Scope, in.Owner, in.Q, in.UnusedFor, in.Sort}
	var mark keys.Mark
	if err := s.readCursor(list, in.Cursor, &mark); err != nil {
		return nil, err
	}
	if in.Cursor != "" {
		p.After = &mark
	}
	if _, err := s.config.Registry.Organization(ctx, c.organization); err != nil {
		return nil, err
	}
	found, err := s.config.Registry.Keys(ctx, c.organization, p)
	if err != nil {
		return nil, err
	}
	return listed(s, c, found, in.Limit, list, show, func(k keys.Key) any { return k.Mark(p.Order) }), nil
}

func (s *server) showKey(ctx context.Context, c call, in *struct {
	KeyPath
	Caller
}) (*answer[Key], error) {
	key, err := s.config.Registry.Key(ctx, c.organization, in.Key)
	if err != nil {
		return nil, err
	}
	shown := show(key)
	switch receipt, err := s.config.Registry.RevokedReceipt(ctx, key); {
	case err == nil:
		shown.Receipt = authz.ShowReceipt(receipt)
	case !errors.Is(err, keys.ErrNotFound):
		return nil, err
	}
	return &answer[Key]{ETag: etag(key.Version()), Body: shown}, nil
}

func (s *server) createKey(ctx context.Context, c call, in *struct {
	OrgPath
	Terms
	Body CreateKey
}) (*answer[KeyWithSecret], error) {
	b := in.Body
	networks, err := keys.ParseNetworks(b.Networks)
	if err != nil {
		return nil, err
	}
	n := keys.NewKey{Name: b.Name, Description: b.Description, OwnerID: b.Owner, Preset: b.Preset,
		Access: keys.Access{Scopes: b.Scopes, Resources: b.Resources, Networks: networks, TokenTTL: seconds(b.TokenTTLSeconds)}}
	if b.ExpiresAt != nil {
		n.ExpiresAt = *b.ExpiresAt
	}
	if b.ExpiresIn != "" {
		span, err := keys.ParseSpan(b.ExpiresIn)
		if err != nil || span == 0 || b.ExpiresAt != nil {
			return nil, &keys.InputError{Field: "expires_in", Reason: "use a span such as 90d, without expires_at"}
		}
		n.ExpiresAt = time.Now().Add(span).Truncate(time.Second)
	}
	created, err := s.config.Registry.Create(ctx, c.by, c.organization, n)
	if err != nil {
		return nil, err
	}
	return s.withSecret(created), nil
}

// withSecret shows a new secret.
func (s *server) withSecret(created keys.Created) *answer[KeyWithSecret] {
	body := KeyWithSecret{Key: show(created.Key), Limits: Limits{created.Active, created.Limit}}
	if value := created.Secret.Reveal(); value != "" {
		body.Secret = &Secret{ID: body.Key.Secrets[0].ID, Value: value, Hint: created.Secret.Hint()}
	}
	made := &answer[KeyWithSecret]{ETag: etag(created.Key.Version()), Body: body}
	if created.Receipt.Position != 0 {
		made.Body.Receipt = authz.ShowReceipt(created.Receipt)
		made.Status, made.Location = s.waiting(created.Receipt)
	}
	return made
}

// secretShown answers again a request that made a secret, which nobody has any more.
func (s *server) secretShown(ctx context.Context, c call, e keys.Event) (*answer[KeyWithSecret], error) {
	key, err := s.config.Registry.Key(ctx, c.organization, e.Target)
	if err != nil {
		return nil, err
	}
	return &answer[KeyWithSecret]{ETag: etag(key.Version()),
		Body: KeyWithSecret{Key: show(key), SecretDeliveredAt: &e.At, Limits: s.limits(ctx, c)}}, nil
}

// limits are a courtesy: an answer without them is right all the same.
func (s *server) limits(ctx context.Context, c call) (l Limits) {
	l.Active, l.Max, _ = s.config.Registry.Limits(ctx, c.organization)
	return l
}

func show(k keys.Key) Key {
	now := time.Now()
	shown := Key{ID: k.ID, ClientID: k.ClientID, Name: k.Name, Description: k.Description, Status: string(k.Status(now)), Scopes: k.Scopes, Resources: k.Resources,
		Networks: showNetworks(k.Networks), TokenTTLSeconds: int(k.TokenTTL / time.Second),
		TokensPerMinute: k.TokensPerMinute, Owner: k.OwnerID, RequestedBy: k.RequestedBy,
		CreatedAt: k.CreatedAt, ExpiresAt: optional(k.ExpiresAt), LastUsedAt: optional(k.LastUsedAt()), SuspendedAt: optional(k.SuspendedAt),
		RevokedAt: optional(k.RevokedAt), RevokedReason: k.RevokedReason, Secrets: []Secret{}}
	for _, c := range k.Credentials {
		shown.Secrets = append(shown.Secrets, showSecret(&k, c, now))
	}
	return shown
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// seconds is a duration, of a century at most: more would come out as less.
func seconds(n int) time.Duration {
	const century = 100 * 366 * 24 * 60 * 60
	return time.Duration(min(max(n, -1), century)) * time.Second
}

func showNetworks(list []netip.Prefix) []string {
	var texts []string
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return texts
}
