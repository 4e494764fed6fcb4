//go:build linux

package authz

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/redisfeed/redistest"
)

// BenchmarkStrangers compares the time of a refusal for an unknown client with
// that for a known one and a wrong secret, interleaved: what differs is
// the median in percent. There are so many clients of each kind that none is asked for again
// within [readPause].
func BenchmarkStrangers(b *testing.B) {
	s := newHouse(b).start(0)
	s.manyKeys()
	other := s.demoKey()
	const each = 500
	var ids [2][]string
	for i := range each {
		c := s.key("operator", keys.Access{Scopes: []string{"alerts:read"}})
		s.token(c)
		ids[0], ids[1] = append(ids[0], c.Key.ClientID), append(ids[1], fmt.Sprintf("imara_ci_%020d", i))
	}
	handler := s.Handler()
	var samples [2][]time.Duration
	for n := 0; b.Loop(); n++ {
		for i := range ids {
			pair := [2]string{ids[i][n%each], other.Secret.Reveal()}
			r := httptest.NewRequest("POST", "/oauth2/token", strings.NewReader("grant_type=client_credentials"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.SetBasicAuth(pair[0], pair[1])
			w := httptest.NewRecorder()
			begun := time.Now()
			handler.ServeHTTP(w, r)
			samples[i] = append(samples[i], time.Since(begun))
			if w.Code != 401 {
				b.Fatal(w.Code)
			}
		}
	}
	for i := range samples {
		slices.Sort(samples[i])
	}
	known, unknown := samples[0][len(samples[0])/2], samples[1][len(samples[1])/2]
	b.ReportMetric(100*float64(known-unknown)/float64(unknown), "%-slower-known")
	b.ReportMetric(float64(unknown.Microseconds()), "us-unknown")
}

// BenchmarkRevocation revokes keys while verifiers follow over Redis: from the
// call to the receipt. One op is one revocation; its yardstick, taken in turns, is
// a write to a Redis stream that as many blocked readers receive.
func BenchmarkRevocation(b *testing.B) {
	for _, verifiers := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(verifiers), func(b *testing.B) {
			h := newHouse(b)
			h.redis = redistest.New(b)
			s := h.start(0)
			s.manyKeys()
			for i := range verifiers {
				s.followRedis(fmt.Sprint("api ", i), 0, s.redis.Address())
			}
			client := h.redis.Client()
			defer client.Close()
			readers := make([]*redis.Client, verifiers)
			for i := range readers {
				readers[i] = redis.NewClient(&redis.Options{Addr: h.redis.Address(), ClientName: "yardstick"})
				defer readers[i].Close()
			}
			var whole, waited, wire []time.Duration
			for b.Loop() {
				c := s.demoKey()
				begun := time.Now()
				_, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
				whole = append(whole, time.Since(begun))
				if err != nil || receipt.State != keys.Confirmed || receipt.Total != verifiers+1 {
					b.Fatalf("%+v, %v", receipt, err)
				}
				waited = append(waited, receipt.Waited)
				wire = append(wire, hop(b, client, readers))
			}
			for name, list := range map[string][]time.Duration{"whole": whole, "waited": waited, "wire": wire} {
				slices.Sort(list)
				b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, name+"-p50-ms")
				b.ReportMetric(float64(list[len(list)*99/100].Microseconds())/1000, name+"-p99-ms")
			}
			b.ReportMetric(float64(whole[len(whole)*99/100])/float64(wire[len(wire)*99/100]), "x-wire-p99")
		})
	}
}

// manyKeys lets the operator have a key for each verifier.
func (r *running) manyKeys() {
	many := 1000
	if _, err := r.registry.SetLimit(context.Background(), keys.Program("bench"), "operator", &many, "bench"); err != nil {
		r.t.Fatal(err)
	}
}

// hop is the time from XADD to its arrival at the last of some blocked XREADs. A
// reader is known to be blocked when the list of clients says so.
func hop(b *testing.B, client *redis.Client, readers []*redis.Client) time.Duration {
	ctx := context.Background()
	arrived := make(chan time.Time, len(readers))
	for _, reader := range readers {
		go func() {
			if err := reader.XRead(ctx, &redis.XReadArgs{Streams: []string{"yardstick", "$"}, Block: 10 * time.Second}).Err(); err != nil {
				b.Error(err)
			}
			arrived <- time.Now()
		}()
	}
	for waiting := 0; waiting < len(readers); {
		list, err := client.ClientList(ctx).Result()
		if err != nil {
			b.Fatal(err)
		}
		waiting = 0
		for line := range strings.Lines(list) {
			if strings.Contains(line, "name=yardstick") && strings.Contains(line, "flags=b") {
				waiting++
			}
		}
	}
	begun, last := time.Now(), time.Time{}
	if err := client.XAdd(ctx, &redis.XAddArgs{Stream: "yardstick", MaxLen: 10, Values: []string{"a", "b"}}).Err(); err != nil {
		b.Fatal(err)
	}
	for range readers {
		if at := <-arrived; at.After(last) {
			last = at
		}
	}
	return last.Sub(begun)
}

