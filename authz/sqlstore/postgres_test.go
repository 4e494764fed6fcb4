//go:build unix

package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/authz/sqlstore/sqlstoretest"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
)

func TestMain(m *testing.M) {
	if task := os.Getenv(mortalVariable); task != "" {
		if err := migrateUntilKilled(task); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	sqlstoretest.Stop()
	os.Exit(code)
}

func openURL(t *testing.T, url string) *Store {
	t.Helper()
	s, err := OpenPostgres(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestPostgres(t *testing.T) {
	keystest.Run(t, func(t *testing.T) keys.Store { return openURL(t, sqlstoretest.URL(t)) })
}

// TestLimitIsExactOverThreeReplicas: 40 creators, three stores, one database, in
// ten rounds.
func TestLimitIsExactOverThreeReplicas(t *testing.T) {
	url := sqlstoretest.URL(t)
	replicas := []*Store{openURL(t, url), openURL(t, url), openURL(t, url)}
	full := errors.New("full")
	for round := range 10 {
		org := fmt.Sprint("org", round)
		if _, err := replicas[0].CreateOrganization(t.Context(), keys.Organization{ID: org, Name: "x", Plan: "x"}, keys.Entry{}); err != nil {
			t.Fatal(err)
		}
		var made atomic.Int64
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				k := keys.Key{ID: fmt.Sprint(org, "key", i), ClientID: fmt.Sprint(org, "client", i), Name: fmt.Sprint(i), OrganizationID: org, CreatedAt: time.Now()}
				_, err := replicas[i%3].CreateKey(context.Background(), k, keys.Entry{Kind: tokens.Touch, Subject: "c:x"}, func(_ keys.Organization, active int, _ *keys.Entry) error {
					if active >= 5 {
						return full
					}
					return nil
				})
				if err == nil {
					made.Add(1)
				} else if !errors.Is(err, full) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if made.Load() != 5 {
			t.Errorf("round %d: %d made, want 5", round, made.Load())
		}
	}
}

// TestReplicasMayMigrateAtOnce: eight servers start on an empty database.
func TestReplicasMayMigrateAtOnce(t *testing.T) { openAtOnce(t, sqlstoretest.URL(t), 8) }

// openAtOnce opens a database from as many servers as are said.
func openAtOnce(t *testing.T, url string, servers int) {
	t.Helper()
	var all sync.WaitGroup
	for range servers {
		all.Go(func() {
			s, err := OpenPostgres(context.Background(), url)
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		})
	}
	all.Wait()
}

// TestBetweenTablesAndFirstRowIsNoStandby: a server that starts while another has made
// the tables and not yet begun the log, starts.
func TestBetweenTablesAndFirstRowIsNoStandby(t *testing.T) {
	url := sqlstoretest.URL(t)
	s, err := OpenPostgres(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.write.ExecContext(t.Context(), `DELETE FROM feed`); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err == nil || errors.Is(err, errStandby) {
		t.Errorf("without the row: %v", err)
	}
	other, err := OpenPostgres(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestVersionRunsOnTheNextSchema: a newer server has migrated; this one starts
// and works.
func TestVersionRunsOnTheNextSchema(t *testing.T) {
	p := sqlstoretest.New(t)
	url := p.Database(t, "next")
	openURL(t, url)
	p.Exec("next", `ALTER TABLE keys ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'`)
	p.Exec("next", `CREATE TABLE later (id TEXT PRIMARY KEY)`)
	p.Exec("next", `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`)
	s := openURL(t, url)
	if _, err := s.CreateOrganization(t.Context(), keys.Organization{ID: "org", Name: "x", Plan: "x"}, keys.Entry{}); err != nil {
		t.Fatal(err)
	}
	k := keys.Key{ID: "key", ClientID: "client", Name: "x", OrganizationID: "org", CreatedAt: time.Now()}
	if _, err := s.CreateKey(t.Context(), k, keys.Entry{Kind: tokens.Touch, Subject: "c:x"}, func(keys.Organization, int, *keys.Entry) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Record(t.Context(), "client", ""); err != nil {
		t.Fatal(err)
	}
}

// TestStandbyIsRefused: at the start, and when a primary turns into one.
func TestStandbyIsRefused(t *testing.T) {
	p := sqlstoretest.New(t, "wal_level=replica")
	url := p.Database(t, "main")
	s := openURL(t, url)
	standby := p.Standby()
	if _, err := OpenPostgres(t.Context(), standby.URL("main")); !errors.Is(err, keys.ErrUnavailable) || !strings.Contains(err.Error(), "read only") {
		t.Errorf("a standby: %v", err)
	}
	// A store whose connections are to a standby all the same answers nothing.
	behind := &Store{read: s.read, write: s.write, classify: classifyPostgres, present: s.present,
		primary: " AND pg_is_in_recovery()", columns: s.columns}
	if _, err := behind.Read(t.Context(), 0, 1); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("read: %v", err)
	}
	if err := behind.Ping(t.Context()); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("ping: %v", err)
	}
	standby.Promote()
	promoted := openURL(t, standby.URL("main"))
	if err := promoted.Ping(t.Context()); err != nil {
		t.Errorf("promoted: %v", err)
	}
}

// TestServerTroubleIsUnavailable: killed, restarted, read-only, without
// connections: an error that says so, and nothing half-made; then all is well.
func TestServerTroubleIsUnavailable(t *testing.T) {
	p := sqlstoretest.New(t)
	s := openURL(t, p.Database(t, "trouble"))
	try := func() error {
		_, err := s.Append(t.Context(), keys.Entry{Kind: tokens.Cut, Subject: "c:x"})
		return err
	}
	if err := try(); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := try(); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("killed: %v", err)
	}
	if _, err := s.Read(t.Context(), 0, 1); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("read from a killed server: %v", err)
	}
	p.Start()
	if err := try(); err != nil {
		t.Errorf("started again: %v", err)
	}
	p.Exec("postgres", `ALTER SYSTEM SET default_transaction_read_only = on`)
	p.Exec("postgres", `SELECT pg_reload_conf()`)
	eventually(t, "read-only", func() bool { return errors.Is(try(), keys.ErrUnavailable) })
	p.Exec("postgres", `ALTER SYSTEM RESET default_transaction_read_only`)
	p.Exec("postgres", `SELECT pg_reload_conf()`)
	eventually(t, "writable", func() bool { return try() == nil })
}

// TestLockedTableEndsInTime: a statement waits two seconds and no longer (F-12).
func TestLockedTableEndsInTime(t *testing.T) {
	url := sqlstoretest.URL(t)
	s := openURL(t, url)
	tx, err := s.write.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE log IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(t.Context(), 0, 1); !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// TestGaveWayIsTriedAgain: two changes that deadlock both happen.
func TestGaveWayIsTriedAgain(t *testing.T) {
	s := openURL(t, sqlstoretest.URL(t))
	for _, id := range []string{"a", "b"} {
		if _, err := s.CreateOrganization(t.Context(), keys.Organization{ID: id, Name: "x", Plan: "0"}, keys.Entry{}); err != nil {
			t.Fatal(err)
		}
	}
	var both sync.WaitGroup
	arrived := make(chan struct{}, 2)
	meet := sync.OnceFunc(func() { <-arrived; <-arrived; close(arrived) })
	for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
		both.Go(func() {
			first := true
			_, err := s.change(t.Context(), func(tx *sql.Tx) (keys.Commit, error) {
				for i, id := range pair {
					if _, err := tx.Exec(`UPDATE organizations SET plan = plan || '+' WHERE id = $1`, id); err != nil {
						return keys.Commit{}, err
					}
					if i == 0 && first {
						first = false
						arrived <- struct{}{}
						meet()
					}
				}
				return appendEntry(t.Context(), tx, keys.Entry{Kind: tokens.Touch, Subject: "o:x"})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	for _, id := range []string{"a", "b"} {
		if o, err := s.Organization(t.Context(), id); err != nil || o.Plan != "0++" {
			t.Errorf("%s: %q, %v", id, o.Plan, err)
		}
	}
}

// TestLostAnswerToACommitIsFoundOut: the connection dies at COMMIT. If it took
// effect, the caller hears so; if not, that.
func TestLostAnswerToACommitIsFoundOut(t *testing.T) {
	p := sqlstoretest.New(t)
	url := p.Database(t, "lost")
	s := openURL(t, url)
	proxy := newCommitProxy(t, p.Address())
	lossy := openURL(t, strings.Replace(url, p.Address(), proxy.address, 1))
	for i := range 40 {
		before, err := s.Read(t.Context(), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		forwarded := i%2 == 0
		proxy.arm(forwarded)
		commit, err := lossy.Append(t.Context(), keys.Entry{Kind: tokens.Cut, Subject: "c:x"})
		after, e := s.Read(t.Context(), 0, 1)
		if e != nil {
			t.Fatal(e)
		}
		happened := after.Tip > before.Tip
		switch {
		case !proxy.fired.Load():
			t.Fatal("the proxy saw no COMMIT")
		case happened != forwarded:
			t.Fatalf("round %d: happened %v, forwarded %v", i, happened, forwarded)
		case happened && (err != nil || commit.Position != after.Tip):
			t.Errorf("round %d: it happened, and the caller heard %v", i, err)
		case !happened && !errors.Is(err, keys.ErrUnavailable):
			t.Errorf("round %d: it did not happen, and the caller heard %v", i, err)
		}
	}
}

// TestCommitThatNoStandbyHasIsNotAcknowledged: the server that must have each
// commit does not answer, and the connection that waits for it is ended. The row is
// there, and might be lost: no caller hears that it is safe.
func TestCommitThatNoStandbyHasIsNotAcknowledged(t *testing.T) {
	p := sqlstoretest.New(t)
	s := openURL(t, p.Database(t, "sync"))
	p.Exec("postgres", `ALTER SYSTEM SET synchronous_standby_names = 'nobody'`)
	p.Exec("postgres", `SELECT pg_reload_conf()`)
	done := make(chan error, 1)
	appendOne := func() {
		_, err := s.Append(context.Background(), keys.Entry{Kind: tokens.Cut, Subject: "c:x"})
		done <- err
	}
	go appendOne()
	for waits, ended := false, false; !ended; {
		select {
		case err := <-done:
			switch {
			case errors.Is(err, keys.ErrUnavailable):
				ended = true
			case err == nil && !waits: // the setting had not reached its connection
				go appendOne()
			default:
				t.Fatalf("its wait was ended, and the caller heard %v", err)
			}
		default:
			waits = p.Count("postgres", `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`) > 0 || waits
		}
	}
	p.Exec("postgres", `ALTER SYSTEM RESET synchronous_standby_names`)
	p.Exec("postgres", `SELECT pg_reload_conf()`)
	eventually(t, "it commits again", func() bool {
		_, err := s.Append(context.Background(), keys.Entry{Kind: tokens.Cut, Subject: "c:y"})
		return err == nil
	})
}

// TestUnsafeConnectionsAreRefused: before anything is sent, and without the
// password in the error.
func TestUnsafeConnectionsAreRefused(t *testing.T) {
	for _, url := range []string{
		"postgres://u:hunter2@db.example.com/x", "postgres://u:hunter2@db.example.com/x?sslmode=disable", "postgres://u:hunter2@db.example.com/x?sslmode=prefer",
		"postgres://u:hunter2@db.example.com/x?sslmode=require", "postgres://u:hunter2@127.0.0.1,db.example.com/x?sslmode=disable",
		"postgres://u:hunter2@127.0.0.1/x?default_query_exec_mode=simple_protocol", "postgres://u:hunter2@127.0.0.1:port/x", "mysql://u:hunter2@127.0.0.1/x",
	} {
		if _, err := OpenPostgres(t.Context(), url); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "database URL") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}
