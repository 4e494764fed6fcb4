//go:build linux

package main

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// BenchmarkPanel measures the pages of an organisation with 20 keys and a month of
// usage, over HTTP, as a signed-in owner sees them; the slowest of them counts.
func BenchmarkPanel(b *testing.B) {
	s := newAPIServer(b, 1000)
	ctx, program := context.Background(), keys.Program("bench")
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	_, err := s.registry.AddMember(ctx, program, keys.Member{OrganizationID: "org", Name: "Ann", Email: "ann@example.com", Role: keys.Owner, AcceptedAt: time.Now()})
	must(err)
	token, _, err := s.registry.NewLink(ctx, program, "ann@example.com", "")
	must(err)
	session, err := s.registry.UseLink(ctx, program, token, "correct horse battery staple")
	must(err)
	if _, err := s.registry.CreateOrganization(ctx, program, keys.Organization{ID: keys.OperatorOrganization, Name: "Operator", Plan: "Enterprise", Operator: true}); err != nil && !errors.Is(err, keys.ErrExists) {
		b.Fatal(err)
	}
	_, err = s.registry.AddMember(ctx, program, keys.Member{OrganizationID: keys.OperatorOrganization, Name: "Ann", Email: "ann@example.com", Role: keys.Staff, AcceptedAt: time.Now()})
	must(err)
	list, err := s.registry.Keys(ctx, "org", keys.Page{})
	must(err)
	usage := keys.Usage{Counts: map[keys.Tally]int64{}}
	for _, k := range list {
		for hour := range 30 * 24 {
			usage.Counts[keys.Tally{KeyID: k.ID, Hour: time.Now().UTC().Truncate(time.Hour).Add(-time.Duration(hour) * time.Hour), Outcome: keys.Issued}] = 10
		}
	}
	must(s.registry.AddUsage(ctx, usage))
	slowest := 0.0
	key := "o/org/keys/" + list[0].ID
	for _, path := range []string{"o/org/keys", "o/org/keys/new", key, key + "/edit", key + "/rotate", key + "/revoke", "o/org/keys/review", "o/org/keys/usage", "o/org/members", "o/org/audit", "o/org/policy",
		"o/org/plan", "o/org/token", "account", "admin/orgs", "admin/orgs/org", "admin/resources", "admin/presets", "admin/signing-keys", "admin/verifiers", "admin/health"} {
		r, err := http.NewRequest("GET", authz.PanelURL(s.url)+path, nil)
		must(err)
		r.AddCookie(&http.Cookie{Name: "__Host-imara", Value: session})
		begun, n := time.Now(), 20*b.N
		for range n {
			response, err := http.DefaultTransport.RoundTrip(r)
			must(err)
			response.Body.Close()
			if response.StatusCode != 200 {
				b.Fatalf("%s: %d", path, response.StatusCode)
			}
		}
		each := float64(time.Since(begun).Microseconds()) / float64(n) / 1000
		b.Logf("%s: %.2f ms", path, each)
		slowest = max(slowest, each)
	}
	b.ReportMetric(slowest, "ms/slowest-page")
}
