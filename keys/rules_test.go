package keys_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// member adds one to org and acts for it.
func member(t *testing.T, r *keys.Registry, id string, role keys.Role) keys.Actor {
	t.Helper()
	if _, err := r.AddMember(t.Context(), keys.Program("test"), keys.Member{ID: id, OrganizationID: "org", Name: id, Email: id + "@example.com", Role: role, AcceptedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	return keys.Actor{ClientID: "panel", MemberID: id, Role: role}
}

func policy(t *testing.T, r *keys.Registry, p keys.Policy) {
	t.Helper()
	if _, err := r.EditPolicy(t.Context(), keys.Program("test"), "org", func(old *keys.Policy) { *old = p }); err != nil {
		t.Fatal(err)
	}
}

func reading(name string) keys.NewKey {
	return keys.NewKey{Name: name, Access: keys.Access{Scopes: []string{"alerts:read"}}}
}

// TestKeysThatWriteWaitForApproval: who asks does not approve, who approves does
// not see the secret, and nothing works before.
func TestKeysThatWriteWaitForApproval(t *testing.T) {
	r, _ := newRegistry(t, "Professional")
	ctx := t.Context()
	developer, admin, other := member(t, r, "dev", keys.Developer), member(t, r, "adm", keys.Admin), member(t, r, "oth", keys.Admin)
	policy(t, r, keys.Policy{Approval: true})
	if c, err := r.Create(ctx, developer, "org", reading("reads")); err != nil || c.Key.Pending || c.Secret.Reveal() == "" {
		t.Errorf("a key that only reads: %+v, %v", c.Key, err)
	}
	c, err := r.Create(ctx, developer, "org", keys.NewKey{Name: "writes", Access: keys.Access{Scopes: []string{"alerts:write"}}})
	if err != nil || !c.Key.Pending || c.Secret.Reveal() != "" || len(c.Key.Credentials) != 0 || c.Key.Status(time.Now()) != keys.Pending {
		t.Fatalf("%+v, %v", c.Key, err)
	}
	if active, _, _ := r.Limits(ctx, "org"); active != 2 {
		t.Errorf("%d slots are taken", active)
	}
	id := c.Key.ID
	collect := func(by keys.Actor) error { return errorOf2(r.Rotate(ctx, by, "org", id, keys.Overlap{})) }
	for name, row := range map[string]struct{ got, want error }{
		"collected before":        {collect(developer), keys.ErrPending},
		"resumed":                 {errorOf2(r.Resume(ctx, admin, "org", id)), keys.ErrPending},
		"approved by a developer": {errorOf2(r.Approve(ctx, developer, "org", id)), keys.ErrForbidden},
		"approved in a dry run":   {errorOf2(r.Approve(ctx, keys.Actor{MemberID: "adm", Role: keys.Admin, DryRun: true}, "org", id)), nil},
	} {
		if !errors.Is(row.got, row.want) {
			t.Errorf("%s: %v", name, row.got)
		}
	}
	if _, err := r.Approve(ctx, admin, "org", id); err != nil {
		t.Fatal(err)
	}
	if err := collect(admin); !errors.Is(err, keys.ErrForbidden) {
		t.Errorf("the approver collected the secret: %v", err)
	}
	rotated, err := r.Rotate(ctx, developer, "org", id, keys.DefaultOverlap)
	if err != nil || login(t, r, rotated.Key.ClientID, rotated.Secret.Reveal()) != nil {
		t.Errorf("who asked: %v", err)
	}
	if _, err := r.Approve(ctx, other, "org", id); !errors.Is(err, keys.ErrNotPending) {
		t.Errorf("approved twice: %v", err)
	}
	// What an Admin asks for needs another Admin.
	mine, err := r.Create(ctx, admin, "org", keys.NewKey{Name: "mine", Access: keys.Access{Scopes: []string{"alerts:write"}}})
	if err != nil || !errors.Is(errorOf2(r.Approve(ctx, admin, "org", mine.Key.ID)), keys.ErrForbidden) {
		t.Errorf("approved by who asked: %v", err)
	}
	if _, err := r.Approve(ctx, other, "org", mine.Key.ID); err != nil {
		t.Error(err)
	}
	list, err := r.Keys(ctx, "org", keys.Page{Text: "reads"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Edit(ctx, admin, "org", list[0].ID, func(e *keys.KeyEdit) { e.Scopes = append(e.Scopes, "alerts:write") }); !errors.Is(err, keys.ErrForbidden) {
		t.Errorf("an edit went around the approval: %v", err)
	}
}

// TestPolicyBindsNewAndChangedKeys: lifetime, networks and who may create; keys
// that exist stay, and are listed.
func TestPolicyBindsNewAndChangedKeys(t *testing.T) {
	r, _ := newRegistry(t, "Enterprise")
	ctx := t.Context()
	owner, developer := member(t, r, "own", keys.Owner), member(t, r, "dev", keys.Developer)
	old := create(t, r, "old")
	inside, outside := netip.MustParsePrefix("203.0.113.0/25"), netip.MustParsePrefix("198.51.100.0/24")
	policy(t, r, keys.Policy{MaxLifetime: 24 * time.Hour, Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/24")}, Creators: []keys.Role{keys.Owner}})
	against, err := r.Against(ctx, "org", func() keys.Policy { o, _ := r.Organization(ctx, "org"); return o.Policy }())
	if err != nil || len(against) != 1 || against[0].ID != old.Key.ID {
		t.Errorf("affected: %+v, %v", against, err)
	}
	key := func(life time.Duration, networks ...netip.Prefix) keys.NewKey {
		n := reading("key " + life.String())
		n.Networks = networks
		if life > 0 {
			n.ExpiresAt = time.Now().Add(life)
		}
		return n
	}
	var input *keys.InputError
	for name, row := range map[string]struct {
		by  keys.Actor
		key keys.NewKey
		ok  func(error) bool
	}{
		"a developer":     {developer, key(time.Hour), func(err error) bool { return errors.Is(err, keys.ErrForbidden) }},
		"without an end":  {owner, key(0), func(err error) bool { return errors.Is(err, keys.ErrLifetime) }},
		"a late end":      {owner, key(25 * time.Hour), func(err error) bool { return errors.Is(err, keys.ErrLifetime) }},
		"outside":         {owner, key(time.Hour, inside, outside), func(err error) bool { return errors.As(err, &input) && input.Field == "networks" }},
		"a wider network": {owner, key(time.Hour, netip.MustParsePrefix("203.0.0.0/16")), func(err error) bool { return errors.As(err, &input) }},
		"as it must be":   {owner, key(time.Hour, inside), func(err error) bool { return err == nil }},
		"a machine":       {keys.Actor{ClientID: "ci"}, key(2 * time.Hour), func(err error) bool { return errors.Is(err, keys.ErrForbidden) }},
		"the operator":    {keys.Program("desk"), key(2 * time.Hour), func(err error) bool { return err == nil }},
	} {
		if _, err := r.Create(ctx, row.by, "org", row.key); !row.ok(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := r.Edit(ctx, owner, "org", old.Key.ID, func(e *keys.KeyEdit) { e.Name = "renamed" }); err != nil {
		t.Errorf("a rename has nothing to do with it: %v", err)
	}
	if _, _, err := r.Edit(ctx, owner, "org", old.Key.ID, func(e *keys.KeyEdit) { e.ExpiresAt = time.Now().Add(48 * time.Hour) }); !errors.Is(err, keys.ErrLifetime) {
		t.Errorf("extended: %v", err)
	}
	k, _ := r.Key(ctx, "org", old.Key.ID)
	o, _ := r.Organization(ctx, "org")
	for address, want := range map[string]bool{"203.0.113.9": true, "::ffff:203.0.113.9": true, "198.51.100.1": false, "2001:db8::1": false} {
		if got := k.Reaches(&o, netip.MustParseAddr(address)); got != want {
			t.Errorf("from %s: %t", address, got)
		}
	}
	for name, bad := range map[string]keys.Policy{"a short life": {MaxLifetime: time.Minute}, "a role that may not": {Creators: []keys.Role{keys.Auditor}},
		"a network": {Networks: []netip.Prefix{{}}}} {
		if _, err := r.EditPolicy(ctx, owner, "org", func(p *keys.Policy) { *p = bad }); !errors.As(err, &input) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCustomLimitSaysWhoAndWhy: asked for by the customer, granted by support.
func TestCustomLimitSaysWhoAndWhy(t *testing.T) {
	r, _ := newRegistry(t, "Starter")
	ctx := t.Context()
	owner, support := member(t, r, "own", keys.Owner), keys.Actor{ClientID: "desk", MemberID: "sue", Role: keys.Support}
	if _, err := r.AnswerLimit(ctx, support, "org", 7, ""); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("nothing was asked: %v", err)
	}
	o, err := r.RequestLimit(ctx, owner, "org", 7, "a new region")
	if err != nil || o.LimitRequest.By != "own" || o.LimitRequest.Reason != "a new region" || o.CustomLimit != nil {
		t.Fatalf("%+v, %v", o, err)
	}
	for name, err := range map[string]error{"the customer answers": errorOf2(r.AnswerLimit(ctx, owner, "org", 7, "")),
		"the support desk":  errorOf3(r.SetPlan(ctx, support, "org", "Enterprise", "")),
		"the customer sets": errorOf3(r.SetPlan(ctx, owner, "org", "Enterprise", ""))} {
		if !errors.Is(err, keys.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if o, err = r.AnswerLimit(ctx, support, "org", 7, "good customer"); err != nil || o.CustomLimit.MaxKeys != 7 || o.CustomLimit.By != "sue" || o.CustomLimit.Reason != "good customer" || o.LimitRequest.Answer != "granted" {
		t.Errorf("%+v, %v", o, err)
	}
	if _, limit, _ := r.Limits(ctx, "org"); limit != 7 {
		t.Errorf("the limit is %d", limit)
	}
	if _, err := r.AnswerLimit(ctx, support, "org", 0, ""); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("answered twice: %v", err)
	}
}

// TestOldSecretEndsAfterTheNewOneIsUsed: the overlap begins with the first use, and
// has an end of its own when there is none.
func TestOldSecretEndsAfterTheNewOneIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRegistry(t, "Professional")
		c := create(t, r, "CI")
		works := func(s keys.Secret) bool { return login(t, r, c.Key.ClientID, s.Reveal()) == nil }
		second, err := r.Rotate(t.Context(), keys.Program("test"), "org", c.Key.ID, keys.Overlap{Max: 7 * 24 * time.Hour, AfterUse: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * 24 * time.Hour)
		if !works(c.Secret) || !second.Key.Awaits(second.Secret.CredentialID()) || second.Key.Awaits(c.Secret.CredentialID()) {
			t.Errorf("before the first use")
		}
		for range 2 { // again changes nothing
			if err := r.FirstUse(t.Context(), second.Key, second.Secret.CredentialID(), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour - time.Microsecond)
		if !works(c.Secret) {
			t.Error("ended early")
		}
		time.Sleep(time.Microsecond)
		if works(c.Secret) || !works(second.Secret) {
			t.Error("did not end")
		}
		third, err := r.Rotate(t.Context(), keys.Program("test"), "org", c.Key.ID, keys.Overlap{Max: 24 * time.Hour, AfterUse: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		if works(second.Secret) || !works(third.Secret) {
			t.Error("the new secret was never used, and the old one has no end")
		}
	})
}

// TestFoundSecretEnds: whoever has a secret can end it, and nothing else.
func TestFoundSecretEnds(t *testing.T) {
	r, store := newRegistry(t, "Professional")
	ctx, anybody := t.Context(), keys.Actor{ClientID: "anonymous", Address: "198.51.100.1"}
	c := create(t, r, "CI")
	second, err := r.Rotate(ctx, keys.Program("test"), "org", c.Key.ID, keys.DefaultOverlap)
	if err != nil {
		t.Fatal(err)
	}
	leak, err := r.ReportLeak(ctx, anybody, c.Secret, "a commit")
	if err != nil || leak.Receipt.State != keys.Confirmed || leak.Kept || leak.Key.ID != c.Key.ID {
		t.Fatalf("%+v, %v", leak, err)
	}
	if login(t, r, c.Key.ClientID, c.Secret.Reveal()) == nil || login(t, r, c.Key.ClientID, second.Secret.Reveal()) != nil {
		t.Error("not the secret that was found ended")
	}
	if got := entries(t, store, tokens.Credential(c.Secret.CredentialID())); !slices.Equal(got, []tokens.Kind{tokens.Cut}) {
		t.Errorf("its tokens live on: %v", got)
	}
	if got := entries(t, store, tokens.Credential(second.Secret.CredentialID())); len(got) > 0 {
		t.Errorf("what the other secret bought is cut: %v", got)
	}
	before := len(entries(t, store, tokens.Client(c.Key.ClientID)))
	for range 3 {
		if again, err := r.ReportLeak(ctx, anybody, c.Secret, ""); err != nil || again.Kept || again.Key.ID != c.Key.ID {
			t.Errorf("reported again: %+v, %v", again, err)
		}
	}
	if after := len(entries(t, store, tokens.Client(c.Key.ClientID))); after != before {
		t.Errorf("an ended secret cut the key %d times more", after-before)
	}
	events, _ := r.Events(ctx, "org", keys.EventPage{Action: "secret.leaked"})
	if len(events) != 1 || events[0].Address != "198.51.100.1" || events[0].Reason == "" {
		t.Errorf("%+v", events)
	}
	stranger, _ := newRegistry(t, "Professional")
	foreign := create(t, stranger, "CI")
	if _, err := r.ReportLeak(ctx, anybody, foreign.Secret, ""); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("another server's secret: %v", err)
	}
	forged := second.Secret.Reveal()[:30] + foreign.Secret.Reveal()[30:70]
	if parsed, err := keys.ParseSecret(forged); err == nil {
		if _, err := r.ReportLeak(ctx, anybody, parsed, ""); !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("a forged secret: %v", err)
		}
	}
	policy(t, r, keys.Policy{KeepLeaked: true})
	if leak, err := r.ReportLeak(ctx, anybody, second.Secret, ""); err != nil || !leak.Kept || login(t, r, c.Key.ClientID, second.Secret.Reveal()) != nil {
		t.Errorf("told only: %+v, %v", leak, err)
	}
}

// TestMembersLeave: their keys go to another, an Owner stays, and an address is one
// person's.
func TestMembersLeave(t *testing.T) {
	r, _ := newRegistry(t, "Professional")
	ctx, by := t.Context(), keys.Program("test")
	member(t, r, "own", keys.Owner)
	member(t, r, "dev", keys.Developer)
	n := reading("CI")
	n.OwnerID = "dev"
	c, err := r.Create(ctx, by, "org", n)
	if err != nil {
		t.Fatal(err)
	}
	remove := func(id, heir string) error { return errorOf2(r.RemoveMember(ctx, by, "org", id, heir)) }
	is := func(want error) func(error) bool { return func(got error) bool { return errors.Is(got, want) } }
	var input *keys.InputError
	isInput := func(got error) bool { return errors.As(got, &input) }
	edit := func(id string, role keys.Role) error {
		return errorOf2(r.EditMember(ctx, by, "org", id, func(m *keys.Member) { m.Role = role }))
	}
	for _, row := range []struct {
		name string
		got  error
		ok   func(error) bool
	}{
		{"the last owner", remove("own", ""), is(keys.ErrLastOwner)},
		{"the last owner's role", edit("own", keys.Admin), is(keys.ErrLastOwner)},
		{"a staff role", edit("dev", keys.Staff), isInput},
		{"keys without an heir", remove("dev", ""), is(keys.ErrOwnsKeys)},
		{"an heir who is not here", remove("dev", "nobody"), isInput},
		{"itself as heir", remove("dev", "dev"), isInput},
		{"nobody", remove("nobody", ""), is(keys.ErrNotFound)},
		{"keys to the owner", remove("dev", "own"), is(nil)},
		{"who left", remove("dev", "own"), is(keys.ErrNotFound)},
		{"a change of who left", edit("dev", keys.Auditor), is(keys.ErrNotFound)},
	} {
		if !row.ok(row.got) {
			t.Errorf("%s: %v", row.name, row.got)
		}
	}
	k, err := r.Key(ctx, "org", c.Key.ID)
	if err != nil || k.OwnerID != "own" {
		t.Errorf("the key belongs to %s, %v", k.OwnerID, err)
	}
	for _, email := range []string{"a@x@y", "Ann <ann@example.com>", "", "ann", "ann@example.com ", "OWN@example.com", "own@EXAMPLE.com"} {
		if m, err := r.AddMember(ctx, by, keys.Member{OrganizationID: "org", Name: "Ann", Email: email, Role: keys.Auditor, AcceptedAt: time.Now()}); !errors.As(err, &input) && !errors.Is(err, keys.ErrExists) {
			t.Errorf("%q became %q, %v", email, m.Email, err)
		}
	}
	if _, err := r.AddMember(ctx, by, keys.Member{ID: "dev", OrganizationID: "org", Name: "x", Email: "x@example.com", Role: keys.Owner, AcceptedAt: time.Now()}); !errors.Is(err, keys.ErrExists) {
		t.Errorf("a recycled id (R-071): %v", err)
	}
}

// TestReviewFindsWhatToLookAt: one key for each finding, and none for a good one.
func TestReviewFindsWhatToLookAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := newRegistry(t, "Enterprise")
		ctx, by := t.Context(), keys.Program("test")
		member(t, r, "own", keys.Owner)
		member(t, r, "dev", keys.Developer)
		made := map[string]keys.Created{}
		add := func(name string, change func(*keys.NewKey)) {
			n := keys.NewKey{Name: name, OwnerID: "own", Access: keys.Access{Scopes: []string{"alerts:read", "alerts:write"}, ExpiresAt: time.Now().Add(500 * 24 * time.Hour)}}
			if change != nil {
				change(&n)
			}
			c, err := r.Create(ctx, by, "org", n)
			if err != nil {
				t.Fatal(err)
			}
			made[name] = c
		}
		for _, name := range []string{"good", "idle", "never", "old", "scope", "refused", "pending"} {
			add(name, nil)
		}
		add("endless", func(n *keys.NewKey) { n.ExpiresAt = time.Time{} })
		add("ends", func(n *keys.NewKey) { n.ExpiresAt = time.Now().Add(373 * 24 * time.Hour) })
		add("orphan", func(n *keys.NewKey) { n.OwnerID = "dev" })
		time.Sleep(370 * 24 * time.Hour)
		if err := store.AddUsage(ctx, keys.Usage{}); err != nil {
			t.Fatal(err)
		}
		for name, c := range made {
			at := time.Now()
			switch name {
			case "never":
				continue
			case "idle":
				at = at.Add(-91 * 24 * time.Hour)
			}
			u := keys.Usage{Credentials: map[string]keys.Use{c.Secret.CredentialID(): {At: at}}, Scopes: map[keys.ScopeUse]time.Time{{KeyID: c.Key.ID, Scope: "alerts:read"}: time.Now()}}
			if name != "scope" {
				u.Scopes[keys.ScopeUse{KeyID: c.Key.ID, Scope: "alerts:write"}] = time.Now()
			}
			if name == "refused" {
				u.Counts = map[keys.Tally]int64{{KeyID: c.Key.ID, Hour: time.Now().UTC().Truncate(time.Hour), Outcome: keys.RefusedSecret}: 20}
			}
			if err := r.AddUsage(ctx, u); err != nil {
				t.Fatal(err)
			}
			if name != "old" {
				if _, err := r.Rotate(ctx, by, "org", c.Key.ID, keys.Overlap{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := r.RemoveMember(ctx, by, "org", "dev", "own"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Edit(ctx, by, "org", made["orphan"].Key.ID, func(e *keys.KeyEdit) {}); err != nil {
			t.Fatal(err)
		}
		found, err := r.Review(ctx, "org")
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][]keys.FindingKind{}
		for _, f := range found {
			got[f.Key.Name] = append(got[f.Key.Name], f.Kind)
		}
		for name, want := range map[string][]keys.FindingKind{"idle": {keys.FoundIdle}, "never": {keys.FoundNeverUsed, keys.FoundOldSecret}, "old": {keys.FoundOldSecret},
			"scope": {keys.FoundUnusedScope}, "refused": {keys.FoundRefusals}, "endless": {keys.FoundNoEnd}, "ends": {keys.FoundExpiring}, "good": nil, "orphan": nil} {
			if !slices.Equal(got[name], want) {
				t.Errorf("%s: %v, want %v", name, got[name], want)
			}
		}
		if len(found) == 0 || found[0].Kind != keys.FoundExpiring {
			t.Errorf("the most urgent is not the first: %v", found)
		}
	})
}

// TestChainNamesTheFirstBadEvent: an event that is changed, missing, added, moved
// or cut off is found, and so is a chain that was written anew.
func TestChainNamesTheFirstBadEvent(t *testing.T) {
	r, _ := newRegistry(t, "Enterprise")
	for i := range 6 {
		create(t, r, string(rune('a'+i)))
	}
	good, err := r.Events(t.Context(), "org", keys.EventPage{})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := r.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var checkpoint keys.Checkpoint
	for _, c := range signed {
		if c.OrganizationID == "org" {
			checkpoint = c
		}
	}
	if parsed, err := keys.ParseCheckpoint(checkpoint.Signed, r.CheckpointKey()); err != nil || parsed.Position != good[len(good)-1].Position {
		t.Fatalf("%+v, %v", parsed, err)
	}
	rewritten := slices.Clone(good)
	rewritten[2].Reason = "nothing happened"
	var before []byte
	for i := range rewritten {
		rewritten[i].Hash = rewritten[i].Sum(before)
		before = rewritten[i].Hash
	}
	changed := func(f func(*keys.Event)) []keys.Event {
		list := slices.Clone(good)
		f(&list[3])
		return list
	}
	for name, row := range map[string]struct {
		events []keys.Event
		bad    int // index in good of the event that is named; -1 is none
	}{
		"as it is":   {good, -1},
		"reason":     {changed(func(e *keys.Event) { e.Reason = "x" }), 3},
		"actor":      {changed(func(e *keys.Event) { e.MemberID, e.ClientID = e.ClientID, e.MemberID }), 3},
		"time":       {changed(func(e *keys.Event) { e.At = e.At.Add(time.Microsecond) }), 3},
		"changes":    {changed(func(e *keys.Event) { e.Changes = keys.Changes{"name": {To: "z"}} }), 3},
		"kind":       {changed(func(e *keys.Event) { e.Kind = tokens.Cut }), 3},
		"no hash":    {changed(func(e *keys.Event) { e.Hash = nil }), 3},
		"removed":    {slices.Delete(slices.Clone(good), 3, 4), 4},
		"first":      {good[1:], 1},
		"tail":       {good[:5], len(good) - 1},
		"everything": {nil, len(good) - 1},
		"moved":      {[]keys.Event{good[0], good[2], good[1], good[3]}, 2},
		"twice":      {append([]keys.Event{good[0]}, good...), 0},
		"rewritten":  {rewritten, len(good) - 1},
	} {
		var c keys.Chain
		c.Expect(checkpoint)
		var err error
		for _, e := range row.events {
			if err = c.Add(e); err != nil {
				break
			}
		}
		if err == nil {
			err = c.End()
		}
		var broken *keys.BrokenError
		if row.bad < 0 && err != nil || row.bad >= 0 && (!errors.As(err, &broken) || broken.Position != good[row.bad].Position) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := keys.ParseCheckpoint(checkpoint.Signed[:len(checkpoint.Signed)-4]+"AAAA", r.CheckpointKey()); err == nil {
		t.Error("a forged checkpoint")
	}
	middle := keys.Chain{Middle: true}
	middle.Expect(checkpoint)
	for _, e := range good[2:] {
		if err := middle.Add(e); err != nil {
			t.Error(err)
		}
	}
	if err := middle.End(); err != nil {
		t.Error(err)
	}
}

// TestEveryActionIsPermittedToSomebody: a row without a role, or a role that is
// none, would be a mistake; what nobody may stands there on purpose.
func TestEveryActionIsPermittedToSomebody(t *testing.T) {
	for _, action := range keys.Actions() {
		allowed := 0
		for _, role := range []keys.Role{keys.Owner, keys.Admin, keys.Developer, keys.Auditor, keys.Billing, keys.Support, keys.Staff} {
			if (keys.Actor{MemberID: "m", Role: role}).May(action) == nil {
				allowed++
			}
		}
		internal := slices.Contains([]keys.Action{"secret.leaked", "secret.first_use", "token.revoke", "key.expiring", "key.expired", "account.password", "signing.make",
			"account.sign_in", "account.sign_in_failed", "account.sign_out", "account.step_up", "store.restored", "verifier.retire", "verifier.unproved", "webhook.edit"}, action)
		if (allowed == 0) != internal {
			t.Errorf("%s is allowed to %d roles", action, allowed)
		}
	}
	if err := (keys.Actor{ClientID: "x"}).May("key.unknown"); !errors.Is(err, keys.ErrForbidden) {
		t.Errorf("an action that does not exist: %v", err)
	}
	if err := (keys.Actor{MemberID: "x", Role: "root"}).May("key.read"); !errors.Is(err, keys.ErrForbidden) {
		t.Errorf("a role that does not exist: %v", err)
	}
}

// TestLeakThatWasKeptEndsLater: a secret that was reported while the policy wanted to
// be told only ends when it is reported again after that, and not before.
func TestLeakThatWasKeptEndsLater(t *testing.T) {
	r, _ := newRegistry(t, "Professional")
	c := create(t, r, "CI")
	anybody := keys.Actor{ClientID: "anonymous"}
	report := func() keys.Leak {
		t.Helper()
		leak, err := r.ReportLeak(t.Context(), anybody, c.Secret, "a gist")
		if err != nil {
			t.Fatal(err)
		}
		if works := login(t, r, c.Key.ClientID, c.Secret.Reveal()) == nil; works != leak.Kept {
			t.Errorf("kept %t, and it works %t", leak.Kept, works)
		}
		return leak
	}
	policy(t, r, keys.Policy{KeepLeaked: true})
	if first, second := report(), report(); !first.Kept || !second.Kept {
		t.Errorf("%+v, %+v", first, second)
	}
	if _, _, err := r.KeepSecret(t.Context(), keys.Program("test"), "org", c.Key.ID, c.Secret.CredentialID(), time.Now().Add(time.Hour)); !errors.Is(err, keys.ErrSecretEnded) {
		t.Errorf("a leaked secret is extended: %v", err)
	}
	policy(t, r, keys.Policy{})
	ended := report()
	if ended.Kept || ended.Receipt.State != keys.Confirmed {
		t.Errorf("%+v", ended)
	}
	if again := report(); again.Receipt.Position != ended.Receipt.Position {
		t.Errorf("another receipt: %+v, then %+v", ended.Receipt, again.Receipt)
	}
}

// TestStaffHoldIsLiftedByStaff: what the operator suspended, no customer resumes.
func TestStaffHoldIsLiftedByStaff(t *testing.T) {
	r, _ := newRegistry(t, "Professional")
	ctx := t.Context()
	admin, staff := member(t, r, "adm", keys.Admin), keys.Actor{ClientID: "desk", MemberID: "sue", Role: keys.Staff, Operator: true}
	c := create(t, r, "CI")
	for _, by := range []keys.Actor{staff, admin} {
		if _, _, err := r.Suspend(ctx, by, "org", c.Key.ID, "abuse"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Resume(ctx, admin, "org", c.Key.ID); !errors.Is(err, keys.ErrForbidden) {
		t.Errorf("an Admin: %v", err)
	}
	if _, err := r.Resume(ctx, staff, "org", c.Key.ID); err != nil {
		t.Error(err)
	}
}
