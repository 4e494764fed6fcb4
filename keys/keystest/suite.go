package keystest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
		{"UsageAddsUp", usage},
		{"SnapshotIsTheNewestCutOfEachSubject", snapshot},
		{"FloorRisesToWhatCannotMatter", floor},
		{"ReadKnowsTheHistory", readHeads},
		{"ReceiptsAreKeptOnce", receipts},
		{"EntriesThatCommitTogetherStandTogether", together},
		{"SessionsEndWithTheirKey", sessionsEnd},
		{"SessionsComeAndGo", sessions},
		{"ResourcesAreReplacedByAudience", resources},
		{"ResourcesInUseStay", resourcesInUse},
		{"PresetsComeAndGo", presets},
		{"KeysAreFiltered", filters},
		{"EveryOrderJoinsToTheWholeList", orders},
		{"CredentialsFindTheirKey", credentials},
		{"MembersLeaveTheirKeysToAnHeir", members},
		{"OrganizationsAreListed", organizations},
		{"EventsAreAChain", chain},
		{"ChainIsOneUnderConcurrency", concurrentChain},
		{"CheckpointsFollowTheHeads", checkpoints},
		{"RepeatedRequestsFindWhatTheyDid", repeated},
		{"DeliveriesCommitWithTheirEvent", deliveries},
		{"DeliveriesAreClaimedOnce", claims},
		{"EndingKeysAreFound", ending},
		{"MembershipsAreOfAllOrganizations", memberships},
		{"LinksAreUsedOnce", links},
		{"AnAccountIsOneSubjects", bindings},
		{"OneFounds", foundings},
		{"ANewPasswordEndsEverySession", webSessions},
		{"SigningKeysAreAChain", signing},
		{"SigningKeysChangeOnce", signingOnce},
		{"ActivityIsOfAllOrganizations", activity},
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

func (s *suite) mustCommit(_ keys.Commit, err error) {
	s.t.Helper()
	s.must(err)
}

func (s *suite) want(got, want error) {
	s.t.Helper()
	if !errors.Is(got, want) {
		s.t.Errorf("got %v, want %v", got, want)
	}
}

func (s *suite) same(got, want any) {
	s.t.Helper()
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		s.t.Errorf("-want +got\n%s", d)
	}
}

func (s *suite) organization(id string) keys.Organization {
	s.t.Helper()
	o := keys.Organization{ID: id, Name: "Acme", Plan: "Professional", CreatedAt: now()}
	s.mustCommit(s.CreateOrganization(s.ctx, o, about(id)))
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

// about is an entry that touches an organisation.
func about(id string) keys.Entry {
	return keys.Entry{Kind: tokens.Touch, Subject: tokens.Organization(id), Actor: keys.Program("test"), OrganizationID: id, Action: "test.change", Target: id}
}

func touch(k keys.Key) keys.Entry {
	return keys.Entry{Kind: tokens.Touch, Subject: tokens.Client(k.ClientID), Actor: keys.Program("test"), OrganizationID: k.OrganizationID, Action: "key.touch", Target: k.ID}
}

func cut(k keys.Key) keys.Entry {
	e := touch(k)
	e.Kind, e.Action, e.Reason = tokens.Cut, "key.cut", "because"
	return e
}

func anyNumber(keys.Organization, int, *keys.Entry) error { return nil }

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
