//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
)

// apiServer is the whole server in this process, on a database with count keys of
// other organisations, and a client of its API that may do everything.
type apiServer struct {
	*program
	b      *testing.B
	url    string
	bearer string
}

// crowd fills a database with count keys, 20 to an organisation.
const crowd = `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < $1 - 1) `

func newAPIServer(b *testing.B, count int) *apiServer {
	b.Helper()
	ctx, dir := context.Background(), b.TempDir()
	empty, err := sqlstore.OpenSQLite(ctx, dir)
	if err != nil {
		b.Fatal(err)
	}
	empty.Close()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "imara.db"))
	if err != nil {
		b.Fatal(err)
	}
	for _, statement := range []string{
		`INSERT INTO organizations (id, name, plan, operator, created_at) SELECT 'org_' || i, 'x', 'Enterprise', FALSE, 1 FROM n WHERE i % 20 = 0`,
		`INSERT INTO keys (id, organization_id, client_id, name, name_key, owner_id, scopes, resources, created_at, expires_at, suspended_at, revoked_at, revoked_reason, revoked_position)
		 SELECT 'key_' || i, 'org_' || (i - i % 20), 'client_' || i, 'Key ' || i, 'key ' || i, '', 'alerts:read', 'https://api.example.com', i, 0, 0, 0, '', 0 FROM n`,
		`INSERT INTO credentials (id, key_id, hint, mac, pepper, created_at, ends_at, last_used_at) SELECT 'c' || i, 'key_' || i, 'abcd', x'00', 1, i, 0, i FROM n`,
	} {
		if _, err := db.ExecContext(ctx, crowd+statement, count); err != nil {
			b.Fatal(err)
		}
	}
	db.Close()
	listening := httptest.NewUnstartedServer(nil)
	s := &apiServer{b: b, url: "http://" + listening.Listener.Addr().String()}
	logger := slog.New(slog.DiscardHandler)
	master := filepath.Join(b.TempDir(), "master.key")
	if err := writeFile(master, []byte(base64.StdEncoding.EncodeToString([]byte(rand.Text() + rand.Text())[:32]))); err != nil {
		b.Fatal(err)
	}
	s.program, err = open(ctx, serveFlags{issuer: s.url, data: dir, masterKeyFile: master}, logger)
	if err != nil {
		b.Fatal(err)
	}
	background, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.server.Run(background) }()
	b.Cleanup(func() { listening.Close(); stop(); <-done; s.store.Close() })
	if err := s.prepare(ctx); err != nil {
		b.Fatal(err)
	}
	handler, err := s.handler()
	if err != nil {
		b.Fatal(err)
	}
	listening.Config.Handler = web.Log(logger, handler)
	listening.Start()
	for _, o := range []keys.Organization{{ID: "org", Name: "Acme", Plan: "Enterprise"}, {ID: "staff", Name: "Staff", Plan: "Enterprise", Operator: true}} {
		if _, err := s.registry.CreateOrganization(ctx, keys.Program("bench"), o); err != nil {
			b.Fatal(err)
		}
	}
	many := 1 << 20
	if _, err := s.registry.SetLimit(ctx, keys.Program("bench"), "org", &many, "bench"); err != nil {
		b.Fatal(err)
	}
	operator, err := s.registry.Create(ctx, keys.Program("bench"), "staff", keys.NewKey{Name: "bench", Access: keys.Access{Scopes: []string{"keys:read", "keys:write", "operator"}}})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 20 {
		s.create(fmt.Sprint("first ", i))
	}
	s.bearer, _ = (&child{t: b, url: s.url}).tokenFor(operator.Key.ClientID, operator.Secret.Reveal())
	return s
}

// create makes a key without the API.
func (s *apiServer) create(name string) {
	if _, err := s.registry.Create(context.Background(), keys.Program("bench"), "org", keys.NewKey{Name: name, Access: keys.Access{Scopes: []string{"keys:read"}}}); err != nil {
		s.b.Fatal(err)
	}
}

// revokeAll leaves the organisation without an active key.
func (s *apiServer) revokeAll() {
	list, err := s.registry.Keys(context.Background(), "org", keys.Page{Status: keys.Active})
	if err != nil {
		s.b.Fatal(err)
	}
	for _, k := range list {
		if _, _, err := s.registry.Revoke(context.Background(), keys.Program("bench"), "org", k.ID, ""); err != nil {
			s.b.Fatal(err)
		}
	}
}

func (s *apiServer) call(method, path, body string, status int) {
	r, err := http.NewRequest(method, s.url+"/v1/orgs/org/keys"+path, strings.NewReader(body))
	if err != nil {
		s.b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.bearer)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.b.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != status {
		s.b.Fatalf("%d %s, %v", response.StatusCode, text, err)
	}
}

func median(list []time.Duration) float64 {
	slices.Sort(list)
	return float64(list[len(list)/2].Nanoseconds())
}

// timed adds how long f took to a list.
func timed(list *[]time.Duration, f func()) {
	begun := time.Now()
	f()
	*list = append(*list, time.Since(begun))
}

// BenchmarkListKeys lists the 20 keys of an organisation over the API, among a
// thousand keys and among a million, in turns.
func BenchmarkListKeys(b *testing.B) {
	few, many := newAPIServer(b, 1000), newAPIServer(b, 1_000_000)
	var among, amongMany []time.Duration
	for b.Loop() {
		for range 100 {
			for _, path := range []string{"", "?sort=-last_used_at", "?sort=name&status=active"} {
				timed(&among, func() { few.call("GET", path, "", 200) })
				timed(&amongMany, func() { many.call("GET", path, "", 200) })
			}
		}
	}
	b.ReportMetric(median(amongMany)/median(among), "x-thousand")
	b.ReportMetric(median(amongMany)/1000, "us/list")
}

// BenchmarkCreateKey creates keys over the API, without it, and the same rows in the
// store itself, in turns.
func BenchmarkCreateKey(b *testing.B) {
	s := newAPIServer(b, 1000)
	var whole, create, insert []time.Duration
	n := 0
	for b.Loop() {
		for range 100 {
			if n++; n > 1 && n%7 == 1 { // an organisation of the usual size
				s.revokeAll()
			}
			timed(&whole, func() {
				s.call("POST", "", fmt.Sprintf(`{"name":"number %d","scopes":["keys:read"]}`, n), 201)
			})
			timed(&create, func() { s.create(fmt.Sprint("registry ", n)) })
			k := keys.Key{ID: fmt.Sprint("direct_", n), OrganizationID: "org", ClientID: fmt.Sprint("direct", n), Name: fmt.Sprint("direct ", n),
				Access: keys.Access{Scopes: []string{"keys:read"}, Resources: []string{authz.ManagementAudience(s.issuer)}}, CreatedAt: time.Now(),
				Credentials: []keys.Credential{{ID: fmt.Sprint("direct", n), Hint: "abcd", MAC: make([]byte, 32), Pepper: 1, CreatedAt: time.Now()}}}
			entry := keys.Entry{Kind: "touch", Subject: "c:x", Actor: keys.Program("bench"), OrganizationID: "org", Action: "key.create", Target: k.ID}
			timed(&insert, func() {
				if _, err := s.store.CreateKey(context.Background(), k, entry, func(keys.Organization, int, *keys.Entry) error { return nil }); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
	b.ReportMetric(median(create)/median(insert), "x-store")
	b.ReportMetric(median(whole)/median(insert), "x-store-over-http")
	b.ReportMetric(median(whole)/1000, "us/create")
}
