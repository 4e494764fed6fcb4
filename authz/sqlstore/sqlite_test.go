package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
)

func openDir(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenSQLite(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSQLite(t *testing.T) {
	keystest.Run(t, func(t *testing.T) keys.Store { return openDir(t, t.TempDir()) })
}

// TestSecondProcessIsRefused: the second opener may be a process of its own or
// this one; the lock belongs to the open file.
func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	first := openDir(t, dir)
	if _, err := OpenSQLite(t.Context(), dir); !errors.Is(err, ErrLocked) {
		t.Errorf("second: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	openDir(t, dir)
}

func TestDamagedDatabaseIsRefused(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"not a database": func(path string) error { return os.WriteFile(path, []byte("hello, I am not a database at all"), 0o600) },
		"truncated":      func(path string) error { return os.Truncate(path, 8192) },
		"scribbled": func(path string) error {
			data, err := os.ReadFile(path)
			for i := 4096; i < len(data)-64; i += 97 {
				data[i] ^= 0xff
			}
			return errors.Join(err, os.WriteFile(path, data, 0o600))
		},
	} {
		dir := t.TempDir()
		if err := openDir(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
		if err := damage(filepath.Join(dir, "imara.db")); err != nil {
			t.Fatal(err)
		}
		if s, err := OpenSQLite(t.Context(), dir); err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		}
	}
}

// TestServersEndWithTheirProcess: the next holder of the lock removes them
// and nobody else's.
func TestServersEndWithTheirProcess(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	for _, session := range []keys.Session{{ID: "server", Via: "server", Lease: time.Second}, {ID: "remote", Via: "server", Lease: time.Second}} {
		if err := s.Join(t.Context(), session, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	sessions, err := openDir(t, dir).Sessions(t.Context())
	if err != nil || len(sessions) != 1 || sessions[0].ID != "remote" {
		t.Errorf("%v, %v", sessions, err)
	}
}

// TestFullOrReadOnlyDatabaseChangesNothing: the error is ErrUnavailable, and what
// was there is there.
func TestFullOrReadOnlyDatabaseChangesNothing(t *testing.T) {
	for name, pragma := range map[string][2]string{
		"full":      {"PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000"},
		"read-only": {"PRAGMA query_only = 1", "PRAGMA query_only = 0"},
	} {
		s := openDir(t, t.TempDir())
		ctx := t.Context()
		if _, err := s.CreateOrganization(ctx, keys.Organization{ID: "org", Name: "Acme", Plan: "Starter"}, keys.Entry{}); err != nil {
			t.Fatal(err)
		}
		before, err := s.Read(ctx, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		exec := func(statement string) {
			if _, err := s.write.ExecContext(ctx, statement); err != nil {
				t.Fatal(err)
			}
		}
		exec(pragma[0])
		var failed error
		k := keys.Key{OrganizationID: "org", CreatedAt: time.Now()}
		for i := 0; failed == nil && i < 2000; i++ {
			k.ID, k.ClientID, k.Name = "key"+time.Now().String(), "client"+time.Now().String(), "name"+time.Now().String()
			_, failed = s.CreateKey(ctx, k, keys.Entry{Kind: tokens.Touch, Subject: "c:x"}, func(keys.Organization, int, *keys.Entry) error { return nil })
			if failed == nil {
				before.Tip++
			}
		}
		if !errors.Is(failed, keys.ErrUnavailable) {
			t.Errorf("%s: %v", name, failed)
		}
		if _, err := s.Key(ctx, "org", k.ID); !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("%s: half a key is there: %v", name, err)
		}
		if after, err := s.Read(ctx, 0, 1); err != nil || after.Tip != before.Tip {
			t.Errorf("%s: tip %d, %v, want %d", name, after.Tip, err, before.Tip)
		}
		exec(pragma[1])
		if _, err := s.CreateKey(ctx, k, keys.Entry{Kind: tokens.Touch, Subject: "c:x"}, func(keys.Organization, int, *keys.Entry) error { return nil }); err != nil {
			t.Errorf("%s: after it is over: %v", name, err)
		}
	}
}

// TestDeletedDatabaseIsNotWrittenTo: what went there would be gone with the process.
func TestDeletedDatabaseIsNotWrittenTo(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	entry := keys.Entry{Kind: tokens.Cut, Subject: "c:1"}
	if _, err := s.Append(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "imara.db"), filepath.Join(dir, "gone.db")); err != nil {
		t.Fatal(err)
	}
	_, write := s.Append(t.Context(), entry)
	_, read := s.Read(t.Context(), 0, 1)
	for what, err := range map[string]error{"write": write, "read": read, "ping": s.Ping(t.Context())} {
		if !errors.Is(err, keys.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestStoreThatIsTooSlowIsUnavailable: a change that does not get the database in time, or
// not all of what it asks, is refused as such, whatever the driver says of it.
func TestStoreThatIsTooSlowIsUnavailable(t *testing.T) {
	t.Parallel()
	s := openDir(t, t.TempDir())
	slow, queued := make(chan error, 1), make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		_, err := s.change(t.Context(), func(tx *sql.Tx) (keys.Commit, error) {
			close(begun)
			for {
				if err := tx.QueryRow(`SELECT 1`).Scan(new(int)); err != nil {
					return keys.Commit{}, err
				}
			}
		})
		slow <- err
	}()
	<-begun
	go func() {
		_, err := s.Append(t.Context(), keys.Entry{Kind: tokens.Cut, Subject: "c:1"})
		queued <- err
	}()
	if err := <-slow; !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("a slow change: %v", err)
	}
	if err := <-queued; err != nil && !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("the one that queued: %v", err)
	}
}

// TestPositionsBeginAtRandom: the first token does not tell that it is the first.
func TestPositionsBeginAtRandom(t *testing.T) {
	tip := func() uint64 {
		page, err := openDir(t, t.TempDir()).Read(context.Background(), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		return page.Tip
	}
	if a, b := tip(), tip(); a == b || a == 0 || b == 0 {
		t.Errorf("%d and %d", a, b)
	}
}

// TestSchemaIsReopenedAsItIs: a second start neither migrates nor begins anew.
func TestSchemaIsReopenedAsItIs(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	commit, err := s.Append(t.Context(), keys.Entry{Kind: tokens.Cut, Subject: "c:1"})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	page, err := openDir(t, dir).Read(t.Context(), commit.Position-1, 10)
	if err != nil || len(page.Entries) != 1 || page.Tip != commit.Position {
		t.Errorf("%+v, %v", page, err)
	}
}

// TestSessionOfAServerFromBeforeWasNotExamined: one that runs on this schema during an
// upgrade stores what it knows.
func TestSessionOfAServerFromBeforeWasNotExamined(t *testing.T) {
	s := openDir(t, t.TempDir())
	_, err := s.write.ExecContext(t.Context(),
		`INSERT INTO sessions (id, name, client_id, via, lease_us, accept_stale_us, joined_at, applied, beat) VALUES ('ver_old', 'old', 'client', 'ver_server', 10000000, 0, 1, 0, 0)`)
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := s.Sessions(t.Context())
	if err != nil || len(sessions) != 1 || sessions[0].Protocol != 1 || sessions[0].Examined() || sessions[0].Implementation != "" {
		t.Errorf("%+v, %v", sessions, err)
	}
}
