package keystest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
)

func memberships(t *testing.T, s *suite) {
	for _, id := range []string{"one", "two", "three"} {
		s.organization(id)
		m := keys.Member{ID: "mem_" + id, OrganizationID: id, Name: "Ann", Email: "ann@example.com", Role: keys.Owner, CreatedAt: now()}
		s.mustCommit(s.AddMember(s.ctx, m, about(m.ID)))
		m.ID, m.Email = "mem_other_"+id, "other@example.com"
		s.mustCommit(s.AddMember(s.ctx, m, about(m.ID)))
	}
	_, _, err := s.ChangeMember(s.ctx, "two", "mem_two", func(_ keys.Organization, _ []keys.Member, _ int, m *keys.Member) (keys.Entry, error) {
		m.RemovedAt = now()
		return about(m.ID), nil
	})
	s.must(err)
	list, err := s.Memberships(s.ctx, "ann@example.com")
	s.must(err)
	var ids []string
	for _, m := range list {
		ids = append(ids, m.OrganizationID+" "+m.ID)
	}
	s.same(ids, []string{"one mem_one", "three mem_three"})
}

func hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func (s *suite) link(text, email string, made time.Time) keys.Link {
	l := keys.Link{Hash: hash(text), Email: email, CreatedAt: made, ExpiresAt: made.Add(keys.LinkLife),
		OrganizationID: "org_of_" + text, Opens: []string{"one", "two"}}
	s.mustCommit(s.AddLink(s.ctx, l, about(email)))
	return l
}

func links(t *testing.T, s *suite) {
	start := now()
	s.link("old", "ann@example.com", start.Add(-keys.LinkLife))
	l := s.link("new", "ann@example.com", start)
	second := s.link("second", "ann@example.com", start)
	other := s.link("other", "bob@example.com", start)
	got, err := s.Link(s.ctx, l.Hash)
	s.must(err)
	s.same(got, l)
	_, err = s.Link(s.ctx, hash("old"))
	s.want(err, keys.ErrNotFound)
	_, err = s.Account(s.ctx, "ann@example.com")
	s.want(err, keys.ErrNotFound)
	before := s.tip()
	_, err = s.UseLink(s.ctx, other.Hash, keys.Account{Email: "ann@example.com", Password: "stolen"}, about("ann"))
	s.want(err, keys.ErrNotFound)

	var used atomic.Int64
	var wait sync.WaitGroup
	for i := range 8 { // one link, and two of one person
		wait.Go(func() {
			_, err := s.UseLink(s.ctx, [][]byte{l.Hash, second.Hash}[i%2], keys.Account{Email: l.Email, Password: fmt.Sprint(i)}, about("ann"))
			switch {
			case err == nil:
				used.Add(1)
			case !errors.Is(err, keys.ErrNotFound):
				t.Error(err)
			}
		})
	}
	wait.Wait()
	s.same(used.Load(), int64(1))
	s.same(s.tip(), before+1)
	_, err = s.Link(s.ctx, second.Hash)
	s.want(err, keys.ErrNotFound)
	_, err = s.Link(s.ctx, other.Hash)
	s.must(err)
}

func foundings(t *testing.T, s *suite) {
	l := s.link("new", "", now())
	second := s.link("second", "", now())
	other := s.link("other", "bob@example.com", now())
	beginning := func(i int) keys.Beginning {
		o := keys.Organization{ID: fmt.Sprint("org_", i), Name: "Acme", Plan: "Enterprise", CreatedAt: now()}
		return keys.Beginning{Organization: o, Account: keys.Account{Email: "ann@example.com", Password: o.ID},
			Members: []keys.Member{{ID: "mem_" + o.ID, OrganizationID: o.ID, Name: "Ann", Email: "ann@example.com", Role: keys.Owner, CreatedAt: now()}}}
	}
	before := s.tip()
	_, err := s.Found(s.ctx, other.Hash, beginning(100), about("org_100"))
	s.want(err, keys.ErrNotFound)
	_, err = s.Found(s.ctx, hash("no link"), beginning(100), about("org_100"))
	s.want(err, keys.ErrNotFound)

	var founded atomic.Int64
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			b := beginning(i)
			switch _, err := s.Found(s.ctx, [][]byte{l.Hash, second.Hash}[i%2], b, about(b.Organization.ID)); {
			case err == nil:
				founded.Add(1)
			case !errors.Is(err, keys.ErrNotFound):
				t.Error(err)
			}
		})
	}
	wait.Wait()
	s.same(founded.Load(), int64(1))
	s.same(s.tip(), before+1)
	list, err := s.Organizations(s.ctx, "", 10)
	s.must(err)
	s.same(len(list), 1)
	members, err := s.Memberships(s.ctx, "ann@example.com")
	s.must(err)
	s.same(len(members), 1)
	s.same(members[0].OrganizationID, list[0].ID)
	account, err := s.Account(s.ctx, "ann@example.com")
	s.must(err)
	s.same(account.Password, list[0].ID)
	_, err = s.Link(s.ctx, second.Hash)
	s.want(err, keys.ErrNotFound)
	_, err = s.Link(s.ctx, other.Hash)
	s.must(err)
}

