package management

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/imara/apikeys/keys"
)

// A Key as the API shows it. Times are RFC 3339 in UTC; null stands for never.
type Key struct {
	ID            string     `json:"id"`
	ClientID      string     `json:"client_id"`
	Name          string     `json:"name"`
	Status        string     `json:"status"` // active, suspended, expired or revoked
	Scopes        []string   `json:"scopes"`
	Resources     []string   `json:"resources"`
	Owner         string     `json:"owner,omitempty"`
	CreatedAt     time.Time  `json:"created_at"`
	ExpiresAt     *time.Time `json:"expires_at"`
	LastUsedAt    *time.Time `json:"last_used_at"`
	RevokedAt     *time.Time `json:"revoked_at,omitempty"`
	RevokedReason string     `json:"revoked_reason,omitempty"`
	Secrets       []Secret   `json:"secrets"`
	// Receipt of its revocation, in the answer about one key; not there while it is
	// not confirmed.
	Receipt *Receipt `json:"receipt,omitempty"`
}

// A Secret as the API shows it.
type Secret struct {
	ID string `json:"id"`
	// Value is in the one answer that makes the secret.
	Value      string     `json:"value,omitempty"`
	Hint       string     `json:"hint"`
	State      string     `json:"state,omitempty"` // active, retiring or ended
	CreatedAt  *time.Time `json:"created_at,omitempty"`
	EndsAt     *time.Time `json:"ends_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
}

// Limits of an organisation.
type Limits struct {
	Active int `json:"active"`
	Max    int `json:"max"`
}

// A Receipt says how far a revocation has reached.
type Receipt struct {
	ClientID  string    `json:"client_id"`
	RevokedAt time.Time `json:"revoked_at"`
	Position  uint64    `json:"position"`
	State     string    `json:"state"` // confirmed, lease_ended or waived
	Confirmed int       `json:"confirmed"`
	Total     int       `json:"total"`
	WaitedMS  float64   `json:"waited_ms"`
	// By is the key or person that revoked.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// KeyList is a page of keys.
type KeyList struct {
	Data       []Key  `json:"data"`
	NextCursor string `json:"next_cursor,omitempty"`
	HasMore    bool   `json:"has_more"`
}

// CreateKey is the request to create a key.
type CreateKey struct {
	Name      string     `json:"name"`
	Scopes    []string   `json:"scopes"`
	Resources []string   `json:"resources,omitempty"`
	Owner     string     `json:"owner,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// KeyWithSecret is the answer that shows a new secret.
type KeyWithSecret struct {
	Key    Key    `json:"key"`
	Secret Secret `json:"secret"`
	Limits Limits `json:"limits"`
}

// RotateKey is the request for a new secret.
type RotateKey struct {
	// OldEnds is when the secrets that the key has end: "now" or an RFC 3339
	// time. Empty is in 24 hours.
	OldEnds string `json:"old_ends,omitempty"`
}

// RevokeKey is the request to revoke a key.
type RevokeKey struct {
	Reason string `json:"reason,omitempty"`
}

// RevokedKey is the answer to it.
type RevokedKey struct {
	Key     Key     `json:"key"`
	Receipt Receipt `json:"receipt"`
	Limits  Limits  `json:"limits"`
}

func (s *server) listKeys(w http.ResponseWriter, r *http.Request, c call) error {
	query := r.URL.Query()
	page := keys.Page{Limit: 50, Status: keys.Status(query.Get("status"))}
	switch page.Status {
	case "", keys.Active, keys.Suspended, keys.Expired, keys.Revoked:
	default:
		return &keys.InputError{Field: "status", Reason: "it must be active, suspended, expired or revoked"}
	}
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 200 {
			return &keys.InputError{Field: "limit", Reason: "it must be between 1 and 200"}
		}
		page.Limit = n
	}
	if err := s.readCursor(c.organization, query.Get("cursor"), &page); err != nil {
		return err
	}
	if _, err := s.Registry.Organization(r.Context(), c.organization); err != nil {
		return err
	}
	limit := page.Limit
	page.Limit++ // one more tells whether there are more
	found, err := s.Registry.Keys(r.Context(), c.organization, page)
	if err != nil {
		return err
	}
	list := KeyList{Data: []Key{}}
	if len(found) > limit {
		found, list.HasMore = found[:limit], true
		list.NextCursor = s.cursor(c.organization, found[limit-1])
	}
	for _, k := range found {
		list.Data = append(list.Data, show(k))
	}
	return writeJSON(w, http.StatusOK, list)
}

