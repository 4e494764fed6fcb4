package keys_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
)

// oneKey is a ring with one key, which is not worth sealing.
type oneKey struct{ store *keystest.Memory }

func (oneKey) Ensure(context.Context, string) error { return nil }

func (o oneKey) Rotate(_ context.Context, _ string, store func(keys.SigningChange) error) error {
	if store == nil {
		return nil
	}
	return store(keys.SigningChange{ID: "kid"})
}

func (o oneKey) Withdraw(ctx context.Context, kid string, store func(keys.SigningChange) error) (uint64, error) {
	list, err := o.store.SigningKeys(ctx)
	if err != nil || kid != "kid" || list[0].Withdrawn != 0 || store == nil {
		return list[0].Withdrawn, err
	}
	return 0, store(keys.SigningChange{ID: kid})
}

func newSigning(t *testing.T) (*keys.Registry, *keystest.Memory) {
	t.Helper()
	store := keystest.NewMemory()
	r, err := keys.New(keys.Config{Store: store, Relay: store, Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))},
		CheckpointKey: keystest.CheckpointKey, SigningRing: oneKey{store}})
	if err == nil {
		key := keys.SigningKey{ID: "kid", Algorithm: tokens.ES256, CreatedAt: time.Now()}
		err = keys.AddSigningKey(t.Context(), store, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r, store
}

// TestWithdrawingIsOneEntry: a terminal cut with who, why and which, once, however often
// it is asked for; the others get its receipt.
func TestWithdrawingIsOneEntry(t *testing.T) {
	r, store := newSigning(t)
	by := keys.Actor{ClientID: "imara_ci_x", Operator: true}
	first, err := r.WithdrawSigningKey(t.Context(), by, "kid", "it was in a core dump")
	if err != nil || first.State != keys.Confirmed || first.By != "imara_ci_x" ||
		first.Reason != "it was in a core dump" || first.RevokedAt.IsZero() {
		t.Fatalf("%+v, %v", first, err)
	}
	page, err := store.Read(t.Context(), first.Position-1, 10)
	if err != nil || len(page.Entries) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	if e := page.Entries[0]; e.Subject != tokens.SigningKey("kid") || e.Kind != tokens.Cut || !e.Terminal {
		t.Errorf("%+v", e)
	}
	events, err := r.Events(t.Context(), "", keys.EventPage{Action: "signing.withdraw"})
	if err != nil || len(events) != 1 || events[0].Target != "kid" || events[0].ClientID != by.ClientID ||
		events[0].Reason != first.Reason {
		t.Errorf("%+v, %v", events, err)
	}
	for range 2 {
		again, err := r.WithdrawSigningKey(t.Context(), keys.Actor{ClientID: "another"}, "kid", "again")
		if err != nil || again.Position != first.Position || again.By != first.By || again.Reason != first.Reason ||
			again.State != first.State || again.RevokedAt.IsZero() {
			t.Errorf("%+v, %v", again, err)
		}
	}
	if page, err := store.Read(t.Context(), first.Position, 1); err != nil || page.Tip != first.Position {
		t.Errorf("%d more entries, %v", page.Tip-first.Position, err)
	}
}

// TestWithdrawingIsForOperators: with their role, and with a reason that can be read.
func TestWithdrawingIsForOperators(t *testing.T) {
	r, store := newSigning(t)
	tip, err := store.Read(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []keys.Role{keys.Owner, keys.Admin, keys.Support} {
		by := keys.Actor{MemberID: "m", Role: role}
		if _, err := r.WithdrawSigningKey(t.Context(), by, "kid", ""); !errors.Is(err, keys.ErrForbidden) {
			t.Errorf("%s: %v", role, err)
		}
		if err := r.RotateSigningKey(t.Context(), by, tokens.ES256); !errors.Is(err, keys.ErrForbidden) {
			t.Errorf("%s: %v", role, err)
		}
	}
	var input *keys.InputError
	_, err = r.WithdrawSigningKey(t.Context(), keys.Program("test"), "kid", strings.Repeat("x", 501))
	if !errors.As(err, &input) || input.Field != "reason" {
		t.Error(err)
	}
	err = r.RotateSigningKey(t.Context(), keys.Program("test"), "HS256")
	if !errors.As(err, &input) || input.Field != "algorithm" {
		t.Error(err)
	}
	trial := keys.Actor{ClientID: "x", DryRun: true}
	if receipt, err := r.WithdrawSigningKey(t.Context(), trial, "kid", ""); err != nil || receipt.Position != 0 {
		t.Errorf("%+v, %v", receipt, err)
	}
	if err := r.RotateSigningKey(t.Context(), trial, tokens.ES256); err != nil {
		t.Error(err)
	}
	if now, err := store.Read(t.Context(), 0, 1); err != nil || now.Tip != tip.Tip {
		t.Errorf("%d entries, %v", now.Tip-tip.Tip, err)
	}
}

// TestActivitySinceAKeyWasMade: of everybody, since then, and of no key that is not there.
func TestActivitySinceAKeyWasMade(t *testing.T) {
	r, _ := newSigning(t)
	for _, id := range []string{"a", "b"} {
		o := keys.Organization{ID: id, Name: id, Plan: "Free"}
		if _, err := r.CreateOrganization(t.Context(), keys.Program("test"), o); err != nil {
			t.Fatal(err)
		}
	}
	list, all, since, err := r.SigningActivity(t.Context(), "kid")
	if err != nil || all != 2 || len(list) != 2 || since.IsZero() {
		t.Fatalf("%+v, %d, %v, %v", list, all, since, err)
	}
	if list[0].Action != "organization.create" || list[0].Count != 2 || list[1].Action != "signing.make" {
		t.Errorf("%+v", list)
	}
	_, _, _, err = r.SigningActivity(t.Context(), "other")
	if !errors.Is(err, keys.ErrNotFound) || !strings.Contains(err.Error(), "other") {
		t.Error(err)
	}
}
