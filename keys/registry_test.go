package keys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
)

const api = "https://api.example.com"

// newRegistry has the organisation org on a plan, and a catalogue of two APIs.
func newRegistry(t *testing.T, plan string) (*keys.Registry, *keystest.Memory) {
	t.Helper()
	store := keystest.NewMemory()
	r, err := keys.New(keys.Config{Store: store, Relay: store, Peppers: keys.Peppers{1: tokens.Secret(strings.Repeat("p", 32))}, CheckpointKey: keystest.CheckpointKey})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []keys.Organization{{ID: "org", Name: "Acme", Plan: plan}, {ID: "operator", Name: "Operator", Plan: plan, Operator: true}} {
		if _, err := r.CreateOrganization(t.Context(), keys.Program("test"), o); err != nil {
			t.Fatal(err)
		}
	}
	for _, res := range []keys.Resource{
		{Audience: api, Name: "API", Scopes: []keys.Scope{{Name: "alerts:read"}, {Name: "alerts:write"}, {Name: "secret:all", Restricted: true}}},
		{Audience: "https://billing.example.com", Name: "Billing", Scopes: []keys.Scope{{Name: "invoices:read"}}},
	} {
		if _, err := r.PutResource(t.Context(), keys.Program("test"), res); err != nil {
			t.Fatal(err)
		}
	}
	return r, store
}

