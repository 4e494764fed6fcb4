package keys

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/tokens"
)

// A Webhook is a URL that is told of an organisation's events.
type Webhook struct {
	ID             string
	OrganizationID string
	URL            string
	// Events are the types that it wants; none is all.
	Events    []string
	CreatedAt time.Time
}

func (w *Webhook) fields() map[string]string {
	return map[string]string{"url": w.URL, "events": strings.Join(w.Events, " ")}
}

// Version changes whenever the webhook does.
func (w *Webhook) Version() string { return version(w.fields()) }

// A Delivery is an event on its way to a webhook. It is stored with the event, so
// that neither is there without the other, and tried until it arrives or a day has passed.
type Delivery struct {
	ID       string
	Webhook  Webhook
	Type     string
	Event    Event
	State    DeliveryState
	Attempts int
	NextAt   time.Time // of the next attempt while it is pending
	TriedAt  time.Time // zero: never
	Status   int       // HTTP status of the last attempt; 0 when there was none
	Error    string    // of the last attempt
}

// DeliveryState says what became of a delivery.
type DeliveryState string

// The states.
const (
	DeliveryPending   DeliveryState = "pending"
	DeliveryDelivered DeliveryState = "delivered"
	DeliveryFailed    DeliveryState = "failed"
)

// eventTypes are the types of events that webhooks are told of. An action is what was asked
// for, as the audit log has it, and a type is what happened then.
var eventTypes = map[Action]string{
	"key.create":          "key.created",
	"key.approve":         "key.approved",
	"key.edit":            "key.updated",
	"key.rotate":          "key.rotated",
	"key.cancel_rotation": "key.rotation_canceled",
	"key.suspend":         "key.suspended",
	"key.resume":          "key.resumed",
	"key.revoke":          "key.revoked",
	"key.expiring":        "key.expiring",
	"key.expired":         "key.expired",
	"secret.end":          "key.secret_ended",
	"secret.extend":       "key.secret_extended",
	"secret.shorten":      "key.secret_shortened",
	"secret.first_use":    "key.secret_used",
	"secret.leaked":       "key.exposed",
	"webhook.test":        TestType,
}

// limitReached comes with the key that took the last slot of the plan.
const limitReached = "key.limit_reached"

// EventTypes are all that a webhook can be told of.
func EventTypes() []string {
	types := []string{limitReached}
	for _, t := range eventTypes {
		types = append(types, t)
	}
	slices.Sort(types)
	return types
}

// Types are what webhooks are told about an entry.
func (e *Entry) Types() []string {
	var types []string
	if t, ok := eventTypes[e.Action]; ok {
		types = append(types, t)
	}
	if e.LimitReached {
		types = append(types, limitReached)
	}
	return types
}

// noEvent refuses a type that does not exist, and names the one that is meant where it is an
// action.
func noEvent(name string) error {
	if meant := eventTypes[Action(name)]; meant != "" {
		return invalid("events", "there is no event %q: what happened then is %s", name, meant)
	}
	return invalid("events", "there is no event %q", name)
}

const maxWebhooks = 10 // of an organisation

// MaxEvents is how many types a webhook may name.
const MaxEvents = 100

// MaxPending deliveries of a webhook; what comes then is in the audit log only.
const MaxPending = 1000

// TestType is the type of [Registry.TestWebhook].
const TestType = "webhook.test"

// AddWebhook stores a webhook; its secret is [Registry.WebhookSecret]. Errors: an
// [InputError], also for an address to which nothing can ever be delivered, [ErrNotFound].
func (r *Registry) AddWebhook(ctx context.Context, by Actor, w Webhook) (Webhook, error) {
	if err := by.May("webhook.add"); err != nil {
		return Webhook{}, err
	}
	if err := r.config.WebhookNetworks.check(w.URL); err != nil {
		return Webhook{}, err
	}
	types := EventTypes()
	if len(w.Events) > MaxEvents {
		return Webhook{}, invalid("events", "at most %d", MaxEvents)
	}
	w.Events = distinct(w.Events)
	for _, t := range w.Events {
		if !slices.Contains(types, t) {
			return Webhook{}, noEvent(t)
		}
	}
	w.ID, w.CreatedAt = "whk_"+rand.Text(), now()
	entry := by.did("webhook.add", w.OrganizationID, w.ID, tokens.Touch, tokens.Organization(w.OrganizationID))
	entry.Changes = diff(nil, w.fields())
	at, err := r.config.Store.AddWebhook(ctx, w, entry, func(others int) error {
		if others >= maxWebhooks {
			return invalid("url", "an organisation has at most %d webhooks", maxWebhooks)
		}
		return by.trial()
	})
	if errors.Is(err, errTrial) {
		w.ID = ""
		return w, nil
	}
	if err != nil {
		return Webhook{}, err
	}
	_, err = r.settle(ctx, by, at)
	return w, err
}

// WebhookSecret is what a webhook's deliveries are signed with, as the Standard
// Webhooks specification writes it: whsec_ and Base64. It is computed from a key of
// the server's and stored nowhere.
func (r *Registry) WebhookSecret(w Webhook) (string, error) {
	secret, err := hkdf.Key(sha256.New, r.checkpointKey.Seed(), nil, "webhook v1 "+w.ID, sha256.Size)
	return "whsec_" + base64.StdEncoding.EncodeToString(secret), err
}

