package keystest

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// CheckpointKey signs the checkpoints of tests.
var CheckpointKey = tokens.Secret(make([]byte, ed25519.SeedSize))

// verify checks the chain of an organisation and returns its events.
func (s *suite) verify(organizationID string) []keys.Event {
	s.t.Helper()
	events, err := s.Events(s.ctx, organizationID, keys.EventPage{})
	s.must(err)
	var c keys.Chain
	for _, e := range events {
		s.must(c.Add(e))
	}
	return events
}

func chain(t *testing.T, s *suite) {
	s.organization("org_1")
	s.organization("org_2")
	k := s.key("org_1")
	s.create(k)
	full := touch(k)
	full.Actor = keys.Actor{ClientID: "imara_ci_x", MemberID: "mem_1", RequestID: "req", Address: "203.0.113.9"}
	full.Reason, full.Changes = "why <not>", keys.Changes{"name": {From: "a", To: "b \"&"}, "end": {To: "x"}}
	commit, err := s.Append(s.ctx, full)
	s.must(err)
	s.create(s.key("org_2"))
	s.revoke(k)

	events := s.verify("org_1")
	s.same(len(events), 4)
	s.same(len(s.verify("org_2")), 2)
	s.same(len(s.verify("none")), 0)
	got := events[2]
	if got.At.IsZero() || len(got.Hash) != 32 {
		t.Errorf("%+v", got)
	}
	want := keys.NewEvent(full, commit.Position, got.At)
	want.Hash = got.Hash
	s.same(got, want)

	for name, row := range map[string]struct {
		page keys.EventPage
		want []int
	}{
		"newest":  {keys.EventPage{Newest: true, Limit: 2}, []int{3, 2}},
		"after":   {keys.EventPage{After: events[1].Position}, []int{2, 3}},
		"before":  {keys.EventPage{Before: events[1].Position, Newest: true}, []int{0}},
		"action":  {keys.EventPage{Action: "key.cut"}, []int{3}},
		"target":  {keys.EventPage{Target: k.ID}, []int{1, 2, 3}},
		"client":  {keys.EventPage{Actor: "imara_ci_x"}, []int{2}},
		"member":  {keys.EventPage{Actor: "mem_1"}, []int{2}},
		"nobody":  {keys.EventPage{Actor: "mem"}, nil},
		"since":   {keys.EventPage{Since: time.Now().Add(time.Hour)}, nil},
		"until":   {keys.EventPage{Until: time.Now().Add(-time.Hour)}, nil},
		"between": {keys.EventPage{Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour), Limit: 1}, []int{0}},
	} {
		found, err := s.Events(s.ctx, "org_1", row.page)
		s.must(err)
		var want []keys.Event
		for _, i := range row.want {
			want = append(want, events[i])
		}
		count, err := s.CountEvents(s.ctx, "org_1", row.page)
		s.must(err)
		if row.page.Limit == 0 && count != len(want) {
			t.Errorf("%s: counted %d", name, count)
		}
		if len(found) != len(want) || !slices.EqualFunc(found, want, func(a, b keys.Event) bool { return a.Position == b.Position }) {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func concurrentChain(t *testing.T, s *suite) {
	s.organization("org_1")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 5 {
				e := about("org_1")
				e.Target = fmt.Sprint(i, " ", j)
				if _, err := s.Append(s.ctx, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	s.same(len(s.verify("org_1")), 41)
}

func checkpoints(t *testing.T, s *suite) {
	heads := func() (found []uint64) {
		t.Helper()
		events, err := s.Heads(s.ctx)
		s.must(err)
		for _, e := range events {
			found = append(found, e.Position)
			s.must(s.AddCheckpoint(s.ctx, keys.Checkpoint{OrganizationID: e.OrganizationID, Position: e.Position, Signed: fmt.Sprint("jws ", e.Position)}))
		}
		return found
	}
	s.same(len(heads()), 0)
	_, err := s.LastCheckpoint(s.ctx, "org_1")
	s.want(err, keys.ErrNotFound)
	s.organization("org_1")
	s.organization("org_2")
	first := s.create(s.key("org_1")).Position
	s.same(heads(), []uint64{first - 1, first})
	s.same(len(heads()), 0)
	second := s.create(s.key("org_1")).Position
	s.same(heads(), []uint64{second})
	last, err := s.LastCheckpoint(s.ctx, "org_1")
	s.must(err)
	s.same(last, keys.Checkpoint{OrganizationID: "org_1", Position: second, Signed: fmt.Sprint("jws ", second)})
	s.must(s.AddCheckpoint(s.ctx, keys.Checkpoint{OrganizationID: "org_2", Position: first - 1, Signed: "another"}))
	stored, err := s.Checkpoints(s.ctx, "org_1")
	s.must(err)
	s.same(stored, []keys.Checkpoint{{OrganizationID: "org_1", Position: first, Signed: fmt.Sprint("jws ", first)},
		{OrganizationID: "org_1", Position: second, Signed: fmt.Sprint("jws ", second)}})
	stored, err = s.Checkpoints(s.ctx, "org_2")
	s.must(err)
	s.same(stored[0].Signed, fmt.Sprint("jws ", first-1))
}

// repeated: of requests with one idempotency key, at once or one after the other,
// one is carried out.
func repeated(t *testing.T, s *suite) {
	s.organization("org_1")
	e := about("org_1")
	e.Actor = keys.Actor{ClientID: "client", IdempotencyKey: "build-812", RequestHash: "hash"}
	_, _, err := s.Repeated(s.ctx, "client", "build-812", now().Add(-time.Hour))
	s.want(err, keys.ErrNotFound)
	before := s.tip()
	var all sync.WaitGroup
	var mu sync.Mutex
	var done []keys.Commit
	for range 6 {
		all.Go(func() {
			commit, err := s.Append(s.ctx, e)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done = append(done, commit)
			} else if !errors.Is(err, keys.ErrRepeated) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s.same(len(done), 1)
	s.same(s.tip(), before+1)
	found, hash, err := s.Repeated(s.ctx, "client", "build-812", now().Add(-time.Hour))
	s.must(err)
	s.same(found.Position, done[0].Position)
	s.same(hash, "hash")
	_, _, err = s.Repeated(s.ctx, "other", "build-812", now().Add(-time.Hour))
	s.want(err, keys.ErrNotFound)
	_, _, err = s.Repeated(s.ctx, "client", "build-812", now().Add(time.Hour))
	s.want(err, keys.ErrNotFound)
	_, _, err = s.Repeated(s.ctx, "test", "", now().Add(-time.Hour))
	s.want(err, keys.ErrNotFound)
	e.Actor.ClientID = "other"
	_, err = s.Append(s.ctx, e)
	s.must(err)
	k := s.key("org_1")
	again := touch(k)
	again.Actor = e.Actor
	_, err = s.CreateKey(s.ctx, k, again, anyNumber)
	s.want(err, keys.ErrRepeated)
	_, err = s.Key(s.ctx, "org_1", k.ID)
	s.want(err, keys.ErrNotFound)
}

// anyUsers agrees with whatever uses a resource.
func anyUsers([]keys.KeyUse) error { return nil }

func resourcesInUse(t *testing.T, s *suite) {
	s.organization("org_1")
	r := keys.Resource{ID: "res_a", Audience: "https://a.example", Name: "A", Algorithm: tokens.ES256, TokenTTL: time.Minute, Scopes: []keys.Scope{{Name: "a:read"}}}
	other := keys.Resource{ID: "res_b", Audience: "https://a.example/b", Name: "B", Algorithm: tokens.ES256, TokenTTL: time.Minute}
	for _, res := range []keys.Resource{r, other} {
		s.mustCommit(s.PutResource(s.ctx, res, about(""), anyUsers))
	}
	k := s.key("org_1")
	s.create(k)
	var told []keys.KeyUse
	agree := func(verdict error) func([]keys.KeyUse) error {
		return func(users []keys.KeyUse) error { told = users; return verdict }
	}
	used := []keys.KeyUse{{ID: k.ID, OrganizationID: "org_1", Scopes: k.Scopes}}
	remove := func(id string, verdict error) error {
		_, err := s.RemoveResource(s.ctx, id, about(""), agree(verdict))
		return err
	}
	s.want(remove("res_a", keys.ErrInUse), keys.ErrInUse)
	s.same(told, used)
	before := s.tip()
	_, err := s.PutResource(s.ctx, keys.Resource{ID: "res_c", Audience: r.Audience, Name: "C", Algorithm: tokens.ES256, TokenTTL: time.Minute}, about(""), agree(keys.ErrInUse))
	s.want(err, keys.ErrInUse)
	s.same(told, used)
	s.same(s.tip(), before)
	s.must(remove("res_b", nil))
	s.same(len(told), 0)
	list, err := s.Resources(s.ctx)
	s.must(err)
	s.same(list, []keys.Resource{r})
	s.revoke(k)
	s.want(remove("res_a", keys.ErrChanged), keys.ErrChanged)
	s.same(len(told), 0)
	s.must(remove("res_a", nil))
	list, err = s.Resources(s.ctx)
	s.must(err)
	s.same(len(list), 0)
	s.mustCommit(s.PutResource(s.ctx, r, about(""), anyUsers)) // its scopes are free again
}

func presets(t *testing.T, s *suite) {
	b := keys.Preset{ID: "pre_1", Name: "B", Description: "d", Scopes: []string{"x:read", "y:read"}}
	a := keys.Preset{ID: "pre_2", Name: "A", Scopes: []string{"x:read"}}
	for _, p := range []keys.Preset{b, a} {
		s.mustCommit(s.PutPreset(s.ctx, p, about("")))
	}
	list, err := s.Presets(s.ctx)
	s.must(err)
	s.same(list, []keys.Preset{a, b})
	a.Name = "C"
	s.mustCommit(s.PutPreset(s.ctx, a, about("")))
	s.mustCommit(s.RemovePreset(s.ctx, b.ID, about("")))
	list, err = s.Presets(s.ctx)
	s.must(err)
	s.same(list, []keys.Preset{a})
}

// shelf stores keys that differ in every order, some of them equal in one.
func (s *suite) shelf() []keys.Key {
	s.t.Helper()
	s.organization("org_1")
	at := now()
	for i := range 13 {
		k := s.key("org_1")
		k.CreatedAt = at.Add(time.Duration(i/3) * time.Second)
		k.Name = fmt.Sprintf("%c key %d", "bAcÄb"[i%4], i)
		if i%3 > 0 {
			k.ExpiresAt = at.Add(time.Duration(i%5+1) * time.Hour)
		}
		if i%2 == 0 {
			k.Scopes = []string{"x:read", "A:read", "a:read:all"}
			k.OwnerID = "mem_1"
		}
		if i%4 > 0 {
			k.Credentials[0].LastUsedAt = at.Add(-time.Duration(i%3) * time.Hour)
		}
		s.create(k)
	}
	list, err := s.Keys(s.ctx, "org_1", keys.Page{})
	s.must(err)
	return list
}

func orders(t *testing.T, s *suite) {
	whole := s.shelf()
	for _, order := range []keys.Order{keys.ByCreation, keys.ByName, keys.ByUse, keys.ByEnd} {
		for _, ascending := range []bool{false, true} {
			page := keys.Page{Limit: 4, Order: order, Ascending: ascending}
			var joined []keys.Key
			for {
				part, err := s.Keys(s.ctx, "org_1", page)
				s.must(err)
				if len(part) == 0 {
					break
				}
				joined = append(joined, part...)
				mark := part[len(part)-1].Mark(order)
				page.After = &mark
			}
			want := slices.Clone(whole)
			slices.SortFunc(want, func(a, b keys.Key) int {
				if ascending {
					return a.Mark(order).Compare(b.Mark(order))
				}
				return b.Mark(order).Compare(a.Mark(order))
			})
			s.same(joined, want)
		}
	}
}

func filters(t *testing.T, s *suite) {
	whole := s.shelf()
	for name, row := range map[string]struct {
		page keys.Page
		keep func(*keys.Key) bool
	}{
		"scope":    {keys.Page{Scope: "a:read"}, func(k *keys.Key) bool { return slices.Contains(k.Scopes, "a:read") }},
		"case":     {keys.Page{Scope: "A:read"}, func(k *keys.Key) bool { return slices.Contains(k.Scopes, "A:read") }},
		"owner":    {keys.Page{OwnerID: "mem_1"}, func(k *keys.Key) bool { return k.OwnerID == "mem_1" }},
		"text":     {keys.Page{Text: "KEY 1"}, func(k *keys.Key) bool { return k.Name[len(k.Name)-1] == '1' || k.Name[len(k.Name)-2] == '1' }},
		"wild":     {keys.Page{Text: "%"}, func(*keys.Key) bool { return false }},
		"part":     {keys.Page{Text: whole[3].ClientID[6:]}, func(k *keys.Key) bool { return strings.Contains(k.ClientID, whole[3].ClientID[6:]) }},
		"client":   {keys.Page{Text: whole[3].ClientID}, func(k *keys.Key) bool { return k.ID == whole[3].ID }},
		"counting": {keys.Page{Counting: true}, func(k *keys.Key) bool { return k.Counts(now()) }},
		"unused":   {keys.Page{UnusedSince: now().Add(-90 * time.Minute)}, func(k *keys.Key) bool { return k.LastUsedAt().Before(now().Add(-90 * time.Minute)) }},
		"several":  {keys.Page{OwnerID: "mem_1", Scope: "x:read", Status: keys.Active}, func(k *keys.Key) bool { return k.OwnerID == "mem_1" }},
		"status":   {keys.Page{Status: keys.Revoked}, func(*keys.Key) bool { return false }},
		"none":     {keys.Page{Order: "name; DROP TABLE keys"}, nil},
	} {
		found, err := s.Keys(s.ctx, "org_1", row.page)
		s.must(err)
		if row.keep == nil {
			if name == "none" && len(found) != 0 && len(found) != len(whole) {
				t.Errorf("%s: %d", name, len(found))
			}
			continue
		}
		want := slices.DeleteFunc(slices.Clone(whole), func(k keys.Key) bool { return !row.keep(&k) })
		if len(found) != len(want) || !slices.EqualFunc(found, want, func(a, b keys.Key) bool { return a.ID == b.ID }) {
			t.Errorf("%s: %d keys, want %d", name, len(found), len(want))
		}
	}
}

func credentials(t *testing.T, s *suite) {
	s.organization("org_1")
	k := s.key("org_1")
	s.create(k)
	s.create(s.key("org_1"))
	found, err := s.KeyOfCredential(s.ctx, k.Credentials[0].ID)
	s.must(err)
	s.same(found, k)
}

func members(t *testing.T, s *suite) {
	s.organization("org_1")
	for _, id := range []string{"mem_1", "mem_2"} {
		s.mustCommit(s.AddMember(s.ctx, keys.Member{ID: id, OrganizationID: "org_1", Name: id, Email: id + "@example.com", Role: keys.Owner, CreatedAt: now()}, about("org_1")))
	}
	k, gone := s.key("org_1"), s.key("org_1")
	k.OwnerID, gone.OwnerID = "mem_1", "mem_1"
	s.create(k)
	s.create(gone)
	s.revoke(gone)
	before := s.tip()
	refused := errors.New("no")
	_, _, err := s.ChangeMember(s.ctx, "org_1", "mem_1", func(_ keys.Organization, _ []keys.Member, _ int, m *keys.Member) (keys.Entry, error) {
		m.Name = "changed"
		return about("org_1"), refused
	})
	s.want(err, refused)
	s.same(s.tip(), before)
	removed, _, err := s.ChangeMember(s.ctx, "org_1", "mem_1", func(o keys.Organization, all []keys.Member, owned int, m *keys.Member) (keys.Entry, error) {
		s.same([]any{o.ID, len(all), owned, m.Name}, []any{"org_1", 2, 1, "mem_1"})
		m.RemovedAt, m.Heir, m.Role = now(), "mem_2", keys.Auditor
		return about("org_1"), nil
	})
	s.must(err)
	list, err := s.Members(s.ctx, "org_1")
	s.must(err)
	removed.Heir = ""
	s.same(list[0], removed)
	alone, err := s.Member(s.ctx, "mem_1")
	s.must(err)
	s.same(alone, removed)
	_, err = s.Member(s.ctx, "nobody")
	s.want(err, keys.ErrNotFound)
	for id, owner := range map[string]string{k.ID: "mem_2", gone.ID: "mem_1"} {
		stored, err := s.Key(s.ctx, "org_1", id)
		s.must(err)
		s.same(stored.OwnerID, owner)
	}
	_, err = s.AddMember(s.ctx, keys.Member{ID: "mem_3", OrganizationID: "org_1", Email: "mem_1@example.com", CreatedAt: now()}, about("org_1"))
	s.must(err) // the address is free again
	_, _, err = s.ChangeMember(s.ctx, "org_1", "mem_4", func(keys.Organization, []keys.Member, int, *keys.Member) (keys.Entry, error) {
		return about("org_1"), nil
	})
	s.want(err, keys.ErrNotFound)
	s.organization("org_2")
	_, _, err = s.ChangeMember(s.ctx, "org_2", "mem_2", func(keys.Organization, []keys.Member, int, *keys.Member) (keys.Entry, error) {
		return about("org_2"), nil
	})
	s.want(err, keys.ErrNotFound)
}

func organizations(t *testing.T, s *suite) {
	for _, id := range []string{"org_b", "org_a", "org_c"} {
		s.organization(id)
	}
	ids := func(after string, limit int) (found []string) {
		list, err := s.Organizations(s.ctx, after, limit)
		s.must(err)
		for _, o := range list {
			found = append(found, o.ID)
		}
		return found
	}
	s.same(ids("", 2), []string{"org_a", "org_b"})
	s.same(ids("org_b", 2), []string{"org_c"})
	s.same(len(ids("org_c", 2)), 0)
}
