package management

import (
	"context"
	"time"

	"github.com/imara/apikeys/keys"
)

// A Webhook is a URL that is told of the organisation's events.
type Webhook struct {
	ID        string    `json:"id"`
	URL       string    `json:"url"`
	Events    []string  `json:"events" doc:"Types that it wants; all when there are none."`
	CreatedAt time.Time `json:"created_at"`
	// Secret is in the one answer that makes the webhook.
	Secret string `json:"secret,omitempty" doc:"Signs deliveries, as the Standard Webhooks specification says. It is shown once."`
}

// AddWebhook is the request for one.
type AddWebhook struct {
	URL    string   `json:"url"`
	Events []string `json:"events,omitempty" maxItems:"100" doc:"Types that it wants, such as key.revoked; all when there are none. A type is what happened; the action in the audit log, key.revoke, is what was asked for."`
}

// A Delivery is an event on its way to a webhook.
type Delivery struct {
	ID       string     `json:"id" doc:"The webhook-id of the request."`
	Type     string     `json:"type"`
	Event    string     `json:"event" doc:"Id of the audit event."`
	State    string     `json:"state" enum:"pending,delivered,failed"`
	Attempts int        `json:"attempts"`
	TriedAt  *time.Time `json:"tried_at,omitempty"`
	NextAt   *time.Time `json:"next_at,omitempty" doc:"When it is tried again, while it is pending."`
	Status   int        `json:"status,omitempty" doc:"HTTP status of the last attempt."`
	Error    string     `json:"error,omitempty"`
}

// WebhookPath names one.
type WebhookPath struct {
	OrgPath
	Webhook string `path:"webhook"`
}

func (s *server) webhookRoutes() {
	register(s, route{id: "list-webhooks", method: "GET", path: "/orgs/{org}/webhooks", scope: "org:read", action: "webhook.read", summary: "List webhooks"}, s.listWebhooks, nil)
	register(s, route{id: "add-webhook", method: "POST", path: "/orgs/{org}/webhooks", scope: "org:write", action: "webhook.add", summary: "Add a webhook", status: 201}, s.addWebhook, s.webhookAdded)
	register(s, route{id: "get-webhook", method: "GET", path: "/orgs/{org}/webhooks/{webhook}", scope: "org:read", action: "webhook.read", summary: "Show a webhook"}, s.showWebhook, nil)
	register(s, route{id: "remove-webhook", method: "DELETE", path: "/orgs/{org}/webhooks/{webhook}", scope: "org:write", action: "webhook.remove", summary: "Remove a webhook", status: 204}, s.removeWebhook, nil)
	register(s, route{id: "test-webhook", method: "POST", path: "/orgs/{org}/webhooks/{webhook}/test", scope: "org:write", action: "webhook.test", summary: "Send the webhook webhook.test, if it wants that", status: 204}, s.testWebhook, s.webhookTested)
	register(s, route{id: "list-deliveries", method: "GET", path: "/orgs/{org}/webhooks/{webhook}/deliveries", scope: "org:read", action: "webhook.read", summary: "List deliveries of the last 30 days, the newest first"}, s.listDeliveries, nil)
	register(s, route{id: "redeliver", method: "POST", path: "/orgs/{org}/webhooks/{webhook}/deliveries/{delivery}/redeliver", scope: "org:write", action: "webhook.redeliver", summary: "Send a delivery again", status: 204}, s.redeliver, nil)
}

func showWebhook(w keys.Webhook) Webhook {
	return Webhook{ID: w.ID, URL: w.URL, Events: append([]string{}, w.Events...), CreatedAt: w.CreatedAt}
}

func webhookAnswer(w keys.Webhook, err error) (*answer[Webhook], error) {
	if err != nil {
		return nil, err
	}
	return &answer[Webhook]{ETag: etag(w.Version()), Body: showWebhook(w)}, nil
}

func (s *server) listWebhooks(ctx context.Context, c call, _ *struct {
	OrgPath
	Caller
}) (*answer[List[Webhook]], error) {
	if _, err := s.config.Registry.Organization(ctx, c.organization); err != nil {
		return nil, err
	}
	found, err := s.config.Registry.Webhooks(ctx, c.organization)
	if err != nil {
		return nil, err
	}
	list := &answer[List[Webhook]]{Body: List[Webhook]{Data: []Webhook{}}}
	for _, w := range found {
		list.Body.Data = append(list.Body.Data, showWebhook(w))
	}
	return list, nil
}

func (s *server) addWebhook(ctx context.Context, c call, in *struct {
	OrgPath
	Terms
	Body AddWebhook
}) (*answer[Webhook], error) {
	w, err := s.config.Registry.AddWebhook(ctx, c.by, keys.Webhook{OrganizationID: c.organization, URL: in.Body.URL, Events: in.Body.Events})
	if err != nil {
		return nil, err
	}
	out, err := webhookAnswer(w, nil)
	if err == nil && !c.by.DryRun {
		out.Body.Secret, err = s.config.Registry.WebhookSecret(w)
	}
	return out, err
}

func (s *server) webhookAdded(ctx context.Context, c call, e keys.Event) (*answer[Webhook], error) {
	return webhookAnswer(s.config.Registry.Webhook(ctx, c.organization, e.Target))
}

func (s *server) showWebhook(ctx context.Context, c call, in *struct {
	WebhookPath
	Caller
}) (*answer[Webhook], error) {
	return webhookAnswer(s.config.Registry.Webhook(ctx, c.organization, in.Webhook))
}

func (s *server) removeWebhook(ctx context.Context, c call, in *struct {
	WebhookPath
	Change
}) (*nothing, error) {
	return &nothing{}, s.config.Registry.RemoveWebhook(ctx, c.by, c.organization, in.Webhook)
}

func (s *server) testWebhook(ctx context.Context, c call, in *struct {
	WebhookPath
	Terms
}) (*nothing, error) {
	return &nothing{}, s.config.Registry.TestWebhook(ctx, c.by, c.organization, in.Webhook)
}

func (s *server) webhookTested(context.Context, call, keys.Event) (*nothing, error) {
	return &nothing{}, nil
}

func (s *server) listDeliveries(ctx context.Context, c call, in *struct {
	WebhookPath
	Caller
	Paging
}) (*answer[List[Delivery]], error) {
	list, before := []string{"deliveries", c.organization, in.Webhook}, ""
	if err := s.readCursor(list, in.Cursor, &before); err != nil {
		return nil, err
	}
	found, err := s.config.Registry.Deliveries(ctx, c.organization, in.Webhook, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return listed(s, c, found, in.Limit, list, showDelivery, func(d keys.Delivery) any { return d.ID }), nil
}

func showDelivery(d keys.Delivery) Delivery {
	shown := Delivery{ID: d.ID, Type: d.Type, Event: d.Event.ID(), State: string(d.State), Attempts: d.Attempts,
		TriedAt: optional(d.TriedAt), Status: d.Status, Error: d.Error}
	if d.State == keys.DeliveryPending {
		shown.NextAt = optional(d.NextAt)
	}
	return shown
}

func (s *server) redeliver(ctx context.Context, c call, in *struct {
	WebhookPath
	Change
	Delivery string `path:"delivery"`
}) (*nothing, error) {
	return &nothing{}, s.config.Registry.Redeliver(ctx, c.by, c.organization, in.Webhook, in.Delivery)
}
