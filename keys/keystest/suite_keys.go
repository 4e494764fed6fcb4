package keystest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

func roundTrip(t *testing.T, s *suite) {
	networks := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	o := keys.Organization{ID: "org_1", Name: "Ácme 株式会社", Plan: "Enterprise", CustomLimit: &keys.CustomLimit{MaxKeys: 7, By: "ann", Reason: "asked", At: now()}, Operator: true, CreatedAt: now(),
		LimitRequest: &keys.LimitRequest{MaxKeys: 7, Reason: "more", By: "bob", At: now(), Answer: "granted", AnsweredBy: "ann", AnsweredAt: now()},
		Policy:       keys.Policy{MaxLifetime: time.Hour, Networks: networks, Approval: true, Creators: []keys.Role{keys.Owner}, KeepLeaked: true}}
	s.mustCommit(s.CreateOrganization(s.ctx, o, about(o.ID)))
	got, err := s.Organization(s.ctx, "org_1")
	s.must(err)
	s.same(got, o)

	m := keys.Member{ID: "mem_1", OrganizationID: "org_1", Name: "Amal", Email: "a@example.com", Role: keys.Owner, CreatedAt: now()}
	s.mustCommit(s.AddMember(s.ctx, m, about("org_1")))
	members, err := s.Members(s.ctx, "org_1")
	s.must(err)
	s.same(members, []keys.Member{m})

	k := s.key("org_1")
	k.OwnerID, k.ExpiresAt = "mem_1", now().Add(time.Hour)
	k.Description, k.Networks, k.TokenTTL, k.Pending, k.RequestedBy = "For builds", networks, time.Minute, true, "mem_1"
	second := keys.Credential{ID: "second", Hint: "abcd", MAC: []byte("mac"), Pepper: 2, CreatedAt: k.CreatedAt.Add(-time.Second), EndsAt: now(), LastUsedAt: now(), FirstUsedAt: now().Add(-time.Hour), LastUsedFrom: "203.0.113.9", EndsAfterUse: time.Hour}
	k.Credentials = append(k.Credentials, second)
	s.create(k)
	for _, id := range []string{k.ID, k.ClientID} {
		stored, err := s.Key(s.ctx, "org_1", id)
		s.must(err)
		s.same(stored, k)
	}
	record, err := s.Record(s.ctx, k.ClientID, "")
	s.must(err)
	s.same(*record, keys.Record{Key: k, Organization: o, Position: s.tip()})

	changed, _, err := s.ChangeKey(s.ctx, "org_1", k.ID, func(org keys.Organization, active int, k *keys.Key) (keys.Entry, error) {
		s.same(org, o)
		s.same(active, 1)
		k.Scopes, k.Resources = []string{"b:read"}, []string{"https://b.example", "https://a.example"}
		k.ExpiresAt, k.SuspendedAt = time.Time{}, now()
		k.Name, k.Description, k.OwnerID, k.Networks, k.TokenTTL, k.Pending, k.StaffHold, k.RequestedBy = "Renamed", "", "", networks[:1], 0, false, true, "mem_2"
		k.Credentials[0].EndsAt, k.Credentials[0].EndsAfterUse = now().Add(time.Minute), time.Second
		k.Credentials = slices.Insert(k.Credentials, 0, keys.Credential{ID: "third", Hint: "qrst", MAC: []byte("m"), Pepper: 1, CreatedAt: now().Add(time.Second)})
		return touch(*k), nil
	})
	s.must(err)
	stored, err := s.Key(s.ctx, "org_1", k.ID)
	s.must(err)
	s.same(stored, changed)

	changed, _, err = s.ChangeKey(s.ctx, "org_1", k.ID, func(_ keys.Organization, _ int, k *keys.Key) (keys.Entry, error) {
		k.Credentials = k.Credentials[:1]
		return touch(*k), nil
	})
	s.must(err)
	stored, err = s.Key(s.ctx, "org_1", k.ID)
	s.must(err)
	s.same(stored, changed)
	s.same(len(stored.Credentials), 1)

	o.Plan, o.CustomLimit, o.Policy, o.LimitRequest = "Starter", nil, keys.Policy{}, nil
	org, _, err := s.ChangeOrganization(s.ctx, "org_1", func(org *keys.Organization) (keys.Entry, error) {
		org.Plan, org.CustomLimit, org.Policy, org.LimitRequest = "Starter", nil, keys.Policy{}, nil
		return keys.Entry{Kind: tokens.Touch, Subject: tokens.Organization(org.ID)}, nil
	})
	s.must(err)
	s.same(org, o)
	got, err = s.Organization(s.ctx, "org_1")
	s.must(err)
	s.same(got, o)
}