func webSessions(t *testing.T, s *suite) {
	start := now()
	choose := func(password string) {
		l := s.link("link for "+password, "ann@example.com", start)
		s.mustCommit(s.UseLink(s.ctx, l.Hash, keys.Account{Email: l.Email, Password: password}, about("ann")))
	}
	choose("first")
	account, err := s.Account(s.ctx, "ann@example.com")
	s.must(err)
	s.same(account, keys.Account{Email: "ann@example.com", Password: "first"})
	w := keys.WebSession{Hash: hash("session"), Email: "ann@example.com", CreatedAt: start, SeenAt: start, ProvedAt: start.Add(-time.Hour),
		Address: "203.0.113.9", Agent: "Firefox"}
	s.want(s.AddWebSession(s.ctx, w, "another"), keys.ErrNotFound)
	s.must(s.AddWebSession(s.ctx, w, "first"))
	got, err := s.WebSession(s.ctx, w.Hash)
	s.must(err)
	s.same(got, w)

	w.SeenAt = start.Add(time.Minute)
	s.must(s.SeeWebSession(s.ctx, w.Hash, w.SeenAt))
	s.must(s.SeeWebSession(s.ctx, w.Hash, start))
	got, err = s.WebSession(s.ctx, w.Hash)
	s.must(err)
	s.same(got, w)

	later := keys.WebSession{Hash: hash("later"), Email: "ann@example.com", CreatedAt: w.SeenAt.Add(keys.SessionIdle), SeenAt: w.SeenAt.Add(keys.SessionIdle)}
	s.must(s.AddWebSession(s.ctx, later, "first"))
	_, err = s.WebSession(s.ctx, w.Hash)
	s.want(err, keys.ErrNotFound) // ended by itself
	second := later
	second.Hash, second.CreatedAt, second.ProvedAt = hash("second"), later.CreatedAt.Add(time.Second), time.Time{}
	s.must(s.AddWebSession(s.ctx, second, "first"))
	s.must(s.BindAccount(s.ctx, "bob@example.com", "https://idp", "bob"))
	s.must(s.AddWebSession(s.ctx, keys.WebSession{Hash: hash("of another"), Email: "bob@example.com", CreatedAt: start, SeenAt: start}, ""))
	list, err := s.WebSessions(s.ctx, "ann@example.com")
	s.must(err)
	s.same(list, []keys.WebSession{second, later})
	s.must(s.BindAccount(s.ctx, "ann@example.com", "https://idp", "ann")) // there is one
	account, err = s.Account(s.ctx, "ann@example.com")
	s.must(err)
	s.same(account.Password, "first")
	for range 2 {
		s.must(s.EndWebSession(s.ctx, second.Hash))
	}
	_, err = s.WebSession(s.ctx, second.Hash)
	s.want(err, keys.ErrNotFound)

	// A sign-in that races with a new password is in it or over.
	var wait sync.WaitGroup
	wait.Go(func() { choose("second") })
	wait.Go(func() {
		third := later
		third.Hash = hash("third")
		if err := s.AddWebSession(s.ctx, third, "first"); err != nil && !errors.Is(err, keys.ErrNotFound) {
			t.Error(err)
		}
	})
	wait.Wait()
	for _, name := range []string{"later", "third"} {
		_, err = s.WebSession(s.ctx, hash(name))
		s.want(err, keys.ErrNotFound)
	}
}

func bindings(t *testing.T, s *suite) {
	var bound atomic.Int64
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			switch err := s.BindAccount(s.ctx, "ann@example.com", "https://idp", fmt.Sprint(i)); {
			case err == nil:
				bound.Add(1)
			case !errors.Is(err, keys.ErrSubject):
				t.Error(err)
			}
		})
	}
	wait.Wait()
	s.same(bound.Load(), int64(1))
	a, err := s.Account(s.ctx, "ann@example.com")
	s.must(err)
	s.must(s.BindAccount(s.ctx, "ann@example.com", a.Issuer, a.Subject))
	s.want(s.BindAccount(s.ctx, "ann@example.com", "https://another", a.Subject), keys.ErrSubject)
	w := keys.WebSession{Hash: hash("bound"), Email: "ann@example.com", CreatedAt: now(), SeenAt: now()}
	s.must(s.AddWebSession(s.ctx, w, ""))
	_, err = s.UnbindAccount(s.ctx, "bob@example.com", about("bob"))
	s.want(err, keys.ErrNotFound)
	s.mustCommit(s.UnbindAccount(s.ctx, "ann@example.com", about("ann")))
	_, err = s.UnbindAccount(s.ctx, "ann@example.com", about("ann"))
	s.want(err, keys.ErrNotFound)
	_, err = s.WebSession(s.ctx, w.Hash)
	s.want(err, keys.ErrNotFound)
	s.must(s.BindAccount(s.ctx, "ann@example.com", "https://another", "ann"))

	// A password of before stays what it is, and who chooses one stays bound.
	l := s.link("of who is bound", "ann@example.com", now())
	s.mustCommit(s.UseLink(s.ctx, l.Hash, keys.Account{Email: l.Email, Password: "first"}, about("ann")))
	a, err = s.Account(s.ctx, "ann@example.com")
	s.must(err)
	s.same(a, keys.Account{Email: "ann@example.com", Password: "first", Issuer: "https://another", Subject: "ann"})
}
