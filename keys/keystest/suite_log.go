package keystest

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

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
				_, err := s.CreateKey(s.ctx, k, touch(k), func(keys.Organization, int, *keys.Entry) error {
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
	_, err := s.Append(s.ctx, keys.Entry{Kind: tokens.Cut, Subject: "k:1", Terminal: true})
	s.must(err)
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
	// A terminal cut denies tokens of any position: no floor replaces it.
	if after.Floor != commit.Position || len(after.Cuts) != 1 || !after.Cuts[0].Terminal || after.Watermark != before.Watermark {
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

// receipts: one that waits is replaced, one that is settled stays, and a cut that the
// log does not have gets none.
func receipts(t *testing.T, s *suite) {
	start := now().Add(time.Second)
	cut := func(subject tokens.Subject) keys.Commit {
		t.Helper()
		at, err := s.Append(s.ctx, keys.Entry{Kind: tokens.Cut, Subject: subject, OrganizationID: "org_receipts",
			Target: "target of " + string(subject), Actor: keys.Actor{ClientID: "ann"}, Reason: "it leaked"})
		s.must(err)
		return at
	}
	one := cut("c:1")
	touch, err := s.Append(s.ctx, keys.Entry{Kind: tokens.Touch, Subject: "c:2"})
	s.must(err)
	two := cut("c:3")
	_, err = s.Receipt(s.ctx, touch.Position)
	s.want(err, keys.ErrNotFound)
	unsettled := func(want ...uint64) {
		t.Helper()
		list, err := s.Unsettled(s.ctx, start)
		s.must(err)
		var got []uint64
		for _, r := range list {
			got = append(got, r.Position)
		}
		s.same(got, want)
	}
	put := func(r keys.Receipt) keys.Receipt {
		t.Helper()
		stored, err := s.PutReceipts(s.ctx, []keys.Receipt{r})
		s.must(err)
		s.same(len(stored), 1)
		again, err := s.Receipt(s.ctx, r.Position)
		s.must(err)
		s.same(stored[0], again)
		return again
	}
	unsettled(one.Position, two.Position)
	nothing, err := s.Receipt(s.ctx, one.Position)
	s.must(err)
	want := keys.Receipt{Position: one.Position, Head: one.Head, OrganizationID: "org_receipts", Target: "target of c:1",
		Subject: "c:1", ClientID: "1", By: "ann", Reason: "it leaked", State: keys.Waiting, RevokedAt: nothing.RevokedAt}
	s.same(nothing, want)
	silent := keys.Session{ID: "ver_a", Name: "a", ClientID: "client", Via: "ver_b", Lease: 10 * time.Second, AcceptStale: time.Minute, Unproved: "floor"}
	member := keys.ReceiptMember{ID: silent.PublicID(), Name: "a", State: keys.Waiting, Session: silent}
	want.Latest, want.Members = now().Add(10*time.Second), []keys.ReceiptMember{member}
	s.same(put(want), want)
	unsettled(one.Position, two.Position)
	member.State, member.At = keys.LeaseEnded, now().Add(10*time.Second)
	want.Latest, want.Members = time.Time{}, []keys.ReceiptMember{member}
	want.State, want.Confirmed, want.Total, want.Waited, want.SettledAt = keys.LeaseEnded, 3, 4, 1500*time.Microsecond, now()
	s.same(put(want), want)
	unsettled(two.Position)
	other := want
	other.State, other.Confirmed, other.SettledAt = keys.Confirmed, 4, now().Add(time.Second)
	s.same(put(other), want)
	other.Position, other.Head = two.Position, two.Head+1
	stored, err := s.PutReceipts(s.ctx, []keys.Receipt{other})
	s.must(err)
	s.same(len(stored), 0)
	unsettled(two.Position)
	list, err := s.Receipts(s.ctx, "org_receipts", keys.ReceiptPage{})
	s.must(err)
	want.Members = nil
	s.same(list[1], want)
	s.same([]uint64{list[0].Position, uint64(len(list))}, []uint64{two.Position, 2})
	list, err = s.Receipts(s.ctx, "org_receipts", keys.ReceiptPage{Target: "target of c:3", State: keys.Waiting, Limit: 1})
	s.must(err)
	s.same(len(list), 1)
	newest, err := s.LastCut(s.ctx, "c:3")
	s.must(err)
	s.same(newest, two.Position)
	_, err = s.LastCut(s.ctx, "c:2")
	s.want(err, keys.ErrNotFound)
	early, err := s.Unsettled(s.ctx, now().Add(-time.Hour))
	s.must(err)
	s.same(len(early), 0)
}

// sessionsEnd: a change that takes from a key the right to follow ends its sessions in the
// same commit, and who makes room for another is ended with the join.
func sessionsEnd(t *testing.T, s *suite) {
	s.organization("org_1")
	k := s.key("org_1")
	k.Scopes = []string{keys.FeedScope}
	s.create(k)
	session := func(id string) keys.Session {
		return keys.Session{ID: id, Name: id, ClientID: k.ClientID, Via: "ver_server", Lease: time.Second, JoinedAt: now()}
	}
	k.Verifier.Sessions = 2
	_, _, err := s.ChangeKey(s.ctx, "org_1", k.ID, func(_ keys.Organization, _ int, stored *keys.Key) (keys.Entry, error) {
		stored.Verifier = k.Verifier
		return touch(k), nil
	})
	s.must(err)
	s.must(s.Join(s.ctx, session("ver_1"), func(_ keys.Key, others []keys.Session) ([]keys.Session, error) {
		s.same(len(others), 0)
		return nil, nil
	}))
	begin := s.tip()
	s.must(s.Join(s.ctx, session("ver_2"), func(_ keys.Key, others []keys.Session) ([]keys.Session, error) { return others, nil }))
	entries := s.after(begin)
	if len(entries) != 1 || entries[0].Subject != tokens.Session("ver_1") || entries[0].Kind != tokens.Cut {
		t.Errorf("who made room: %+v", entries)
	}
	strays, err := s.Strays(s.ctx, now())
	s.must(err)
	s.same(len(strays), 0)
	begin = s.tip()
	_, at, err := s.ChangeKey(s.ctx, "org_1", k.ID, func(_ keys.Organization, _ int, k *keys.Key) (keys.Entry, error) {
		k.RevokedAt = now()
		return keys.Entry{Kind: tokens.Cut, Subject: tokens.Client(k.ClientID), EndSessions: k.ClientID}, nil
	})
	s.must(err)
	var subjects []tokens.Subject
	for _, e := range s.after(begin) {
		subjects = append(subjects, e.Subject)
	}
	s.same(subjects, []tokens.Subject{tokens.Client(k.ClientID), tokens.Session("ver_1"), tokens.Session("ver_2")})
	s.same(at.Through, at.Position+2)
	s.same(len(at.Also), 0)
	strays, err = s.Strays(s.ctx, now())
	s.must(err)
	s.same(len(strays), 2)
	unsettled, err := s.Unsettled(s.ctx, now().Add(time.Minute))
	s.must(err)
	s.same(len(unsettled), 1) // the end of a session has no receipt
}

// together: entries that commit with another stand right after it.
func together(t *testing.T, s *suite) {
	at, err := s.Append(s.ctx, keys.Entry{Kind: tokens.Cut, Subject: "s:1", With: []keys.Entry{
		{Kind: tokens.Touch, Subject: "c:1"}, {Kind: tokens.Cut, Subject: "v:1"}}})
	s.must(err)
	var subjects []tokens.Subject
	for _, e := range s.after(at.Position - 1) {
		subjects = append(subjects, e.Subject)
	}
	s.same(subjects, []tokens.Subject{"s:1", "c:1", "v:1"})
	s.same(at.Through, at.Position+2)
}

func sessions(t *testing.T, s *suite) {
	a := keys.Session{ID: "ver_a", Name: "gateway", ClientID: "client", Via: "ver_b", Lease: 10 * time.Second, AcceptStale: time.Minute,
		Protocol: 2, Implementation: "gateway/1.0", Unproved: "client floor", JoinedAt: now()}
	b := keys.Session{ID: "ver_b", Name: "server", Via: "ver_b", Lease: time.Second, JoinedAt: now().Add(time.Second)}
	listed := func(want ...keys.Session) {
		t.Helper()
		got, err := s.Sessions(s.ctx)
		s.must(err)
		s.same(got, want)
	}
	s.organization("org_1")
	k := s.key("org_1")
	k.ClientID, k.Scopes = "client", []string{keys.FeedScope}
	s.create(k)
	no := errors.New("no")
	s.want(s.Join(s.ctx, a, func(keys.Key, []keys.Session) ([]keys.Session, error) { return nil, no }), no)
	stranger := a
	stranger.ClientID = "nobody"
	s.want(s.Join(s.ctx, stranger, nil), keys.ErrNotFound)
	s.must(s.Join(s.ctx, a, func(found keys.Key, others []keys.Session) ([]keys.Session, error) {
		s.same(found.ID, k.ID)
		s.same(len(others), 0)
		return nil, nil
	}))
	s.must(s.Join(s.ctx, b, nil))
	listed(a, b)
	s.same([]bool{a.Server(), b.Server()}, []bool{false, true})
	var acks []keys.Ack
	for range 3 {
		at, err := s.Append(s.ctx, keys.Entry{Kind: tokens.Touch, Subject: "c:1"})
		s.must(err)
		acks = append(acks, keys.Ack{Position: at.Position, Head: at.Head})
	}
	s.must(s.Report(s.ctx, "ver_b", map[string]keys.Ack{"ver_a": acks[1], "ver_b": acks[2], "ver_gone": acks[0]}))
	s.must(s.Report(s.ctx, "ver_b", map[string]keys.Ack{"ver_a": acks[0]}))
	s.want(s.Report(s.ctx, "ver_gone", map[string]keys.Ack{"ver_a": acks[2]}), keys.ErrNotFound)
	a.Applied, b.Applied, b.Beat = acks[1].Position, acks[2].Position, 2
	listed(a, b)
	roll, err := s.Roll(s.ctx, acks[0].Position, acks[2].Position+100)
	s.must(err)
	s.same(roll.Heads, map[uint64]uint64{acks[0].Position: acks[0].Head})
	// An acknowledgement of another history counts for nothing.
	s.must(s.Report(s.ctx, "ver_b", map[string]keys.Ack{"ver_a": {Position: acks[2].Position, Head: acks[2].Head + 1}}))
	a.Applied, b.Beat = 0, 3
	listed(a, b)
	s.must(s.Attach(s.ctx, "ver_a", "client", "ver_c"))
	a.Via = "ver_c"
	listed(a, b)
	s.want(s.Attach(s.ctx, "ver_gone", "client", "ver_b"), keys.ErrNotFound)
	s.want(s.Attach(s.ctx, "ver_a", "stranger", "ver_b"), keys.ErrNotFound)
	listed(a, b)
	s.must(s.Leave(s.ctx, "ver_a"))
	s.must(s.Leave(s.ctx, "ver_a"))
	listed(b)
}