func notFound(t *testing.T, s *suite) {
	_, err := s.Organization(s.ctx, "none")
	s.want(err, keys.ErrNotFound)
	_, err = s.Key(s.ctx, "none", "none")
	s.want(err, keys.ErrNotFound)
	_, err = s.Record(s.ctx, "none", "")
	s.want(err, keys.ErrNotFound)
	_, err = s.Record(s.ctx, "none", "no decoy either")
	s.want(err, keys.ErrNotFound)
	_, _, err = s.ActiveKeys(s.ctx, "none", now())
	s.want(err, keys.ErrNotFound)
	_, _, err = s.ChangeOrganization(s.ctx, "none", func(*keys.Organization) (keys.Entry, error) { return keys.Entry{}, nil })
	s.want(err, keys.ErrNotFound)
	s.organization("org_1")
	_, _, err = s.ChangeKey(s.ctx, "org_1", "none", func(keys.Organization, int, *keys.Key) (keys.Entry, error) { return keys.Entry{}, nil })
	s.want(err, keys.ErrNotFound)
	k := s.key("none")
	_, err = s.CreateKey(s.ctx, k, touch(k), anyNumber)
	s.want(err, keys.ErrNotFound)
	_, err = s.AddMember(s.ctx, keys.Member{ID: "m", OrganizationID: "none"}, about("none"))
	s.want(err, keys.ErrNotFound)
	_, err = s.KeyOfCredential(s.ctx, "none")
	s.want(err, keys.ErrNotFound)
	_, _, err = s.ChangeMember(s.ctx, "org_1", "none", func(keys.Organization, []keys.Member, int, *keys.Member) (keys.Entry, error) {
		return keys.Entry{}, nil
	})
	s.want(err, keys.ErrNotFound)
	_, err = s.RemoveResource(s.ctx, "none", about(""), anyUsers)
	s.want(err, keys.ErrNotFound)
	_, err = s.RemovePreset(s.ctx, "none", about(""))
	s.want(err, keys.ErrNotFound)
	_, err = s.Receipt(s.ctx, s.tip())
	s.want(err, keys.ErrNotFound)
	list, err := s.Keys(s.ctx, "none", keys.Page{})
	s.must(err)
	s.same(len(list), 0)
}

func foreign(t *testing.T, s *suite) {
	s.organization("org_1")
	s.organization("org_2")
	k := s.key("org_1")
	s.create(k)
	_, err := s.Key(s.ctx, "org_2", k.ID)
	s.want(err, keys.ErrNotFound)
	_, _, err = s.ChangeKey(s.ctx, "org_2", k.ID, func(keys.Organization, int, *keys.Key) (keys.Entry, error) {
		t.Error("a foreign key was handed out")
		return keys.Entry{}, nil
	})
	s.want(err, keys.ErrNotFound)
	// Identifiers are compared as they stand.
	_, err = s.Record(s.ctx, "CLIENT00001", "")
	s.want(err, keys.ErrNotFound)
}

func takenIDs(t *testing.T, s *suite) {
	s.organization("org_1")
	_, err := s.CreateOrganization(s.ctx, keys.Organization{ID: "org_1", Name: "x", Plan: "Free"}, about("org_1"))
	s.want(err, keys.ErrExists)
	m := keys.Member{ID: "m", OrganizationID: "org_1", Role: keys.Owner, CreatedAt: now()}
	s.mustCommit(s.AddMember(s.ctx, m, about("org_1")))
	_, err = s.AddMember(s.ctx, m, about("org_1"))
	s.want(err, keys.ErrExists)
	m.ID = "other"
	_, err = s.AddMember(s.ctx, m, about("org_1"))
	s.want(err, keys.ErrExists)
	k := s.key("org_1")
	s.create(k)
	before := s.tip()
	again := s.key("org_1")
	again.ClientID = k.ClientID
	_, err = s.CreateKey(s.ctx, again, touch(again), anyNumber)
	if err == nil {
		t.Error("a client id was given twice")
	}
	s.same(s.tip(), before)
}

