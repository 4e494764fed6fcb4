package keystest

import (
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
)

func usage(t *testing.T, s *suite) {
	s.organization("org_1")
	s.organization("org_2")
	k, other := s.key("org_1"), s.key("org_1")
	s.create(k)
	s.create(other)
	hour := now().Truncate(time.Hour)
	count := func(id string, hour time.Time, outcome keys.Outcome) keys.Tally {
		return keys.Tally{KeyID: id, Hour: hour, Outcome: outcome}
	}
	attempt := keys.Attempt{KeyID: k.ID, Outcome: keys.RefusedSecret, Address: "203.0.113.9"}
	later := keys.Attempt{KeyID: k.ID, Outcome: keys.RefusedScope, Address: "203.0.113.10"}
	for i := range 3 {
		s.must(s.AddUsage(s.ctx, keys.Usage{
			Scopes: map[keys.ScopeUse]time.Time{{KeyID: k.ID, Scope: "a:read"}: hour.Add(-time.Duration(i) * time.Minute), {KeyID: "none", Scope: "x"}: hour},
			Counts: map[keys.Tally]int64{count(k.ID, hour, keys.Issued): 5, count(k.ID, hour.Add(-time.Hour), keys.RefusedSecret): 1,
				count(other.ID, hour, keys.Issued): 1, count("none", hour, keys.Issued): 1},
			Attempts: map[keys.Attempt]keys.Tries{attempt: {Count: 2, Last: hour.Add(-time.Duration(i) * time.Minute)}, later: {Count: 1, Last: hour.Add(time.Minute)},
				{KeyID: "none"}: {Count: 1}},
		}))
	}
	rows := func(organization, key string, since time.Time) []keys.UsageRow {
		t.Helper()
		list, err := s.Usage(s.ctx, organization, key, since, time.Hour)
		s.must(err)
		return list
	}
	whole := []keys.UsageRow{{Tally: count(k.ID, hour.Add(-time.Hour), keys.RefusedSecret), Count: 3},
		{Tally: count(k.ID, hour, keys.Issued), Count: 15}, {Tally: count(other.ID, hour, keys.Issued), Count: 3}}
	s.same(rows("org_1", "", hour.Add(-time.Hour)), whole)
	s.same(rows("org_1", k.ID, hour), whole[1:2])
	s.same(len(rows("org_2", "", hour.Add(-time.Hour))), 0)
	s.same(len(rows("org_2", k.ID, hour.Add(-time.Hour))), 0)
	yesterday := hour.Truncate(24 * time.Hour).Add(-24 * time.Hour)
	s.must(s.AddUsage(s.ctx, keys.Usage{Counts: map[keys.Tally]int64{count(other.ID, yesterday, keys.Issued): 2, count(other.ID, yesterday.Add(23*time.Hour), keys.Issued): 3,
		count(other.ID, yesterday.Add(5*time.Hour), keys.RefusedScope): 1}}))
	days, err := s.Usage(s.ctx, "org_1", other.ID, yesterday, 24*time.Hour)
	s.must(err)
	s.same(days[:2], []keys.UsageRow{{Tally: count(other.ID, yesterday, keys.Issued), Count: 5}, {Tally: count(other.ID, yesterday, keys.RefusedScope), Count: 1}})
	attempts, err := s.Attempts(s.ctx, "org_1", k.ID)
	s.must(err)
	s.same(attempts, []keys.AttemptRow{{Attempt: later, Tries: keys.Tries{Count: 3, Last: hour.Add(time.Minute)}}, {Attempt: attempt, Tries: keys.Tries{Count: 6, Last: hour}}})
	attempts, err = s.Attempts(s.ctx, "org_2", k.ID)
	s.must(err)
	s.same(len(attempts), 0)
	scopes, err := s.ScopeUses(s.ctx, "org_1")
	s.must(err)
	s.same(scopes, map[keys.ScopeUse]time.Time{{KeyID: k.ID, Scope: "a:read"}: hour})
	s.must(s.PruneUsage(s.ctx, hour, hour.Add(time.Second)))
	s.same(rows("org_1", "", time.Time{}), whole[1:])
	attempts, err = s.Attempts(s.ctx, "org_1", k.ID)
	s.must(err)
	s.same(len(attempts), 1)
}