// BenchmarkThousandVerifiers revokes keys while a thousand verifiers follow over
// Redis, all of them in this process. One op is one revocation.
func BenchmarkThousandVerifiers(b *testing.B) {
	h := newHouse(b)
	h.redis = redistest.New(b)
	s := h.start(0)
	follower := s.key("operator", keys.Access{Scopes: []string{keys.FeedScope}})
	const verifiers = 1000
	apis := make([]*apiVerifier, verifiers)
	for i := range apis {
		apis[i] = s.startVerifier(follower, s.redisFeed(follower, "api", 0, s.redis.Address(), ""))
	}
	for _, api := range apis {
		s.waitReady(api)
	}
	var whole []time.Duration
	confirmed := 0
	for b.Loop() {
		c := s.demoKey()
		begun := time.Now()
		_, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
		whole = append(whole, time.Since(begun))
		if err != nil || receipt.Total != verifiers+1 {
			b.Fatalf("%+v, %v", receipt, err)
		}
		if receipt.State == keys.Confirmed {
			confirmed++
		}
	}
	slices.Sort(whole)
	b.ReportMetric(float64(whole[len(whole)/2].Milliseconds()), "whole-p50-ms")
	b.ReportMetric(float64(whole[len(whole)-1].Milliseconds()), "whole-max-ms")
	b.ReportMetric(100*float64(confirmed)/float64(len(whole)), "%-confirmed")
}

// BenchmarkIdleVerifier counts what a verifier with the default lease costs Redis
// when nothing happens: the commands that Redis executes in ten seconds, those
// inside of scripts too, with fifty verifiers and with none.
func BenchmarkIdleVerifier(b *testing.B) {
	const verifiers, seconds = 50, 10
	h := newHouse(b)
	h.redis = redistest.New(b)
	s := h.start(0)
	client := h.redis.Client()
	defer client.Close()
	spent := func() int {
		count := func() (n int) {
			info, err := client.Info(context.Background(), "commandstats").Result()
			if err != nil {
				b.Fatal(err)
			}
			for line := range strings.Lines(info) {
				if _, calls, ok := strings.Cut(line, "calls="); ok {
					text, _, _ := strings.Cut(calls, ",")
					c, _ := strconv.Atoi(text)
					n += c
				}
			}
			return n
		}
		before := count()
		<-time.After(seconds * time.Second)
		return count() - before
	}
	s.manyKeys()
	alone := spent()
	for i := range verifiers {
		s.followRedis(fmt.Sprint("api ", i), 0, s.redis.Address())
	}
	for b.Loop() {
		b.ReportMetric(float64(spent()-alone)/(verifiers*seconds), "commands/s")
	}
}

// BenchmarkRebuild empties Redis while a million cuts are live: the time until a
// revocation is confirmed again by those who followed, and until a verifier that
// begins anew is ready. One op is both.
func BenchmarkRebuild(b *testing.B) {
	h := newHouse(b)
	h.redis = redistest.New(b)
	s := h.start(0)
	db, err := sql.Open("sqlite", filepath.Join(h.dir, "imara.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	s.stop()
	for _, statement := range []string{
		`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
		 INSERT INTO log (seq, subject, kind, terminal, head, at, until, actor, reason, confirmed_at, state, confirmed, total, waited_us)
		 SELECT feed.seq + i, 'c:imara_ci_' || printf('%020d', i), 'cut', false, i, ` + now() + `, ` + now() + ` + 3600000000, '', '', 1, 'confirmed', 1, 1, 1 FROM n, feed`,
		`UPDATE feed SET seq = seq + 1000000`,
	} {
		if _, err := db.Exec(statement); err != nil {
			b.Fatal(err)
		}
	}
	s = h.start(0)
	s.followRedis("api", 0, s.redis.Address())
	var again, fresh time.Duration
	for b.Loop() {
		c := s.demoKey()
		begun := time.Now()
		h.redis.Do("FLUSHALL")
		if _, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, ""); err != nil || receipt.State != keys.Confirmed {
			b.Fatalf("%+v, %v", receipt, err)
		}
		again = time.Since(begun)
		s.followRedis("new", 0, s.redis.Address())
		fresh = time.Since(begun) - again
	}
	b.ReportMetric(again.Seconds(), "s-confirmed-again")
	b.ReportMetric(fresh.Seconds(), "s-new-verifier")
}

func now() string { return strconv.FormatInt(time.Now().UnixMicro(), 10) }

// BenchmarkJoin is what a join of a verifier of one algorithm costs the server in time
// of its processor, from the first request to the snapshot. What the verifier does is
// not in it, nor is the wait for the disk.
func BenchmarkJoin(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	busy := func() time.Duration {
		const thread = 1 // RUSAGE_THREAD of Linux
		var u syscall.Rusage
		if err := syscall.Getrusage(thread, &u); err != nil {
			b.Skip(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	s := newHouse(b).start(0)
	c := s.candidate()
	handler := s.Handler()
	var spent time.Duration
	serve := func(join httpfeed.Join) []byte {
		body, err := json.Marshal(join)
		if err != nil {
			b.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/feed/sessions", bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+c.token)
		w := httptest.NewRecorder()
		begun := busy()
		handler.ServeHTTP(w, r)
		spent += busy() - begun
		return w.Body.Bytes()
	}
	for b.Loop() {
		join := asJoin()
		var asked httpfeed.Examined
		if err := json.Unmarshal(serve(join), &asked); err != nil {
			b.Fatal(err)
		}
		join.Ticket = asked.Examination.Ticket
		var err error
		if join.Verdicts, err = asked.Examination.Answer(leaseOf(join)); err != nil {
			b.Fatal(err)
		}
		serve(join)
	}
	if e := s.Examinations(); e.Failed > 0 || e.Passed < uint64(b.N) {
		b.Fatalf("%+v", e)
	}
	b.ReportMetric(float64(spent.Microseconds())/1000/float64(b.N), "cpu-ms/join")
}
