//go:build unix

package authz

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// before is a network to a server from before there were examinations: it knows nothing
// of what the join says besides, and takes no long one.
type before struct {
	*http.Transport
	joins, refused atomic.Int64
	// replica, unless nil, is one of the next version, which gets the joins that are
	// to be examined and not their verdicts.
	replica *atomic.Bool
}

func (b *before) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost || r.URL.Path != "/feed/sessions" {
		return b.Transport.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	b.joins.Add(1)
	var join httpfeed.Join
	if err := json.Unmarshal(body, &join); err != nil {
		return nil, err
	}
	if join.Ticket != "" {
		b.refused.Add(1)
		b.replica.Store(false)
		w := httptest.NewRecorder()
		w.WriteHeader(http.StatusBadRequest) // its limit is 4 KiB
		return w.Result(), nil
	}
	if b.replica == nil || !b.replica.Load() {
		body = fmt.Appendf(nil, `{"name":%q,"lease_ms":%d,"over":%q}`, join.Name, join.LeaseMS, join.Over)
	}
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return b.Transport.RoundTrip(r)
}

// TestVerifierAtAServerFromBeforeThereWereExaminations joins at once, and its
// confirmations are true; also where a proxy gives one of its two requests to a replica
// that was upgraded already.
func TestVerifierAtAServerFromBeforeThereWereExaminations(t *testing.T) {
	for name, network := range map[string]*before{
		"before":             {Transport: &http.Transport{}},
		"during the upgrade": {Transport: &http.Transport{}, replica: &atomic.Bool{}},
	} {
		if network.replica != nil {
			network.replica.Store(true)
		}
		s := newHouse(t).start(0)
		api := s.followWith("api", 0, network)
		if got := s.unproved(); !slices.Equal(got, []string{"api 1  [protocol]"}) {
			t.Errorf("%s: %v", name, got)
		}
		c := s.demoKey()
		receipt, _ := race(t, []*apiVerifier{api}, s.token(c), func() (keys.Key, keys.Receipt, error) {
			return s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
		})
		if receipt.State != keys.Confirmed || receipt.Total != 2 {
			t.Errorf("%s: %+v", name, receipt)
		}
		stored, err := s.sql.Receipt(context.Background(), receipt.Position)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ShowReceiptMembers(stored).Members {
			if m.Unproved != (m.Name == "api") {
				t.Errorf("%s: the receipt says of %s unproved: %t", name, m.Name, m.Unproved)
			}
		}
		wantJoins, wantRefused := int64(1), int64(0)
		if network.replica != nil {
			wantJoins, wantRefused = 3, 1
		}
		if network.joins.Load() != wantJoins || network.refused.Load() != wantRefused {
			t.Errorf("%s: %d joins, %d refused", name, network.joins.Load(), network.refused.Load())
		}
	}
}

// TestVerifierOverRedisIsExaminedAsOverHTTP: and one from before is marked or refused.
func TestVerifierOverRedisIsExaminedAsOverHTTP(t *testing.T) {
	h := newRedisHouse(t)
	s := h.start(0)
	s.followRedis("ours", 0, s.redis.Address())
	old := s.candidate()
	const join = `{"name":"old","lease_ms":10000,"over":"redis"}`
	if a := old.sends("POST", "/feed/sessions", join); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
	list := s.followers()
	if len(list) != 2 || list[0].Via != viaRedis || list[0].Unproved != "" ||
		list[1].Via != viaRedis || list[1].Examined() {
		t.Errorf("%+v", list)
	}
	s.stop()
	h.requireProof = true
	s = h.start(0)
	s.followRedis("ours again", 0, s.redis.Address())
	if a := s.candidate().sends("POST", "/feed/sessions", join); a.status != 426 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