// Webhooks returns those of an organisation, the oldest first. An organisation that
// does not exist has none.
func (r *Registry) Webhooks(ctx context.Context, organizationID string) ([]Webhook, error) {
	return r.config.Store.Webhooks(ctx, organizationID)
}

// Webhook returns one, or [ErrNotFound].
func (r *Registry) Webhook(ctx context.Context, organizationID, id string) (Webhook, error) {
	list, err := r.config.Store.Webhooks(ctx, organizationID)
	for _, w := range list {
		if w.ID == id {
			return w, nil
		}
	}
	if err == nil {
		err = ErrNotFound
	}
	return Webhook{}, err
}

// RemoveWebhook forgets a webhook and its deliveries, or returns [ErrNotFound].
func (r *Registry) RemoveWebhook(ctx context.Context, by Actor, organizationID, id string) error {
	if err := by.May("webhook.remove"); err != nil {
		return err
	}
	w, err := r.Webhook(ctx, organizationID, id)
	if err != nil {
		return err
	}
	if err := by.agree(w.Version()); err != nil || by.DryRun {
		return err
	}
	entry := by.did("webhook.remove", organizationID, id, tokens.Touch, tokens.Organization(organizationID))
	entry.Changes = diff(w.fields(), nil)
	at, err := r.config.Store.RemoveWebhook(ctx, organizationID, id, entry)
	if err == nil {
		_, err = r.settle(ctx, by, at)
	}
	return err
}

// TestWebhook sends a webhook an event that says nothing, if it wants webhook.test.
func (r *Registry) TestWebhook(ctx context.Context, by Actor, organizationID, id string) error {
	if _, err := r.Webhook(ctx, organizationID, id); err != nil {
		return err
	}
	return r.Note(ctx, by, "webhook.test", organizationID, id)
}

// Deliveries returns those of a webhook, the newest first, before one of them, at
// most limit.
func (r *Registry) Deliveries(ctx context.Context, organizationID, webhookID, before string, limit int) ([]Delivery, error) {
	if _, err := r.Webhook(ctx, organizationID, webhookID); err != nil {
		return nil, err
	}
	return r.config.Store.Deliveries(ctx, webhookID, before, limit)
}

// Redeliver tries a delivery again from the beginning, whatever became of it. Errors:
// [ErrNotFound], [ErrForbidden].
func (r *Registry) Redeliver(ctx context.Context, by Actor, organizationID, webhookID, id string) error {
	if err := r.findDelivery(ctx, organizationID, webhookID, id); err != nil {
		return err
	}
	if err := r.Note(ctx, by, "webhook.redeliver", organizationID, id); err != nil {
		return err
	}
	if by.DryRun {
		return nil
	}
	return r.config.Store.Redeliver(ctx, webhookID, id, now())
}

// findDelivery returns [ErrNotFound] for one that a webhook does not have.
func (r *Registry) findDelivery(ctx context.Context, organizationID, webhookID, id string) error {
	const page = 200
	before := ""
	for {
		list, err := r.Deliveries(ctx, organizationID, webhookID, before, page)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(d Delivery) bool { return d.ID == id }) {
			return nil
		}
		if len(list) < page {
			return ErrNotFound
		}
		before = list[len(list)-1].ID
	}
}

// DueDeliveries takes at most limit deliveries whose next attempt is due, one of an
// organisation, and none of those that are busy. They are due again after the claim,
// unless [Registry.Delivered] says what became of them.
func (r *Registry) DueDeliveries(ctx context.Context, limit int, busy []string, claim time.Duration) ([]Delivery, error) {
	t := now()
	return r.config.Store.DueDeliveries(ctx, t, t.Add(claim), limit, busy)
}

// Delivered stores what became of an attempt.
func (r *Registry) Delivered(ctx context.Context, d Delivery) error {
	return r.config.Store.Delivered(ctx, d)
}

// Tell appends to the log what happens by itself: keys that expire in a week, or
// have expired, within the last day. Each is told once, whichever server does it.
func (r *Registry) Tell(ctx context.Context) error {
	const window = 23 * time.Hour // within the time in which a repetition is recognised
	t := now()
	for action, end := range map[Action]time.Time{"key.expiring": t.Add(soon), "key.expired": t} {
		ending, err := r.config.Store.Ending(ctx, end.Add(-window), end)
		if err != nil {
			return err
		}
		for _, k := range ending {
			by := Program("server")
			by.IdempotencyKey = string(action) + " " + k.ID + " " + stamp(k.ExpiresAt)
			if _, _, err := r.Repeated(ctx, by); err == nil {
				continue
			}
			commit, err := r.config.Store.Append(ctx, by.did(action, k.OrganizationID, k.ID, tokens.Touch, tokens.Client(k.ClientID)))
			if err == nil {
				_, err = r.settle(ctx, by, commit)
			}
			if err != nil && !errors.Is(err, ErrRepeated) {
				return err
			}
		}
	}
	return nil
}