func names(t *testing.T, s *suite) {
	s.organization("org_1")
	s.organization("org_2")
	k := s.key("org_1")
	k.Name = "CI/CD Pipeline"
	s.create(k)
	same := func(name, organization string) error {
		other := s.key(organization)
		other.Name = name
		_, err := s.CreateKey(s.ctx, other, touch(other), anyNumber)
		return err
	}
	for _, name := range []string{"CI/CD Pipeline", "ci/cd pipeline", "CI/CD  PIPELINE", "ＣＩ/ＣＤ Pipeline"} {
		s.want(same(name, "org_1"), keys.ErrNameTaken)
	}
	s.must(same("ci/cd pipeline", "org_2"))
	s.revoke(k)
	s.must(same("ci/cd pipeline", "org_1"))
}

func exactLimit(t *testing.T, s *suite) {
	s.organization("org_1")
	for range 4 {
		s.create(s.key("org_1"))
	}
	full := errors.New("full")
	var made, refused atomic.Int64
	var all sync.WaitGroup
	start := make(chan struct{})
	for range 64 {
		k := s.key("org_1")
		all.Go(func() {
			<-start
			_, err := s.CreateKey(s.ctx, k, touch(k), func(_ keys.Organization, active int, _ *keys.Entry) error {
				if active >= 5 {
					return full
				}
				return nil
			})
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, full):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	close(start)
	all.Wait()
	_, active, err := s.ActiveKeys(s.ctx, "org_1", now())
	s.must(err)
	s.same([]int64{made.Load(), refused.Load(), int64(active)}, []int64{1, 63, 5})
}

func limitAmongRevokes(t *testing.T, s *suite) {
	s.organization("org_1")
	full := errors.New("full")
	admit := func(_ keys.Organization, active int, _ *keys.Entry) error {
		if active >= 3 {
			return full
		}
		return nil
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				k := s.key("org_1")
				_, err := s.CreateKey(s.ctx, k, touch(k), admit)
				if err != nil && !errors.Is(err, full) {
					t.Error(err)
				}
				_, active, e := s.ActiveKeys(s.ctx, "org_1", now())
				if e != nil || active > 3 {
					t.Errorf("%d active, %v", active, e)
				}
				if err == nil {
					s.revoke(k)
				}
			}
		})
	}
	all.Wait()
	_, active, err := s.ActiveKeys(s.ctx, "org_1", now())
	s.must(err)
	s.same(active, 0)
}

func counted(t *testing.T, s *suite) {
	s.organization("org_1")
	expired, revoked, suspended, plain := s.key("org_1"), s.key("org_1"), s.key("org_1"), s.key("org_1")
	expired.ExpiresAt = now().Add(-time.Second)
	for _, k := range []keys.Key{expired, revoked, suspended, plain} {
		s.create(k)
	}
	s.revoke(revoked)
	_, _, err := s.ChangeKey(s.ctx, "org_1", suspended.ID, func(_ keys.Organization, _ int, k *keys.Key) (keys.Entry, error) {
		k.SuspendedAt = now()
		return cut(*k), nil
	})
	s.must(err)
	_, active, err := s.ActiveKeys(s.ctx, "org_1", now())
	s.must(err)
	s.same(active, 2)
	for status, want := range map[keys.Status]string{keys.Expired: expired.ID, keys.Revoked: revoked.ID, keys.Suspended: suspended.ID, keys.Active: plain.ID} {
		list, err := s.Keys(s.ctx, "org_1", keys.Page{Status: status})
		s.must(err)
		if len(list) != 1 || list[0].ID != want {
			t.Errorf("%s: %d keys", status, len(list))
		}
	}
	_, active, err = s.ActiveKeys(s.ctx, "org_1", now().Add(-time.Hour))
	s.must(err)
	s.same(active, 3)
	// An expired key that comes back must not take a name that is in use.
	taken := s.key("org_1")
	taken.Name = expired.Name
	s.create(taken)
	_, _, err = s.ChangeKey(s.ctx, "org_1", expired.ID, func(_ keys.Organization, _ int, k *keys.Key) (keys.Entry, error) {
		k.ExpiresAt = time.Time{}
		return touch(*k), nil
	})
	s.want(err, keys.ErrNameTaken)
}

