package keystest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
)

// webhook stores one that wants these events.
func (s *suite) webhook(id, organization string, events ...string) keys.Webhook {
	s.t.Helper()
	w := keys.Webhook{ID: id, OrganizationID: organization, URL: "https://hooks.example.com/" + id, Events: events, CreatedAt: now()}
	s.mustCommit(s.AddWebhook(s.ctx, w, about(organization), func(int) error { return nil }))
	return w
}

// due takes everything that is due at t.
func (s *suite) due(t time.Time) (list []keys.Delivery) {
	s.t.Helper()
	for {
		some, err := s.DueDeliveries(s.ctx, t, t.Add(time.Minute), 10, nil)
		s.must(err)
		if len(some) == 0 {
			return list
		}
		list = append(list, some...)
	}
}

// deliveries: an event and its deliveries are there together, for the webhooks that
// want it, and are tried, kept and forgotten.
func deliveries(t *testing.T, s *suite) {
	s.organization("org_1")
	s.organization("org_2")
	all, some := s.webhook("whk_1", "org_1"), s.webhook("whk_2", "org_1", "key.revoked", "key.limit_reached")
	s.webhook("whk_3", "org_2")
	list, err := s.Webhooks(s.ctx, "org_1")
	s.must(err)
	s.same(list, []keys.Webhook{all, some})
	entry := about("org_1")
	entry.Action, entry.LimitReached, entry.Reason = "key.create", true, "why"
	commit, err := s.Append(s.ctx, entry)
	s.must(err)
	s.mustCommit(s.Append(s.ctx, about("org_1"))) // nobody is told of this one
	before := now()
	due := s.due(before)
	got := map[string]int{}
	for _, d := range due {
		got[d.Webhook.ID+" "+d.Type]++
		if d.Event.Position != commit.Position || d.Event.Reason != "why" || d.State != keys.DeliveryPending || d.Attempts != 0 || d.Webhook.URL == "" {
			t.Errorf("%+v", d)
		}
	}
	s.same(got, map[string]int{"whk_1 key.created": 1, "whk_1 key.limit_reached": 1, "whk_2 key.limit_reached": 1})
	d := due[0]
	d.State, d.Attempts, d.NextAt, d.TriedAt, d.Status, d.Error = keys.DeliveryFailed, 9, now().Add(time.Hour), now(), 500, "it failed"
	s.must(s.Delivered(s.ctx, d))
	stored, err := s.Deliveries(s.ctx, d.Webhook.ID, "", 10)
	s.must(err)
	found := false
	for _, other := range stored {
		if other.ID == d.ID {
			s.same(other, d)
			found = true
		}
	}
	s.same(found, true)
	first, err := s.Deliveries(s.ctx, "whk_1", "", 1)
	s.must(err)
	rest, err := s.Deliveries(s.ctx, "whk_1", first[0].ID, 10)
	s.must(err)
	s.same(len(rest), 1)
	s.want(s.Redeliver(s.ctx, "whk_3", d.ID, now()), keys.ErrNotFound)
	s.must(s.Redeliver(s.ctx, d.Webhook.ID, d.ID, now()))
	again := s.due(now())
	s.same(len(again), 1)
	s.same(again[0].Attempts, 0)
	d.TriedAt = now().Add(-time.Hour)
	s.must(s.Delivered(s.ctx, d))
	s.must(s.PruneUsage(s.ctx, time.Time{}, now().Add(-time.Minute)))
	left, err := s.Deliveries(s.ctx, d.Webhook.ID, "", 10)
	s.must(err)
	s.same(len(left), len(stored)-1)
	_, err = s.RemoveWebhook(s.ctx, "org_2", "whk_1", about("org_2"))
	s.want(err, keys.ErrNotFound)
	s.mustCommit(s.RemoveWebhook(s.ctx, "org_1", "whk_1", about("org_1")))
	left, err = s.Deliveries(s.ctx, "whk_1", "", 10)
	s.must(err)
	s.same(len(left), 0)
	_, err = s.AddWebhook(s.ctx, keys.Webhook{ID: "whk_9", OrganizationID: "none"}, about("none"), func(int) error { return nil })
	s.want(err, keys.ErrNotFound)
	refused := errors.New("too many")
	_, err = s.AddWebhook(s.ctx, keys.Webhook{ID: "whk_9", OrganizationID: "org_2"}, about("org_2"), func(others int) error {
		s.same(others, 1)
		return refused
	})
	s.want(err, refused)
}

// claims: of many senders at once, each delivery has one.
func claims(t *testing.T, s *suite) {
	s.organization("org_1")
	s.webhook("whk_1", "org_1")
	s.organization("org_2")
	s.webhook("whk_2", "org_2")
	for i := range 20 {
		entry := about([]string{"org_1", "org_2"}[i%2])
		entry.Action = "key.edit"
		s.mustCommit(s.Append(s.ctx, entry))
	}
	none, err := s.DueDeliveries(s.ctx, now(), now().Add(time.Hour), 10, []string{"org_1", "org_2"})
	s.must(err)
	s.same(len(none), 0)
	var senders sync.WaitGroup
	var mu sync.Mutex
	claimed := map[string]int{}
	for range 4 {
		senders.Go(func() {
			for range 20 {
				due, err := s.DueDeliveries(s.ctx, now(), now().Add(time.Hour), 3, nil)
				if err != nil {
					t.Error(err)
				}
				if len(due) > 2 {
					t.Errorf("%d at once of two organisations", len(due))
				}
				mu.Lock()
				for _, d := range due {
					claimed[d.ID]++
				}
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	s.same(len(claimed), 20)
	for id, n := range claimed {
		if n != 1 {
			t.Errorf("%s was claimed %d times", id, n)
		}
	}
}

func ending(t *testing.T, s *suite) {
	s.organization("org_1")
	at := now()
	var want []string
	for i := range 5 {
		k := s.key("org_1")
		if i > 0 {
			k.ExpiresAt = at.Add(time.Duration(i) * time.Hour)
		}
		s.create(k)
		if i == 2 || i == 3 {
			want = append(want, k.ID)
		}
		if i == 3 {
			gone := s.key("org_1")
			gone.ExpiresAt = k.ExpiresAt
			s.create(gone)
			s.revoke(gone)
		}
	}
	list, err := s.Ending(s.ctx, at.Add(time.Hour), at.Add(3*time.Hour))
	s.must(err)
	var got []string
	for _, k := range list {
		got = append(got, k.ID)
		s.same(len(k.Credentials), 0)
	}
	s.same(got, want)
}
