package authz

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkStrangers compares the time of a refusal for an unknown client with
// that for a known one and a wrong secret, interleaved: what differs is
// the median in percent.
func BenchmarkStrangers(b *testing.B) {
	s := newHouse(b).start(0)
	c, other := s.demoKey(), s.demoKey()
	s.token(c)
	pairs := [2][2]string{{c.Key.ClientID, other.Secret.Reveal()}, {"imara_ci_00000000000000000000", other.Secret.Reveal()}}
	handler := s.Handler()
	var samples [2][]time.Duration
	for b.Loop() {
		for i, pair := range pairs {
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