// everyChange is what makes it impossible to forget: each method that changes
// something has written its entry, once, when it returns.
func everyChange(t *testing.T, s *suite) {
	s.organization("org_1")
	k := s.key("org_1")
	for name, change := range map[string]func() (keys.Commit, error){
		"CreateKey": func() (keys.Commit, error) { return s.CreateKey(s.ctx, k, touch(k), anyNumber) },
		"ChangeKey": func() (keys.Commit, error) {
			other := s.key("org_1")
			s.create(other)
			_, commit := s.revoke(other)
			return commit, nil
		},
		"ChangeOrganization": func() (keys.Commit, error) {
			_, commit, err := s.ChangeOrganization(s.ctx, "org_1", func(o *keys.Organization) (keys.Entry, error) {
				return keys.Entry{Kind: tokens.Cut, Subject: tokens.Organization(o.ID)}, nil
			})
			return commit, err
		},
		"PutResource": func() (keys.Commit, error) {
			return s.PutResource(s.ctx, keys.Resource{ID: "res_1", Audience: "https://a.example", Name: "A", Algorithm: tokens.ES256, TokenTTL: time.Minute},
				keys.Entry{Kind: tokens.Touch, Subject: tokens.Resource("res_1")}, anyUsers)
		},
		"ChangeSigningKeys": func() (keys.Commit, error) {
			return s.changeSigning(tokens.Touch, keys.SigningChange{ID: "a", New: signingKey("a", "")})
		},
		"Append": func() (keys.Commit, error) {
			return s.Append(s.ctx, keys.Entry{Kind: tokens.Cut, Subject: tokens.SigningKey("kid"), Terminal: true})
		},
	} {
		commit, err := change()
		s.must(err)
		page, err := s.Read(s.ctx, commit.Position-1, 10)
		s.must(err)
		if len(page.Entries) != 1 || page.Tip != commit.Position {
			t.Fatalf("%s: %d entries after its own, tip %d", name, len(page.Entries)-1, page.Tip)
		}
		e := page.Entries[0]
		if e.Kind != commit.Kind || e.Position != commit.Position || e.Head == 0 || e.Head != commit.Head || e.Subject == "" || e.Terminal != (name == "Append") {
			t.Errorf("%s: entry %+v, commit %+v", name, e, commit)
		}
	}
}

func refusedChange(t *testing.T, s *suite) {
	s.organization("org_1")
	k := s.key("org_1")
	s.create(k)
	before, no := s.tip(), errors.New("no")
	_, _, err := s.ChangeKey(s.ctx, "org_1", k.ID, func(_ keys.Organization, _ int, k *keys.Key) (keys.Entry, error) {
		k.RevokedAt, k.Scopes, k.Credentials[0].EndsAt = now(), nil, now()
		return keys.Entry{}, no
	})
	s.want(err, no)
	_, _, err = s.ChangeOrganization(s.ctx, "org_1", func(o *keys.Organization) (keys.Entry, error) {
		o.Plan = "Free"
		return keys.Entry{}, no
	})
	s.want(err, no)
	other := s.key("org_1")
	_, err = s.CreateKey(s.ctx, other, touch(other), func(keys.Organization, int, *keys.Entry) error { return no })
	s.want(err, no)
	stored, err := s.Key(s.ctx, "org_1", k.ID)
	s.must(err)
	s.same(stored, k)
	_, err = s.Key(s.ctx, "org_1", other.ID)
	s.want(err, keys.ErrNotFound)
	o, err := s.Organization(s.ctx, "org_1")
	s.must(err)
	s.same(o.Plan, "Professional")
	s.same(s.tip(), before)
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := s.CreateKey(ended, other, touch(other), anyNumber); err == nil {
		if _, err := s.Key(s.ctx, "org_1", other.ID); err != nil {
			t.Error("created, and not there")
		}
	} else if _, err := s.Key(s.ctx, "org_1", other.ID); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("refused, and there: %v", err)
	}
}

func revokePosition(t *testing.T, s *suite) {
	s.organization("org_1")
	k := s.key("org_1")
	s.create(k)
	revoked, commit := s.revoke(k)
	s.same(revoked.RevokedPosition, commit.Position)
	stored, err := s.Key(s.ctx, "org_1", k.ID)
	s.must(err)
	s.same(stored, revoked)
}

