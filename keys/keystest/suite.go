package keystest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// Run is the conformance suite of keys.Store: one test for each promise of its
// documentation. open returns an empty store.
func Run(t *testing.T, open func(*testing.T) keys.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"WhatWasStoredComesBack", roundTrip},
		{"WhatIsNotThereIsNotFound", notFound},
		{"ForeignKeysAreNotFound", foreign},
		{"TakenIdsAreRefused", takenIDs},
		{"ActiveNamesAreUnique", names},
		{"LimitIsExactUnderConcurrency", exactLimit},
		{"LimitIsExactAmongRevokes", limitAmongRevokes},
		{"ExpiredAndRevokedKeysDoNotCount", counted},
		{"EveryChangeAppendsItsEntry", everyChange},
		{"RefusedChangeLeavesNothing", refusedChange},
		{"RevokeRecordsItsPosition", revokePosition},
		{"PositionsAreGaplessInCommitOrder", gapless},
		{"RecordIsOneMoment", recordMoment},
		{"PagesJoinToTheWholeList", pages},
		{"UsesOnlyRise", uses},
		{"SnapshotIsTheNewestCutOfEachSubject", snapshot},
		{"FloorRisesToWhatCannotMatter", floor},
		{"ReadKnowsTheHistory", readHeads},
		{"ReceiptsAreKeptOnce", receipts},
		{"SessionsComeAndGo", sessions},
		{"ResourcesAreReplacedByAudience", resources},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, &suite{Store: open(t), t: t, ctx: t.Context()})
		})
	}
}

type suite struct {
	keys.Store
	t   *testing.T
	ctx context.Context
	n   atomic.Int64
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func (s *suite) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) want(got, want error) {
	s.t.Helper()
	if !errors.Is(got, want) {
		s.t.Errorf("got %v, want %v", got, want)
	}
}

func (s *suite) same(got, want any) {
	s.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		s.t.Errorf("-want +got\n%s", d)
	}
}

func (s *suite) organization(id string) keys.Organization {
	s.t.Helper()
	o := keys.Organization{ID: id, Name: "Acme", Plan: "Professional", CreatedAt: now()}
	s.must(s.CreateOrganization(s.ctx, o))
	return o
}

// key is a new one that is not stored.
func (s *suite) key(organization string) keys.Key {
	n := s.n.Add(1)
	return keys.Key{ID: fmt.Sprintf("key_%05d", n), OrganizationID: organization, ClientID: fmt.Sprintf("client%05d", n),
		Name: fmt.Sprintf("Key %d", n), Access: keys.Access{Scopes: []string{"a:read", "a:write"}, Resources: []string{"https://a.example"}},
		CreatedAt:   now(),
		Credentials: []keys.Credential{{ID: fmt.Sprintf("cred%05d", n), Hint: "wxyz", MAC: []byte{1, 2, 0, 255}, Pepper: 1, CreatedAt: now()}}}
}

func touch(k keys.Key) keys.Entry {
	return keys.Entry{Kind: tokens.Touch, Subject: tokens.Client(k.ClientID), Actor: "test"}
}

func cut(k keys.Key) keys.Entry {
	return keys.Entry{Kind: tokens.Cut, Subject: tokens.Client(k.ClientID), Actor: "test", Reason: "because"}
}

func anyNumber(keys.Organization, int) error { return nil }

func (s *suite) create(k keys.Key) keys.Commit {
	s.t.Helper()
	commit, err := s.CreateKey(s.ctx, k, touch(k), anyNumber)
	s.must(err)
	return commit
}

func (s *suite) revoke(k keys.Key) (keys.Key, keys.Commit) {
	s.t.Helper()
	k, commit, err := s.ChangeKey(s.ctx, k.OrganizationID, k.ID, func(_ keys.Organization, _ int, k *keys.Key) (keys.Entry, error) {
		k.RevokedAt, k.RevokedReason = now(), "because"
		return cut(*k), nil
	})
	s.must(err)
	return k, commit
}

// tip is the log's newest position.
func (s *suite) tip() uint64 {
	s.t.Helper()
	page, err := s.Read(s.ctx, 0, 1)
	s.must(err)
	return page.Tip
}