func create(t *testing.T, r *keys.Registry, name string, scopes ...string) keys.Created {
	t.Helper()
	if scopes == nil {
		scopes = []string{"alerts:read"}
	}
	c, err := r.Create(t.Context(), keys.Program("test"), "org", keys.NewKey{Name: name, Access: keys.Access{Scopes: scopes}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// login authenticates as the token endpoint does, on a fresh record.
func login(t *testing.T, r *keys.Registry, clientID, secret string) error {
	t.Helper()
	record, err := r.Record(t.Context(), clientID, "")
	if err != nil && !errors.Is(err, keys.ErrNotFound) {
		t.Fatal(err)
	}
	parsed, err := keys.ParseSecret(secret)
	if err != nil {
		return keys.ErrCredentials
	}
	_, err = r.Authenticate(record, parsed, time.Now())
	return err
}

// entries is the log since the registry was made, of one subject.
func entries(t *testing.T, store *keystest.Memory, subject tokens.Subject) (kinds []tokens.Kind) {
	t.Helper()
	page, err := store.Read(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Entries {
		if e.Subject == subject {
			kinds = append(kinds, e.Kind)
		}
	}
	return kinds
}

// TestLifeOfAKey walks the flows of a key and what each writes to the log: cuts
// where tokens must die, touches where servers must look again.
func TestLifeOfAKey(t *testing.T) {
	r, store := newRegistry(t, "Professional")
	ctx := t.Context()
	c := create(t, r, "CI", "alerts:read", "alerts:write")
	id, subject := c.Key.ID, tokens.Client(c.Key.ClientID)
	var want []tokens.Kind
	step := func(name string, kind tokens.Kind, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want = append(want, kind)
		if got := entries(t, store, subject); !slices.Equal(got, want) {
			t.Fatalf("%s: log has %v, want %v", name, got, want)
		}
	}
	step("create", tokens.Touch, login(t, r, c.Key.ClientID, c.Secret.Reveal()))

	second, err := r.Rotate(ctx, keys.Program("test"), "org", id, keys.Overlap{Max: time.Hour})
	step("rotate", tokens.Touch, err)
	for _, s := range []keys.Secret{c.Secret, second.Secret} {
		if err := login(t, r, c.Key.ClientID, s.Reveal()); err != nil {
			t.Errorf("during the overlap: %v", err)
		}
	}
	if _, err := r.Rotate(ctx, keys.Program("test"), "org", id, keys.Overlap{Max: time.Hour}); !errors.Is(err, keys.ErrRotating) {
		t.Errorf("third secret: %v", err)
	}
	third, err := r.Rotate(ctx, keys.Program("test"), "org", id, keys.Overlap{})
	step("rotate at once", tokens.Touch, err)
	for _, s := range []keys.Secret{c.Secret, second.Secret} {
		if got := entries(t, store, tokens.Credential(s.CredentialID())); !slices.Equal(got, []tokens.Kind{tokens.Cut}) {
			t.Errorf("what an ended secret had bought: %v", got)
		}
	}
	if third.Receipt.State != keys.Confirmed {
		t.Errorf("rotated at once: %+v", third.Receipt)
	}
	for _, s := range []keys.Secret{c.Secret, second.Secret} {
		if err := login(t, r, c.Key.ClientID, s.Reveal()); !errors.Is(err, keys.ErrSecretEnded) {
			t.Errorf("an ended secret: %v", err)
		}
	}

	_, receipt, err := r.Edit(ctx, keys.Program("test"), "org", id, access(keys.Access{Scopes: []string{"alerts:read", "alerts:write", "invoices:read"}}))
	step("widen", tokens.Touch, err)
	if receipt.Position != 0 {
		t.Errorf("a receipt for nothing: %+v", receipt)
	}
	_, receipt, err = r.Edit(ctx, keys.Program("test"), "org", id, access(keys.Access{Scopes: []string{"alerts:read"}}))
	step("narrow", tokens.Cut, err)
	if receipt.State != keys.Confirmed || receipt.Position == 0 {
		t.Errorf("narrowed: %+v", receipt)
	}
	_, _, err = r.Edit(ctx, keys.Program("test"), "org", id, access(keys.Access{Scopes: []string{"alerts:read"}, ExpiresAt: time.Now().Add(time.Hour)}))
	step("an earlier end", tokens.Cut, err)
	far := time.Now().Add(48 * time.Hour)
	_, receipt, err = r.Edit(ctx, keys.Program("test"), "org", id, access(keys.Access{Scopes: []string{"alerts:read"}, ExpiresAt: far}))
	step("a later end", tokens.Touch, err)
	_, receipt, err = r.Edit(ctx, keys.Program("test"), "org", id, access(keys.Access{Scopes: []string{"alerts:read"}, ExpiresAt: far.Add(-time.Hour)}))
	step("an earlier end that no token outlives", tokens.Touch, err)
	if receipt.Position != 0 {
		t.Errorf("a receipt for nothing: %+v", receipt)
	}
	_, _, err = r.Edit(ctx, keys.Program("test"), "org", id, access(keys.Access{Scopes: []string{"alerts:read"}}))
	step("no end", tokens.Touch, err)

	_, _, err = r.Suspend(ctx, keys.Program("test"), "org", id, "holiday")
	step("suspend", tokens.Cut, err)
	if err := login(t, r, c.Key.ClientID, third.Secret.Reveal()); !errors.Is(err, keys.ErrSuspended) {
		t.Errorf("suspended: %v", err)
	}
	_, err = r.Resume(ctx, keys.Program("test"), "org", id)
	step("resume", tokens.Touch, err)
	_, _, err = r.EndSecret(ctx, keys.Program("test"), "org", id, second.Secret.CredentialID(), false)
	if err := errors.Join(err, login(t, r, c.Key.ClientID, third.Secret.Reveal())); err != nil {
		t.Errorf("resumed, and a secret ended again: %v", err)
	}
	_, _, err = r.EndSecret(ctx, keys.Program("test"), "org", id, third.Secret.CredentialID(), true)
	step("leak", tokens.Touch, err)
	if got := entries(t, store, tokens.Credential(third.Secret.CredentialID())); !slices.Equal(got, []tokens.Kind{tokens.Cut}) {
		t.Errorf("what the leaked secret had bought: %v", got)
	}
	if err := login(t, r, c.Key.ClientID, third.Secret.Reveal()); !errors.Is(err, keys.ErrSecretEnded) {
		t.Errorf("leaked: %v", err)
	}

	key, receipt, err := r.Revoke(ctx, keys.Program("test"), "org", id, "done")
	step("revoke", tokens.Cut, err)
	if receipt.ClientID != key.ClientID || receipt.Position != key.RevokedPosition || !receipt.RevokedAt.Equal(key.RevokedAt) {
		t.Errorf("receipt %+v of %+v", receipt, key)
	}
	_, again, err := r.Revoke(ctx, keys.Program("test"), "org", id, "twice")
	if err != nil || again.Position != receipt.Position {
		t.Errorf("revoked again: %+v, %v", again, err)
	}
	if err := login(t, r, c.Key.ClientID, third.Secret.Reveal()); !errors.Is(err, keys.ErrSecretEnded) && !errors.Is(err, keys.ErrRevoked) {
		t.Errorf("revoked: %v", err)
	}
	for name, err := range map[string]error{
		"resume":        errorOf2(r.Resume(ctx, keys.Program("test"), "org", id)),
		"suspend":       errorOf3(r.Suspend(ctx, keys.Program("test"), "org", id, "")),
		"rotate":        errorOf2(r.Rotate(ctx, keys.Program("test"), "org", id, keys.Overlap{})),
		"change access": errorOf3(r.Edit(ctx, keys.Program("test"), "org", id, access(keys.Access{Scopes: []string{"alerts:read"}}))),
	} {
		if !errors.Is(err, keys.ErrRevoked) {
			t.Errorf("%s of a revoked key: %v", name, err)
		}
	}
	if got := entries(t, store, subject); !slices.Equal(got, want) {
		t.Errorf("what was refused is in the log: %v", got)
	}
}

// access replaces the access of a key.
func access(a keys.Access) func(*keys.KeyEdit) { return func(e *keys.KeyEdit) { e.Access = a } }

func errorOf2[T any](_ T, err error) error         { return err }
func errorOf3[T, U any](_ T, _ U, err error) error { return err }

func TestPlansLimitActiveKeys(t *testing.T) {
	for plan, limit := range map[string]int{"Free": 0, "Starter": 2, "Professional": 5, "Enterprise": 20} {
		r, _ := newRegistry(t, plan)
		for i := range limit {
			create(t, r, plan+string(rune('a'+i)))
		}
		_, err := r.Create(t.Context(), keys.Program("test"), "org", keys.NewKey{Name: "one more", Access: keys.Access{Scopes: []string{"alerts:read"}}})
		var full *keys.LimitError
		switch {
		case plan == "Free" && errors.Is(err, keys.ErrNoAPIAccess):
		case plan != "Free" && errors.As(err, &full) && *full == keys.LimitError{Plan: plan, Active: limit, Limit: limit}:
		default:
			t.Errorf("%s: %v", plan, err)
		}
	}
}

// TestSixtyFourCreatesForOneSlot: 4 of 5 used, exactly one succeeds.
func TestSixtyFourCreatesForOneSlot(t *testing.T) {
	r, _ := newRegistry(t, "Professional")
	for i := range 4 {
		create(t, r, string(rune('a'+i)))
	}
	var made atomic.Int64
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			_, err := r.Create(context.Background(), keys.Program("test"), "org", keys.NewKey{Name: fmt.Sprint("key ", i), Access: keys.Access{Scopes: []string{"alerts:read"}}})
			var full *keys.LimitError
			if err == nil {
				made.Add(1)
			} else if !errors.As(err, &full) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if active, limit, err := r.Limits(t.Context(), "org"); made.Load() != 1 || active != 5 || limit != 5 || err != nil {
		t.Errorf("%d made, %d of %d active, %v", made.Load(), active, limit, err)
	}
}

// TestPlanChanges: a smaller plan kills nothing and blocks creation; one without
// API access cuts and refuses; a custom limit goes before the plan's.
func TestPlanChanges(t *testing.T) {
	r, store := newRegistry(t, "Enterprise")
	ctx := t.Context()
	var first keys.Created
	for i := range 4 {
		first = create(t, r, string(rune('a'+i)))
	}
	set := func(plan string, custom *int) keys.Receipt {
		t.Helper()
		if _, err := r.SetLimit(ctx, keys.Program("support"), "org", custom, "asked"); err != nil {
			t.Fatal(err)
		}
		_, receipt, err := r.SetPlan(ctx, keys.Program("support"), "org", plan, "")
		if err != nil {
			t.Fatal(err)
		}
		return receipt
	}
	more := func() error {
		_, err := r.Create(ctx, keys.Program("test"), "org", keys.NewKey{Name: "more", Access: keys.Access{Scopes: []string{"alerts:read"}}})
		return err
	}
	set("Starter", nil)
	var full *keys.LimitError
	if err := more(); !errors.As(err, &full) || full.Active != 4 || full.Limit != 2 {
		t.Errorf("over the limit: %v", err)
	}
	if err := login(t, r, first.Key.ClientID, first.Secret.Reveal()); err != nil {
		t.Errorf("a key from before the downgrade: %v", err)
	}
	five := 5
	set("Starter", &five)
	if err := more(); err != nil {
		t.Errorf("within the custom limit: %v", err)
	}
	if receipt := set("Free", nil); receipt.State != keys.Confirmed {
		t.Errorf("receipt %+v", receipt)
	}
	if err := login(t, r, first.Key.ClientID, first.Secret.Reveal()); !errors.Is(err, keys.ErrNoAPIAccess) {
		t.Errorf("without API access: %v", err)
	}
	set("Professional", nil)
	if err := login(t, r, first.Key.ClientID, first.Secret.Reveal()); err != nil {
		t.Errorf("with API access again: %v", err)
	}
	want := []tokens.Kind{tokens.Touch, tokens.Touch, tokens.Touch, tokens.Touch, tokens.Touch, tokens.Cut, tokens.Touch, tokens.Touch}
	if got := entries(t, store, tokens.Organization("org")); !slices.Equal(got, want) {
		t.Errorf("log %v, want %v", got, want)
	}
	if _, _, err := r.SetPlan(ctx, keys.Program("support"), "org", "Platinum", ""); err == nil {
		t.Error("a plan that does not exist")
	}
	minus := -1
	if _, err := r.SetLimit(ctx, keys.Program("support"), "org", &minus, "x"); err == nil {
		t.Error("a negative limit")
	}
}

// TestAuthenticationSaysNothingToStrangers: unknown client, wrong secret, another
// key's secret, truncated and empty ones are the same error (R-013, R-015, P-01).
func TestAuthenticationSaysNothingToStrangers(t *testing.T) {
	r, _ := newRegistry(t, "Enterprise")
	a, b := create(t, r, "a"), create(t, r, "b")
	good := a.Secret.Reveal()
	for name, pair := range map[string][2]string{
		"unknown client":       {"imara_ci_00000000000000000000", good},
		"client in upper case": {strings.ToUpper(a.Key.ClientID), good},
		"empty client":         {"", good},
		"empty secret":         {a.Key.ClientID, ""},
		"another key's secret": {a.Key.ClientID, b.Secret.Reveal()},
		"truncated":            {a.Key.ClientID, good[:len(good)-1]},
		"extended":             {a.Key.ClientID, good + "0"},
		"garbage":              {a.Key.ClientID, "\x00\xff"},
	} {
		if err := login(t, r, pair[0], pair[1]); err != keys.ErrCredentials {
			t.Errorf("%s: %v", name, err)
		}
	}
	record, err := r.Record(t.Context(), a.Key.ClientID, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, credentials := range map[string][]keys.Credential{"no row": nil, "empty row": {{}}, "row without a MAC": {{ID: a.Secret.CredentialID(), Pepper: 1}}} {
		record.Key.Credentials = credentials
		if _, err := r.Authenticate(record, a.Secret, time.Now()); err != keys.ErrCredentials {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKeyEndsWithItsTime: nothing has to run for a key to expire; the slot is
// free, and coming back needs one.
func TestKeyEndsWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRegistry(t, "Starter")
		ctx := t.Context()
		ends := time.Now().Add(time.Hour)
		c, err := r.Create(ctx, keys.Program("test"), "org", keys.NewKey{Name: "Short", Access: keys.Access{Scopes: []string{"alerts:read"}, ExpiresAt: ends}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Microsecond)
		if err := login(t, r, c.Key.ClientID, c.Secret.Reveal()); err != nil {
			t.Errorf("just before: %v", err)
		}
		time.Sleep(time.Microsecond)
		if err := login(t, r, c.Key.ClientID, c.Secret.Reveal()); !errors.Is(err, keys.ErrExpired) {
			t.Errorf("at its end: %v", err)
		}
		create(t, r, "short")
		create(t, r, "other")
		var full *keys.LimitError
		extended := keys.Access{Scopes: []string{"alerts:read"}}
		if _, _, err := r.Edit(ctx, keys.Program("test"), "org", c.Key.ID, access(extended)); !errors.As(err, &full) {
			t.Errorf("extended without a free slot: %v", err)
		}
		if _, err := r.Rotate(ctx, keys.Program("test"), "org", c.Key.ID, keys.Overlap{}); !errors.Is(err, keys.ErrExpired) {
			t.Errorf("rotated after its end: %v", err)
		}
		list, err := r.Keys(ctx, "org", keys.Page{Status: keys.Active})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range list {
			if _, _, err := r.Revoke(ctx, keys.Program("test"), "org", k.ID, ""); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := r.Edit(ctx, keys.Program("test"), "org", c.Key.ID, access(extended)); err != nil {
			t.Errorf("extended: %v", err)
		}
		if err := login(t, r, c.Key.ClientID, c.Secret.Reveal()); err != nil {
			t.Errorf("after the extension: %v", err)
		}
	})
}

func TestBadInputNamesItsField(t *testing.T) {
	r, store := newRegistry(t, "Enterprise")
	before, err := store.Read(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, field string
		key         keys.NewKey
	}{
		{"no name", "name", keys.NewKey{}},
		{"long name", "name", keys.NewKey{Name: strings.Repeat("é", 81)}},
		{"control character", "name", keys.NewKey{Name: "a\nb"}},
		{"space around", "name", keys.NewKey{Name: " a"}},
		{"not UTF-8", "name", keys.NewKey{Name: "\xff"}},
		{"no scope", "scopes", keys.NewKey{Name: "a"}},
		{"unknown scope", "scopes", keys.NewKey{Name: "a", Access: keys.Access{Scopes: []string{"alerts:delete"}}}},
		{"scope in upper case", "scopes", keys.NewKey{Name: "a", Access: keys.Access{Scopes: []string{"ALERTS:READ"}}}},
		{"scope of another resource", "scopes", keys.NewKey{Name: "a", Access: keys.Access{Scopes: []string{"invoices:read"}, Resources: []string{api}}}},
		{"unknown resource", "resources", keys.NewKey{Name: "a", Access: keys.Access{Scopes: []string{"alerts:read"}, Resources: []string{api + "/"}}}},
		{"past", "expires_at", keys.NewKey{Name: "a", Access: keys.Access{Scopes: []string{"alerts:read"}, ExpiresAt: time.Now().Add(-time.Second)}}},
		{"unknown owner", "owner", keys.NewKey{Name: "a", OwnerID: "mem", Access: keys.Access{Scopes: []string{"alerts:read"}}}},
	} {
		_, err := r.Create(t.Context(), keys.Program("test"), "org", row.key)
		var input *keys.InputError
		if !errors.As(err, &input) || input.Field != row.field {
			t.Errorf("%s: %v, want field %s", row.name, err, row.field)
		}
	}
	if _, err := r.Create(t.Context(), keys.Program("test"), "nobody", keys.NewKey{Name: "a"}); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("no such organisation: %v", err)
	}
	if after, err := store.Read(t.Context(), 0, 1); err != nil || after.Tip != before.Tip {
		t.Errorf("something changed: %v", err)
	}
	secret := keys.Access{Scopes: []string{"secret:all"}}
	for name, row := range map[string]struct {
		organization string
		byOperator   bool
		want         error
	}{"customer": {"org", false, keys.ErrScope}, "customer, by the operator": {"org", true, keys.ErrScope},
		"operator's, by another key": {"operator", false, keys.ErrScope}, "operator's, by the operator": {"operator", true, nil}} {
		created, err := r.Create(t.Context(), keys.Actor{ClientID: "test", Operator: row.byOperator}, row.organization, keys.NewKey{Name: "a", Access: secret})
		if !errors.Is(err, row.want) {
			t.Errorf("a restricted scope, %s: %v", name, err)
		}
		if row.want == nil {
			plain, err := r.Create(t.Context(), keys.Program("test"), row.organization, keys.NewKey{Name: "b", Access: keys.Access{Scopes: []string{"alerts:read"}}})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := r.Edit(t.Context(), keys.Actor{ClientID: "test"}, row.organization, plain.Key.ID, access(secret)); !errors.Is(err, keys.ErrScope) {
				t.Errorf("a restricted scope was added: %v", err)
			}
			if _, _, err := r.Edit(t.Context(), keys.Actor{ClientID: "test"}, row.organization, created.Key.ID, access(secret)); err != nil {
				t.Errorf("a restricted scope was not kept: %v", err)
			}
		}
	}
	c := create(t, r, "two", "invoices:read", "alerts:read", "invoices:read")
	if !slices.Equal(c.Key.Resources, []string{"https://billing.example.com", api}) || len(c.Key.Scopes) != 2 {
		t.Errorf("access %+v", c.Key.Access)
	}
	for _, bad := range []keys.Resource{
		{Audience: "x", Name: "X"}, {Audience: "https://x.example#f", Name: "X"}, {Audience: "https://x.example"},
		{Audience: "https://x.example", Name: "X", Algorithm: "HS256"}, {Audience: "https://x.example", Name: "X", TokenTTL: 2 * time.Hour},
		{Audience: "https://x.example", Name: "X", Scopes: []keys.Scope{{Name: `a"b`}}},
	} {
		if _, err := r.PutResource(t.Context(), keys.Program("test"), bad); err == nil {
			t.Errorf("%+v: accepted", bad)
		}
	}
}

// TestEndedSecretsAreForgotten: a key that is rotated for ever does not grow for
// ever, and the last few ended secrets are still told why they fail.
func TestEndedSecretsAreForgotten(t *testing.T) {
	r, _ := newRegistry(t, "Starter")
	c := create(t, r, "CI")
	secrets := []keys.Secret{c.Secret}
	for range 50 {
		rotated, err := r.Rotate(t.Context(), keys.Program("test"), "org", c.Key.ID, keys.Overlap{})
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, rotated.Secret)
	}
	k, err := r.Key(t.Context(), "org", c.Key.ID)
	if err != nil || len(k.Credentials) > 21 {
		t.Errorf("%d credentials, %v", len(k.Credentials), err)
	}
	slices.Reverse(secrets)
	for i, want := range []error{nil, keys.ErrSecretEnded, keys.ErrSecretEnded} {
		if err := login(t, r, c.Key.ClientID, secrets[i].Reveal()); !errors.Is(err, want) {
			t.Errorf("secret %d: %v, want %v", i, err, want)
		}
	}
	if err := login(t, r, c.Key.ClientID, secrets[40].Reveal()); !errors.Is(err, keys.ErrCredentials) {
		t.Errorf("a forgotten secret: %v", err)
	}
}

// TestReplacedResourceKeepsItsID: what is returned, stored and logged is one.
func TestReplacedResourceKeepsItsID(t *testing.T) {
	r, store := newRegistry(t, "Starter")
	before, err := r.Catalogue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old, _ := before.Resource(api)
	put, err := r.PutResource(t.Context(), keys.Program("test"), keys.Resource{Audience: api, Name: "Renamed"})
	if err != nil || put.ID != old.ID || len(entries(t, store, tokens.Resource(old.ID))) != 2 {
		t.Errorf("%+v, %v", put, err)
	}
}

func TestConfigThatCannotBeRightIsRefused(t *testing.T) {
	m := keystest.NewMemory()
	good := keys.Peppers{1: tokens.Secret(make([]byte, 32))}
	for name, config := range map[string]keys.Config{
		"no store":     {Relay: m, Peppers: good},
		"no relay":     {Store: m, Peppers: good},
		"no pepper":    {Store: m, Relay: m},
		"short pepper": {Store: m, Relay: m, Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 16))}},
		"version 0":    {Store: m, Relay: m, Peppers: keys.Peppers{0: tokens.Secret(make([]byte, 32))}},
	} {
		if _, err := keys.New(config); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