// recordMoment reads a record while its key changes: what the record holds and
// the position it names belong together.
func recordMoment(t *testing.T, s *suite) {
	s.organization("org_1")
	k := s.key("org_1")
	first := s.create(k).Position
	const changes = 60
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range changes {
			_, _, err := s.ChangeKey(s.ctx, "org_1", k.ID, func(_ keys.Organization, _ int, k *keys.Key) (keys.Entry, error) {
				k.Scopes = []string{fmt.Sprintf("n%d", i+1)}
				return touch(*k), nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	}()
	for finished := false; !finished; {
		select {
		case <-done:
			finished = true
		default:
		}
		record, err := s.Record(s.ctx, k.ClientID, "")
		s.must(err)
		want := fmt.Sprintf("n%d", record.Position-first)
		if record.Position == first {
			want = "a:read"
		}
		if record.Key.Scopes[0] != want {
			t.Fatalf("position %d with scope %s, want %s", record.Position, record.Key.Scopes[0], want)
		}
	}
}

func pages(t *testing.T, s *suite) {
	s.organization("org_1")
	at := now()
	for i := range 23 {
		k := s.key("org_1")
		k.CreatedAt = at.Add(time.Duration(i/3) * time.Microsecond) // some at the same time
		s.create(k)
	}
	whole, err := s.Keys(s.ctx, "org_1", keys.Page{})
	s.must(err)
	s.same(len(whole), 23)
	var joined []keys.Key
	page := keys.Page{Limit: 4}
	for {
		part, err := s.Keys(s.ctx, "org_1", page)
		s.must(err)
		if len(part) == 0 {
			break
		}
		joined = append(joined, part...)
		mark := part[len(part)-1].Mark("")
		page.After = &mark
	}
	s.same(joined, whole)
	if !slices.IsSortedFunc(whole, func(a, b keys.Key) int { return b.CreatedAt.Compare(a.CreatedAt) }) {
		t.Error("not the newest first")
	}
}

func uses(t *testing.T, s *suite) {
	s.organization("org_1")
	k := s.key("org_1")
	s.create(k)
	id, late := k.Credentials[0].ID, now()
	for _, at := range []time.Time{late.Add(-time.Minute), late, late.Add(-time.Hour)} {
		s.must(s.AddUsage(s.ctx, keys.Usage{Credentials: map[string]keys.Use{id: {At: at, From: at.String()}, "unknown": {At: at}}}))
	}
	s.must(s.AddUsage(s.ctx, keys.Usage{}))
	stored, err := s.Key(s.ctx, "org_1", k.ID)
	s.must(err)
	s.same(stored.Credentials[0].LastUsedAt, late)
	s.same(stored.Credentials[0].LastUsedFrom, late.String())
	s.same(stored.Credentials[0].FirstUsedAt, late.Add(-time.Minute))
}

func resources(t *testing.T, s *suite) {
	entry := keys.Entry{Kind: tokens.Touch, Subject: tokens.Resource("res_a")}
	a := keys.Resource{ID: "res_a", Audience: "https://a.example", Name: "A", Algorithm: tokens.ES256, TokenTTL: 10 * time.Minute,
		Scopes: []keys.Scope{{Name: "a:write", Description: "Write", Group: "A", Level: "write", GrantedBy: keys.Owner}, {Name: "a:read", Description: "Read", Restricted: true}}}
	b := keys.Resource{ID: "res_b", Audience: "https://b.example", Name: "B", Algorithm: tokens.RS256, TokenTTL: time.Minute}
	for _, r := range []keys.Resource{a, b} {
		_, err := s.PutResource(s.ctx, r, entry, anyUsers)
		s.must(err)
	}
	got, err := s.Resources(s.ctx)
	s.must(err)
	s.same(got, []keys.Resource{a, b})
	replaced := a
	replaced.ID, replaced.Name, replaced.Scopes = "res_other", "A2", a.Scopes[1:]
	_, err = s.PutResource(s.ctx, replaced, entry, anyUsers)
	s.must(err)
	replaced.ID = "res_a"
	got, err = s.Resources(s.ctx)
	s.must(err)
	s.same(got, []keys.Resource{replaced, b})
	before := s.tip()
	b.Scopes = []keys.Scope{{Name: "b:read"}, {Name: "a:read"}}
	_, err = s.PutResource(s.ctx, b, entry, anyUsers)
	s.want(err, keys.ErrExists)
	got, err = s.Resources(s.ctx)
	s.must(err)
	s.same(len(got[1].Scopes), 0)
	s.same(s.tip(), before)
}