// after returns every entry after a position, read in small pages.
func (s *suite) after(position uint64) (entries []tokens.Entry) {
	s.t.Helper()
	for {
		page, err := s.Read(s.ctx, position, 3)
		s.must(err)
		if len(page.Entries) == 0 {
			return entries
		}
		entries = append(entries, page.Entries...)
		position = entries[len(entries)-1].Position
	}
}

func roundTrip(t *testing.T, s *suite) {
	limit := 7
	o := keys.Organization{ID: "org_1", Name: "Ácme 株式会社", Plan: "Enterprise", CustomLimit: &limit, Operator: true, CreatedAt: now()}
	s.must(s.CreateOrganization(s.ctx, o))
	got, err := s.Organization(s.ctx, "org_1")
	s.must(err)
	s.same(got, o)

	m := keys.Member{ID: "mem_1", OrganizationID: "org_1", Name: "Amal", Email: "a@example.com", Role: keys.Owner, CreatedAt: now()}
	s.must(s.AddMember(s.ctx, m))
	members, err := s.Members(s.ctx, "org_1")
	s.must(err)
	s.same(members, []keys.Member{m})

	k := s.key("org_1")
	k.OwnerID, k.ExpiresAt = "mem_1", now().Add(time.Hour)
	second := keys.Credential{ID: "second", Hint: "abcd", MAC: []byte("mac"), Pepper: 2, CreatedAt: k.CreatedAt.Add(-time.Second), EndsAt: now(), LastUsedAt: now()}
	k.Credentials = append(k.Credentials, second)
	s.create(k)
	stored, err := s.Key(s.ctx, "org_1", k.ID)
	s.must(err)
	s.same(stored, k)
	record, err := s.Record(s.ctx, k.ClientID)
	s.must(err)
	s.same(*record, keys.Record{Key: k, Organization: o, Position: s.tip()})

	changed, _, err := s.ChangeKey(s.ctx, "org_1", k.ID, func(org keys.Organization, active int, k *keys.Key) (keys.Entry, error) {
		s.same(org, o)
		s.same(active, 1)
		k.Scopes, k.Resources = []string{"b:read"}, []string{"https://b.example", "https://a.example"}
		k.ExpiresAt, k.SuspendedAt = time.Time{}, now()
		k.Credentials[0].EndsAt = now().Add(time.Minute)
		k.Credentials = slices.Insert(k.Credentials, 0, keys.Credential{ID: "third", Hint: "qrst", MAC: []byte("m"), Pepper: 1, CreatedAt: now().Add(time.Second)})
		return touch(*k), nil
	})
	s.must(err)
	stored, err = s.Key(s.ctx, "org_1", k.ID)
	s.must(err)
	s.same(stored, changed)

	o.Plan, o.CustomLimit = "Starter", nil
	org, _, err := s.ChangeOrganization(s.ctx, "org_1", func(org *keys.Organization) (keys.Entry, error) {
		org.Plan, org.CustomLimit = "Starter", nil
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
	_, err = s.Record(s.ctx, "none")
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
	s.want(s.AddMember(s.ctx, keys.Member{ID: "m", OrganizationID: "none"}), keys.ErrNotFound)
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
	_, err = s.Record(s.ctx, "CLIENT00001")
	s.want(err, keys.ErrNotFound)
}

func takenIDs(t *testing.T, s *suite) {
	s.organization("org_1")
	s.want(s.CreateOrganization(s.ctx, keys.Organization{ID: "org_1", Name: "x", Plan: "Free"}), keys.ErrExists)
	m := keys.Member{ID: "m", OrganizationID: "org_1", Role: keys.Owner, CreatedAt: now()}
	s.must(s.AddMember(s.ctx, m))
	s.want(s.AddMember(s.ctx, m), keys.ErrExists)
	k := s.key("org_1")
	s.create(k)
	before := s.tip()
	again := s.key("org_1")
	again.ClientID = k.ClientID
	_, err := s.CreateKey(s.ctx, again, touch(again), anyNumber)
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
			_, err := s.CreateKey(s.ctx, k, touch(k), func(_ keys.Organization, active int) error {
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
	admit := func(_ keys.Organization, active int) error {
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
				keys.Entry{Kind: tokens.Touch, Subject: tokens.Resource("res_1")})
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
		if e.Kind != commit.Kind || e.Position != commit.Position || e.Head == 0 || e.Subject == "" || e.Terminal != (name == "Append") {
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
	_, err = s.CreateKey(s.ctx, other, touch(other), func(keys.Organization, int) error { return no })
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

// gapless reads the log while eight writers append to it, some of them in
// transactions that fail: a reader never sees a gap, nor an entry appear behind
// a tip that it has read.
func gapless(t *testing.T, s *suite) {
	s.organization("org_1")
	begin := s.tip()
	var writers sync.WaitGroup
	var committed atomic.Int64
	for range 8 {
		writers.Go(func() {
			for i := range 25 {
				k := s.key("org_1")
				_, err := s.CreateKey(s.ctx, k, touch(k), func(keys.Organization, int) error {
					if i%5 == 4 {
						return errors.New("no")
					}
					return nil
				})
				if err == nil {
					committed.Add(1)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	position := begin
	for finished := false; !finished || position < s.tip(); {
		select {
		case <-done:
			finished = true
		default:
		}
		page, err := s.Read(s.ctx, position, 7)
		s.must(err)
		for _, e := range page.Entries {
			position++
			if e.Position != position || e.Position > page.Tip {
				t.Fatalf("entry %d where %d was next, tip %d", e.Position, position, page.Tip)
			}
		}
	}
	s.same(int64(position-begin), committed.Load())
	s.same(committed.Load(), int64(8*20))
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
		record, err := s.Record(s.ctx, k.ClientID)
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
		page.BeforeTime, page.BeforeID = part[len(part)-1].CreatedAt, part[len(part)-1].ID
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
		s.must(s.UseCredentials(s.ctx, map[string]time.Time{id: at, "unknown": at}))
	}
	s.must(s.UseCredentials(s.ctx, nil))
	stored, err := s.Key(s.ctx, "org_1", k.ID)
	s.must(err)
	s.same(stored.Credentials[0].LastUsedAt, late)
}

func snapshot(t *testing.T, s *suite) {
	begin := s.tip()
	add := func(kind tokens.Kind, subject tokens.Subject, terminal bool) uint64 {
		commit, err := s.Append(s.ctx, keys.Entry{Kind: kind, Subject: subject, Terminal: terminal})
		s.must(err)
		return commit.Position
	}
	add(tokens.Cut, "c:1", false)
	add(tokens.Touch, "c:2", false)
	terminal := add(tokens.Cut, "k:1", true)
	newest := add(tokens.Cut, "c:1", false)
	add(tokens.Touch, "c:1", false)
	got, err := s.Snapshot(s.ctx)
	s.must(err)
	found := map[tokens.Subject]uint64{}
	for _, e := range got.Cuts {
		if e.Position > begin {
			found[e.Subject] = e.Position
		}
		if e.Terminal != (e.Subject == "k:1") || e.Kind != tokens.Cut {
			t.Errorf("entry %+v", e)
		}
	}
	s.same(found, map[tokens.Subject]uint64{"c:1": newest, "k:1": terminal})
	s.same(got.Watermark, s.tip())
	page, err := s.Read(s.ctx, got.Watermark, 1)
	s.must(err)
	s.same(got.Head, page.Head)
}

func floor(t *testing.T, s *suite) {
	commit, err := s.Append(s.ctx, keys.Entry{Kind: tokens.Cut, Subject: "c:1"})
	s.must(err)
	before, err := s.Snapshot(s.ctx)
	s.must(err)
	s.must(s.RaiseFloor(s.ctx, now().Add(keys.Retention-time.Minute)))
	same, err := s.Snapshot(s.ctx)
	s.must(err)
	s.same(same, before)
	s.must(s.RaiseFloor(s.ctx, now().Add(keys.Retention+time.Second)))
	after, err := s.Snapshot(s.ctx)
	s.must(err)
	if after.Floor != commit.Position || len(after.Cuts) != 0 || after.Watermark != before.Watermark {
		t.Errorf("snapshot %+v, want floor %d", after, commit.Position)
	}
	s.must(s.RaiseFloor(s.ctx, now()))
	page, err := s.Read(s.ctx, commit.Position, 1)
	s.must(err)
	s.same(page.Floor, commit.Position)
}

func readHeads(t *testing.T, s *suite) {
	var heads []uint64
	first := s.tip()
	for range 5 {
		_, err := s.Append(s.ctx, keys.Entry{Kind: tokens.Touch, Subject: "c:1"})
		s.must(err)
	}
	for _, e := range s.after(first) {
		heads = append(heads, e.Head)
	}
	for i := range uint64(5) {
		page, err := s.Read(s.ctx, first+1+i, 1)
		s.must(err)
		s.same(page.Head, heads[i])
	}
	page, err := s.Read(s.ctx, first+100, 1)
	s.must(err)
	s.same(page, keys.LogPage{Tip: first + 5, Floor: page.Floor})
	slices.Sort(heads)
	s.same(len(slices.Compact(heads)), 5)
}

func receipts(t *testing.T, s *suite) {
	start := now().Add(time.Second)
	one, err := s.Append(s.ctx, keys.Entry{Kind: tokens.Cut, Subject: "c:1"})
	s.must(err)
	_, err = s.Append(s.ctx, keys.Entry{Kind: tokens.Touch, Subject: "c:2"})
	s.must(err)
	two, err := s.Append(s.ctx, keys.Entry{Kind: tokens.Cut, Subject: "c:3"})
	s.must(err)
	_, err = s.Receipt(s.ctx, one.Position)
	s.want(err, keys.ErrNotFound)
	oldest := func(want uint64) {
		t.Helper()
		got, err := s.Unconfirmed(s.ctx, start)
		s.must(err)
		s.same(got, want)
	}
	oldest(one.Position)
	r := keys.Receipt{Position: one.Position, State: keys.LeaseEnded, Confirmed: 3, Total: 4, Waited: 1500 * time.Microsecond}
	s.must(s.Confirmed(s.ctx, r))
	other := r
	other.Confirmed, other.State = 4, keys.Confirmed
	s.must(s.Confirmed(s.ctx, other))
	got, err := s.Receipt(s.ctx, one.Position)
	s.must(err)
	s.same(got, r)
	oldest(two.Position)
	r.Position = two.Position
	s.must(s.Confirmed(s.ctx, r))
	oldest(0)
	none, err := s.Unconfirmed(s.ctx, now().Add(-time.Hour))
	s.must(err)
	s.same(none, uint64(0))
}

func sessions(t *testing.T, s *suite) {
	a := keys.Session{ID: "ver_a", Name: "gateway", Lease: 10 * time.Second, JoinedAt: now()}
	b := keys.Session{ID: "ver_b", Name: "server", Local: true, Lease: time.Second, JoinedAt: now().Add(time.Second)}
	s.must(s.Join(s.ctx, a))
	s.must(s.Join(s.ctx, b))
	got, err := s.Sessions(s.ctx)
	s.must(err)
	s.same(got, []keys.Session{a, b})
	s.must(s.Leave(s.ctx, "ver_a"))
	s.must(s.Leave(s.ctx, "ver_a"))
	got, err = s.Sessions(s.ctx)
	s.must(err)
	s.same(got, []keys.Session{b})
}

func resources(t *testing.T, s *suite) {
	entry := keys.Entry{Kind: tokens.Touch, Subject: tokens.Resource("res_a")}
	a := keys.Resource{ID: "res_a", Audience: "https://a.example", Name: "A", Algorithm: tokens.ES256, TokenTTL: 10 * time.Minute,
		Scopes: []keys.Scope{{Name: "a:write", Description: "Write"}, {Name: "a:read", Description: "Read", Restricted: true}}}
	b := keys.Resource{ID: "res_b", Audience: "https://b.example", Name: "B", Algorithm: tokens.RS256, TokenTTL: time.Minute}
	for _, r := range []keys.Resource{a, b} {
		_, err := s.PutResource(s.ctx, r, entry)
		s.must(err)
	}
	got, err := s.Resources(s.ctx)
	s.must(err)
	s.same(got, []keys.Resource{a, b})
	replaced := a
	replaced.ID, replaced.Name, replaced.Scopes = "res_other", "A2", a.Scopes[1:]
	_, err = s.PutResource(s.ctx, replaced, entry)
	s.must(err)
	replaced.ID = "res_a"
	got, err = s.Resources(s.ctx)
	s.must(err)
	s.same(got, []keys.Resource{replaced, b})
	before := s.tip()
	b.Scopes = []keys.Scope{{Name: "b:read"}, {Name: "a:read"}}
	_, err = s.PutResource(s.ctx, b, entry)
	s.want(err, keys.ErrExists)
	got, err = s.Resources(s.ctx)
	s.must(err)
	s.same(len(got[1].Scopes), 0)
	s.same(s.tip(), before)
}