func (s *server) showKey(w http.ResponseWriter, r *http.Request, c call) error {
	key, err := s.Registry.Key(r.Context(), c.organization, r.PathValue("key"))
	if err != nil {
		return err
	}
	shown := show(key)
	switch receipt, err := s.Registry.Receipt(r.Context(), key); {
	case err == nil:
		shown.Receipt = showReceipt(receipt)
	case !errors.Is(err, keys.ErrNotFound):
		return err
	}
	return writeJSON(w, http.StatusOK, shown)
}

func (s *server) createKey(w http.ResponseWriter, r *http.Request, c call) error {
	var request CreateKey
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	n := keys.NewKey{Name: request.Name, OwnerID: request.Owner, GrantRestricted: c.operator, Access: keys.Access{Scopes: request.Scopes, Resources: request.Resources}}
	if request.ExpiresAt != nil {
		n.ExpiresAt = *request.ExpiresAt
	}
	created, err := s.Registry.Create(r.Context(), c.actor, c.organization, n)
	if err != nil {
		return err
	}
	return s.writeSecret(w, r, c, created)
}

func (s *server) rotateKey(w http.ResponseWriter, r *http.Request, c call) error {
	var request RotateKey
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	overlap := 24 * time.Hour
	switch request.OldEnds {
	case "":
	case "now":
		overlap = 0
	default:
		at, err := time.Parse(time.RFC3339, request.OldEnds)
		if err != nil {
			return &keys.InputError{Field: "old_ends", Reason: `it must be "now" or an RFC 3339 time`}
		}
		overlap = time.Until(at)
	}
	created, err := s.Registry.Rotate(r.Context(), c.actor, c.organization, r.PathValue("key"), overlap)
	if err != nil {
		return err
	}
	return s.writeSecret(w, r, c, created)
}

// writeSecret shows a new secret. The limits are a courtesy: without them the
// secret is shown all the same.
func (s *server) writeSecret(w http.ResponseWriter, r *http.Request, c call, created keys.Created) error {
	answer := KeyWithSecret{Key: show(created.Key)}
	answer.Secret = Secret{ID: answer.Key.Secrets[0].ID, Value: created.Secret.Reveal(), Hint: created.Secret.Hint()}
	answer.Limits.Active, answer.Limits.Max, _ = s.Registry.Limits(r.Context(), c.organization)
	return writeJSON(w, http.StatusCreated, answer)
}

func (s *server) revokeKey(w http.ResponseWriter, r *http.Request, c call) error {
	var request RevokeKey
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	key, receipt, err := s.Registry.Revoke(r.Context(), c.actor, c.organization, r.PathValue("key"), request.Reason)
	if err != nil {
		return err
	}
	answer := RevokedKey{Key: show(key), Receipt: *showReceipt(receipt)}
	answer.Limits.Active, answer.Limits.Max, _ = s.Registry.Limits(r.Context(), c.organization)
	return writeJSON(w, http.StatusOK, answer)
}

func showReceipt(r keys.Receipt) *Receipt {
	return &Receipt{ClientID: r.ClientID, RevokedAt: r.RevokedAt, Position: r.Position, State: string(r.State),
		Confirmed: r.Confirmed, Total: r.Total, WaitedMS: float64(r.Waited.Microseconds()) / 1000,
		By: string(r.By), Reason: r.Reason}
}

func show(k keys.Key) Key {
	now := time.Now()
	shown := Key{ID: k.ID, ClientID: k.ClientID, Name: k.Name, Status: string(k.Status(now)), Scopes: k.Scopes, Resources: k.Resources,
		Owner: k.OwnerID, CreatedAt: k.CreatedAt, ExpiresAt: optional(k.ExpiresAt), RevokedAt: optional(k.RevokedAt),
		RevokedReason: k.RevokedReason, Secrets: []Secret{}}
	for _, c := range k.Credentials {
		state := "active"
		switch {
		case !c.Live(now) || shown.Status == string(keys.Revoked) || shown.Status == string(keys.Expired):
			state = "ended"
		case !c.EndsAt.IsZero():
			state = "retiring"
		}
		shown.Secrets = append(shown.Secrets, Secret{ID: "sec_" + c.ID, Hint: c.Hint, State: state,
			CreatedAt: optional(c.CreatedAt), EndsAt: optional(c.EndsAt), LastUsedAt: optional(c.LastUsedAt)})
		if shown.LastUsedAt == nil || c.LastUsedAt.After(*shown.LastUsedAt) {
			shown.LastUsedAt = optional(c.LastUsedAt)
		}
	}
	return shown
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
