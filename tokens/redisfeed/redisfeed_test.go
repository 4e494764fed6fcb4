package redisfeed

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/redisfeed/redistest"
)

// The protocol is tested where the servers are, in authz. Here are its parts.

func TestURLs(t *testing.T) {
	for url, want := range map[string][]string{
		"redis://a:1":                               {"a:1"},
		"rediss://u:p@a:1/2":                        {"a:1"},
		"redis://a:1?addr=b:2&addr=c:3":             {"a:1", "b:2", "c:3"},
		"redis://a:1?master_name=mymaster&addr=b:2": {"a:1", "b:2"},
	} {
		o, err := ParseURL(url)
		if err != nil || strings.Join(o.Addrs, " ") != strings.Join(want, " ") || strings.HasPrefix(url, "rediss") != (o.TLSConfig != nil) {
			t.Errorf("%s: %+v, %v", url, o, err)
		}
	}
	for _, url := range []string{"http://u:hunter2@a", "redis://u:hunter2@a:1?nonsense=1", "redis://u:hunter2@a:1/x", "::hunter2", "redis://u:hunter2@a:1?addr=b&x=y"} {
		if o, err := ParseURL(url); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %+v, %v", url, o, err)
		}
	}
}

// TestScripts runs each script against a real Redis, in the order of a life.
func TestScripts(t *testing.T) {
	r := redistest.New(t)
	ctx := t.Context()
	a, b := NewPublisher(r.Options(), "https://issuer.example", make([]byte, 32)), NewPublisher(r.Options(), "https://issuer.example", make([]byte, 32))
	defer a.Close()
	defer b.Close()
	entries := func(from, to uint64) (list []tokens.Entry) {
		for p := from; p <= to; p++ {
			list = append(list, tokens.Entry{Position: p, Subject: tokens.Client("x"), Kind: tokens.Cut, Terminal: p == to, Head: p * 10})
		}
		return list
	}
	before := func(p uint64) uint64 { return 10 * (p - 1) }
	top := func(want uint64) {
		t.Helper()
		if position, head, err := a.Top(ctx); err != nil || position != want || head != 10*want {
			t.Errorf("top %d, head %d, %v, want %d", position, head, err, want)
		}
	}
	top(0)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.Append(ctx, before(1_000_000_000_001), entries(1_000_000_000_001, 1_000_000_000_700)))
	top(1_000_000_000_700)
	must(b.Append(ctx, before(1_000_000_000_500), entries(1_000_000_000_500, 1_000_000_000_701))) // some are there
	top(1_000_000_000_701)
	if err := b.Append(ctx, before(1_000_000_000_703), entries(1_000_000_000_703, 1_000_000_000_704)); err == nil || !strings.Contains(err.Error(), "GAP after 1000000000701") {
		t.Errorf("a gap: %v", err)
	}
	top(1_000_000_000_701)
	if err := b.Append(ctx, 7, entries(1_000_000_000_702, 1_000_000_000_702)); err == nil || !strings.Contains(err.Error(), "FORK after 1000000000701") {
		t.Errorf("what follows another entry: %v", err)
	}
	top(1_000_000_000_701)
	messages, err := r.Client().XRange(ctx, a.keys.log, "1000000000701", "+").Result()
	must(err)
	if e, err := entry(messages[0]); err != nil || e != entries(1_000_000_000_701, 1_000_000_000_701)[0] {
		t.Errorf("%+v, %v", e, err)
	}
	if m := messages[0]; !follows(m, before(1_000_000_000_701)) || follows(m, 7) {
		t.Errorf("it follows %v", m.Values["p"])
	}
	if delete(messages[0].Values, "p"); !follows(messages[0], 7) {
		t.Error("a server of version 0.2 does not say what an entry follows")
	}

	first, err := a.Start(ctx)
	must(err)
	second, err := b.Start(ctx)
	must(err)
	must(b.Finish(ctx, second, 20, 2, 200))
	must(a.Finish(ctx, first, 10, 1, 100)) // late: it says less than is known
	hb := func() map[string]string { return r.Client().HGetAll(ctx, a.keys.hb).Val() }
	if got := hb(); got["tip"] != "20" || got["dr"] != got["round"] || got["floor"] != "2" || got["head"] != "200" {
		t.Errorf("%v", got)
	}
	lost, err := a.Start(ctx)
	must(err)
	r.Do("FLUSHALL")
	if err := a.Finish(ctx, lost, 30, 3, 300); err == nil {
		t.Error("a round was finished in another data set")
	}
	if got := hb(); len(got) != 0 {
		t.Errorf("%v", got)
	}

	// A session's slot: only what it wrote last is its own. The rounds come with it.
	rounds := uint64(0)
	client := r.Client()
	defer client.Close()
	key, err := a.AckKey("ver_1")
	must(err)
	sealed := sealAck(key, "ver_1", 7, 70)
	swap := func(previous, next string) bool {
		t.Helper()
		words, err := poll.Run(ctx, client, []string{a.keys.ack, a.keys.wm},
			a.keys.hb, "ver_1", previous, next, "7", sealed).Slice()
		must(err)
		numbers, err := parsePoll(words)
		must(err)
		if numbers[0] != rounds {
			t.Errorf("round %d, want %d", numbers[0], rounds)
		}
		return numbers[5] == 1
	}
	if !swap("", "one") || !swap("one", "two") || swap("one", "three") {
		t.Error("the slot does not compare and set")
	}
	_, err = a.Start(ctx)
	must(err)
	if rounds = 1; !swap("three", "four") {
		t.Error("a round changes the slot")
	}
	progress, err := a.Progress(ctx, []string{"ver_1", "ver_2"})
	must(err)
	if len(progress) != 1 || progress["ver_1"] != (Progress{7, 70, "four"}) {
		t.Errorf("%+v", progress)
	}
	// What the session did not say, of whatever position, is not said.
	for name, forged := range map[string]string{
		"a higher position":           strings.Replace(sealed, "7:", "9:", 1),
		"another head":                strings.Replace(sealed, ":70:", ":71:", 1),
		"another session's":           sealAck(key, "ver_2", 9, 90),
		"under another key":           sealAck(make([]byte, 32), "ver_1", 9, 90),
		"without a seal":              "9:90",
		"a score and nothing else":    "",
		"a seal that is not Base64":   "9:90:!",
		"a position that is negative": "-1:90:" + sealed,
	} {
		r.Do("HSET", a.keys.ack, "ver_1:a", forged)
		r.Do("ZADD", a.keys.wm, "99", "ver_1")
		if progress, err := a.Progress(ctx, []string{"ver_1"}); err != nil || progress["ver_1"].Applied != 0 {
			t.Errorf("%s: %+v, %v", name, progress, err)
		}
		acks := &Acks{Position: 8}
		if applied, err := a.Applied(ctx, []string{"ver_1"}, acks); err != nil || applied["ver_1"].Applied != 0 {
			t.Errorf("%s: %+v, %v", name, applied, err)
		}
	}
	r.Do("HSET", a.keys.hb, "n:gone", "nonce:1", "round", "20000")
	must(a.Tidy(ctx))
	if got := r.Do("HEXISTS", a.keys.hb, "n:gone"); got != int64(0) {
		t.Error("a server that is gone is still there")
	}
	must(a.Remove(ctx, "ver_1"))
	if progress, err := a.Progress(ctx, []string{"ver_1"}); err != nil || len(progress) != 0 {
		t.Errorf("%+v, %v", progress, err)
	}
}

// FuzzEntry: what is not ours is named, and what is ours is whole.
func FuzzEntry(f *testing.F) {
	f.Add("5-0", "1", "c:x", "cut", "1", "9")
	f.Add("x", "2", "", "", "", "-1")
	f.Fuzz(func(t *testing.T, id, v, s, k, terminal, h string) {
		e, err := entry(redis.XMessage{ID: id, Values: map[string]any{"v": v, "s": s, "k": k, "t": terminal, "h": h}})
		if err != nil && !errors.Is(err, ErrForeign) {
			t.Fatal(err)
		}
		if err == nil && (v != version || e.Subject == "" || e.Kind != tokens.Cut && e.Kind != tokens.Touch) {
			t.Fatalf("%+v", e)
		}
	})
}

// FuzzPoll: numbers or an error, whatever stands in the hash.
func FuzzPoll(f *testing.F) {
	f.Add("5", "4", "")
	f.Add("-1", "9223372036854775808", "x")
	f.Fuzz(func(t *testing.T, round, done, tip string) {
		numbers, err := parsePoll([]any{round, done, tip, nil, nil, "1"})
		if err == nil && (numbers[3] != 0 || numbers[0] > 1<<63) {
			t.Fatalf("%v", numbers)
		}
	})
}
