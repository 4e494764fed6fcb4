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

func receipts(t *testing.T, s *suite) {
	start := now().Add(time.Second)
	one, err := s.Append(s.ctx, keys.Entry{Kind: tokens.Cut, Subject: "c:1", Actor: keys.Actor{ClientID: "ann"}, Reason: "it leaked"})
	s.must(err)
	_, err = s.Append(s.ctx, keys.Entry{Kind: tokens.Touch, Subject: "c:2"})
	s.must(err)
	two, err := s.Append(s.ctx, keys.Entry{Kind: tokens.Cut, Subject: "c:3"})
	s.must(err)
	_, err = s.Receipt(s.ctx, one.Position)
	s.want(err, keys.ErrNotFound)
	waiting := func(want ...uint64) {
		t.Helper()
		got, err := s.Unconfirmed(s.ctx, start)
		s.must(err)
		s.same(got, want)
	}
	waiting(one.Position, two.Position)
	r := keys.Receipt{Position: one.Position, State: keys.LeaseEnded, Confirmed: 3, Total: 4, Waited: 1500 * time.Microsecond}
	s.must(s.Confirmed(s.ctx, r))
	other := r
	other.Confirmed, other.State = 4, keys.Confirmed
	s.must(s.Confirmed(s.ctx, other))
	got, err := s.Receipt(s.ctx, one.Position)
	s.must(err)
	r.By, r.Reason = "ann", "it leaked"
	s.same(got, r)
	waiting(two.Position)
	r.Position = two.Position
	s.must(s.Confirmed(s.ctx, r))
	waiting()
	none, err := s.Unconfirmed(s.ctx, now().Add(-time.Hour))
	s.must(err)
	s.same(none, []uint64(nil))
}

func sessions(t *testing.T, s *suite) {
	a := keys.Session{ID: "ver_a", Name: "gateway", ClientID: "client", Via: "ver_b", Lease: 10 * time.Second, AcceptStale: time.Minute, JoinedAt: now()}
	b := keys.Session{ID: "ver_b", Name: "server", Via: "ver_b", Lease: time.Second, JoinedAt: now().Add(time.Second)}
	listed := func(want ...keys.Session) {
		t.Helper()
		got, err := s.Sessions(s.ctx)
		s.must(err)
		s.same(got, want)
	}
	s.must(s.Join(s.ctx, a))
	s.must(s.Join(s.ctx, b))
	listed(a, b)
	s.same([]bool{a.Server(), b.Server()}, []bool{false, true})
	s.must(s.Report(s.ctx, "ver_b", map[string]uint64{"ver_a": 7, "ver_b": 9, "ver_gone": 1}))
	s.must(s.Report(s.ctx, "ver_b", map[string]uint64{"ver_a": 5}))
	s.want(s.Report(s.ctx, "ver_gone", map[string]uint64{"ver_a": 99}), keys.ErrNotFound)
	a.Applied, b.Applied, b.Beat = 7, 9, 2
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
