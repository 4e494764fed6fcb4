package sqlstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
)

// TestAuditNamesTheFirstBadRow: whatever is done to the table, the check of the
// chain names the event; what was signed before cannot be written anew.
func TestAuditNamesTheFirstBadRow(t *testing.T) {
	for name, row := range map[string]struct {
		harm string // of the fifth event of org at $1, between others at $2 and $3
		bad  int    // which event is named, from the fifth
	}{
		"nothing":              {`SELECT 1 WHERE $1 = $1 OR $2 = $3`, -1},
		"reason":               {`UPDATE log SET reason = 'x' WHERE seq = $1 AND $2 <> $3`, 0},
		"member":               {`UPDATE log SET member_id = actor, actor = '' WHERE seq = $1 AND $2 <> $3`, 0},
		"changes":              {`UPDATE log SET changes = '{"name":{"from":"","to":"x"}}' WHERE seq = $1 AND $2 <> $3`, 0},
		"hash":                 {`UPDATE log SET hash = NULL WHERE seq = $1 AND $2 <> $3`, 0},
		"deleted":              {`DELETE FROM log WHERE seq = $1 AND $2 <> $3`, 1},
		"to another":           {`UPDATE log SET organization_id = 'other' WHERE seq = $1 AND $2 <> $3`, 1},
		"swapped":              {`UPDATE log SET seq = CASE WHEN seq = $1 THEN -$2 ELSE seq END WHERE seq IN ($1, $2) AND $2 <> $3`, 1},
		"tail":                 {`DELETE FROM log WHERE organization_id = 'org' AND seq >= $1 AND $2 <> $3`, 3},
		"checkpoint forged":    {`UPDATE checkpoints SET signed = 'x' WHERE organization_id = 'org' AND $1 <> $2 AND $2 <> $3`, 3},
		"receipt, not covered": {`UPDATE log SET state = 'confirmed' WHERE seq = $1 AND $2 <> $3`, -1},
	} {
		t.Run(name, func(t *testing.T) {
			s := openDir(t, t.TempDir())
			relay := keystest.NewMemory()
			r, err := keys.New(keys.Config{Store: s, Relay: relay, Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))}, CheckpointKey: keystest.CheckpointKey})
			if err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			for _, id := range []string{"org", "other"} {
				if _, err := r.CreateOrganization(ctx, keys.Program("test"), keys.Organization{ID: id, Name: id, Plan: "Starter"}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 7 {
				for _, id := range []string{"org", "other"} {
					if _, err := r.Rename(ctx, keys.Actor{ClientID: "ann"}, id, fmt.Sprint("name ", i)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if made, err := r.Checkpoint(ctx); err != nil || len(made) != 2 {
				t.Fatalf("%d checkpoints, %v", len(made), err)
			}
			events, err := r.Events(ctx, "org", keys.EventPage{})
			if err != nil || len(events) != 8 {
				t.Fatalf("%d events, %v", len(events), err)
			}
			if _, err := s.write.ExecContext(ctx, row.harm, events[4].Position, events[5].Position, events[6].Position); err != nil {
				t.Fatal(err)
			}
			chain, err := r.VerifyAudit(ctx, "org")
			var broken *keys.BrokenError
			switch {
			case row.bad < 0 && (err != nil || chain.Events != 8):
				t.Errorf("%d events, %v", chain.Events, err)
			case row.bad >= 0 && name == "swapped":
				if !errors.As(err, &broken) {
					t.Errorf("%v", err)
				}
			case row.bad >= 0 && (!errors.As(err, &broken) || broken.Position != events[4+row.bad].Position):
				t.Errorf("%v, want event %d", err, events[4+row.bad].Position)
			}
		})
	}
}

// TestRestoredSignsEverybodyOut: a session that was ended, and a link that was used,
// after the backup do not come back with it.
func TestRestoredSignsEverybodyOut(t *testing.T) {
	s := openDir(t, t.TempDir())
	ctx, made := t.Context(), time.Now()
	link := keys.Link{Hash: []byte("used"), Email: "ann@example.com", CreatedAt: made, ExpiresAt: made.Add(time.Hour)}
	other := keys.Link{Hash: []byte("other"), Email: "bob@example.com", CreatedAt: made, ExpiresAt: made.Add(time.Hour)}
	session := keys.WebSession{Hash: []byte("session"), Email: "ann@example.com", CreatedAt: made, SeenAt: made}
	entry := keys.Entry{Kind: tokens.Touch, Subject: tokens.Organization(""), Action: "x"}
	for _, f := range []func() error{
		func() error { _, err := s.AddLink(ctx, link, entry); return err },
		func() error { _, err := s.AddLink(ctx, other, entry); return err },
		func() error {
			_, err := s.UseLink(ctx, link.Hash, keys.Account{Email: link.Email, Password: "x"}, entry)
			return err
		},
		func() error { return s.AddWebSession(ctx, session, "x") },
		func() error { return s.Restored(ctx) },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Link(ctx, other.Hash); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("link: %v", err)
	}
	if _, err := s.WebSession(ctx, session.Hash); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("session: %v", err)
	}
}

// TestRestoredLogIsAnEvent: a database that was put back says so in its own chain.
func TestRestoredLogIsAnEvent(t *testing.T) {
	s := openDir(t, t.TempDir())
	ctx := t.Context()
	if _, err := s.Append(ctx, keys.Entry{Kind: tokens.Touch, Subject: tokens.Organization(""), Action: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Restored(ctx); err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(ctx, "", keys.EventPage{})
	if err != nil || len(events) != 2 || events[1].Action != "store.restored" || events[1].Position < events[0].Position+1_000_000_000 {
		t.Fatalf("%+v, %v", events, err)
	}
	var c keys.Chain
	for _, e := range events {
		if err := c.Add(e); err != nil {
			t.Error(err)
		}
	}
}

// TestChangedReceiptIsFound: a checkpoint covers the receipts of all cuts up to the first
// that waits. One that is changed, or taken away, is named; one that no checkpoint covers
// yet is covered by the next.
func TestChangedReceiptIsFound(t *testing.T) {
	for name, row := range map[string]struct {
		harm string // with the positions of two cuts: one that is covered, and the last
		bad  int    // index of the cut that is named; -1 is none
	}{
		"nothing":        {`SELECT 1 WHERE $1 <> $2`, -1},
		"state":          {`UPDATE receipts SET state = 'confirmed' WHERE seq = $1 AND $1 <> $2`, 1},
		"numbers":        {`UPDATE receipts SET confirmed = 3 WHERE seq = $1 AND $1 <> $2`, 1},
		"settled":        {`UPDATE receipts SET settled_at = settled_at - 1 WHERE seq = $1 AND $1 <> $2`, 1},
		"recovered":      {`UPDATE receipts SET recovered = TRUE WHERE seq = $1 AND $1 <> $2`, 1},
		"gone":           {`DELETE FROM receipts WHERE seq = $1 AND $1 <> $2`, 1},
		"one that waits": {`DELETE FROM receipts WHERE seq = $2 AND $1 <> $2`, -1},
	} {
		t.Run(name, func(t *testing.T) {
			s := openDir(t, t.TempDir())
			r, err := keys.New(keys.Config{Store: s, Relay: keystest.NewMemory(), Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))}, CheckpointKey: keystest.CheckpointKey})
			if err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			if _, err := r.CreateOrganization(ctx, keys.Program("test"), keys.Organization{ID: "org", Name: "org", Plan: "Starter"}); err != nil {
				t.Fatal(err)
			}
			var cuts []keys.Commit
			for i := range 4 {
				commit, err := s.Append(ctx, keys.Entry{Kind: tokens.Cut, Subject: tokens.Client(fmt.Sprint(i)), OrganizationID: "org",
					Action: "key.revoke", Actor: keys.Program("test")})
				if err != nil {
					t.Fatal(err)
				}
				cuts = append(cuts, commit)
			}
			settle := func(i int) {
				receipt := keys.Receipt{Position: cuts[i].Position, Head: cuts[i].Head, State: keys.LeaseEnded, Confirmed: 1, Total: 2, SettledAt: time.Now()}
				if stored, err := s.PutReceipts(ctx, []keys.Receipt{receipt}); err != nil || len(stored) != 1 {
					t.Fatalf("%v, %v", stored, err)
				}
			}
			checkpoint := func() keys.Checkpoint {
				made, err := r.Checkpoint(ctx)
				if err != nil || len(made) != 1 {
					t.Fatalf("%d checkpoints, %v", len(made), err)
				}
				return made[0]
			}
			settle(0)
			settle(1)
			settle(3) // the third waits
			if c := checkpoint(); c.ReceiptsThrough != cuts[1].Position {
				t.Errorf("covers up to %d, want %d", c.ReceiptsThrough, cuts[1].Position)
			}
			settle(2)
			if _, err := r.Rename(ctx, keys.Actor{ClientID: "ann"}, "org", "renamed"); err != nil {
				t.Fatal(err)
			}
			last := 3
			if name != "one that waits" {
				checkpoint()
			} else {
				last = 2
			}
			if _, err := s.write.ExecContext(ctx, row.harm, cuts[1].Position, cuts[last].Position); err != nil {
				t.Fatal(err)
			}
			_, err = r.VerifyAudit(ctx, "org")
			var broken *keys.BrokenError
			if row.bad < 0 && err != nil || row.bad >= 0 && (!errors.As(err, &broken) || broken.Position != cuts[row.bad].Position) {
				t.Errorf("%v", err)
			}
		})
	}
}
