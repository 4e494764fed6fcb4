package keys

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Policy is what an organisation demands of its own keys. It is checked when a
// key is created or its access changes, and its networks at each token. The zero
// value demands nothing.
type Policy struct {
	// MaxLifetime of a key from its creation or extension; 0 lets keys live for ever.
	MaxLifetime time.Duration
	// Networks from which tokens may be asked for; none is all.
	Networks []netip.Prefix
	// Approval: a key with a scope that writes waits until an Owner or Admin other
	// than who asked for it approves it.
	Approval bool
	// Creators are the roles that may create keys; none is those that may at all.
	Creators []Role
	// KeepLeaked: a secret that is reported as leaked goes on working.
	KeepLeaked bool
}

// describe adds the policy's fields to f.
func (p *Policy) describe(f map[string]string) {
	f["policy.max_lifetime"], f["policy.approval"], f["policy.keep_leaked"] = p.MaxLifetime.String(), strconv.FormatBool(p.Approval), strconv.FormatBool(p.KeepLeaked)
	f["policy.networks"] = joined(p.Networks)
	var roles []string
	for _, role := range p.Creators {
		roles = append(roles, string(role))
	}
	f["policy.creators"] = strings.Join(roles, " ")
}

// EditPolicy lets edit change the policy of an organisation. Keys that exist are left
// as they are, and those that wait for approval still do; [Registry.Against] lists those
// that it would not admit. Who has asked for a key that waits does not switch approval off.
// Errors: [ErrNotFound], [ErrForbidden], an [InputError].
func (r *Registry) EditPolicy(ctx context.Context, by Actor, id string, edit func(*Policy)) (Organization, error) {
	asked, err := r.asksForApproval(ctx, by, id)
	if err != nil {
		return Organization{}, err
	}
	o, _, err := r.changeOrganization(ctx, by, "policy.set", id, func(o *Organization, _ *Entry) error {
		approval := o.Policy.Approval
		edit(&o.Policy)
		if asked && approval && !o.Policy.Approval {
			return fmt.Errorf("%w: who asked for a key that waits does not switch approval off", ErrForbidden)
		}
		return o.Policy.check()
	})
	return o, err
}

// asksForApproval tells whether a key waits that the actor asked for: the member, or the
// client that acts now.
func (r *Registry) asksForApproval(ctx context.Context, by Actor, id string) (bool, error) {
	list, err := r.config.Store.Keys(ctx, id, Page{Counting: true})
	if err != nil {
		return false, err
	}
	for _, k := range list {
		if !k.Pending {
			continue
		}
		if by.MemberID != "" && k.RequestedBy == by.MemberID {
			return true, nil
		}
		if asked, err := r.askedByClient(ctx, by, &k); asked || err != nil {
			return asked, err
		}
	}
	return false, nil
}

func (p *Policy) check() (err error) {
	if p.MaxLifetime < 0 || p.MaxLifetime > 0 && p.MaxLifetime < time.Hour {
		return invalid("max_lifetime_seconds", "it must be at least an hour, or 0")
	}
	if len(p.Creators) > MaxCreators {
		return invalid("creators", "at most %d", MaxCreators)
	}
	for _, role := range p.Creators {
		if !slices.Contains(CreatorRoles(), role) {
			return invalid("creators", "the role %q may not create keys", role)
		}
	}
	p.Networks, err = checkNetworks(p.Networks)
	return err
}

// Against returns the active keys of an organisation that a policy would not
// admit if they were created now.
func (r *Registry) Against(ctx context.Context, id string, p Policy) ([]Key, error) {
	list, err := r.config.Store.Keys(ctx, id, Page{Status: Active})
	return slices.DeleteFunc(list, func(k Key) bool { return p.admits(k.Access, k.CreatedAt) == nil }), err
}

// admits decides whether a key may have this access from time t on.
func (p *Policy) admits(a Access, t time.Time) error {
	if p.MaxLifetime > 0 && (a.ExpiresAt.IsZero() || a.ExpiresAt.After(t.Add(p.MaxLifetime))) {
		return fmt.Errorf("%w: at most %v", ErrLifetime, p.MaxLifetime)
	}
	for _, network := range a.Networks {
		if len(p.Networks) > 0 && !slices.ContainsFunc(p.Networks, func(outer netip.Prefix) bool {
			return outer.Bits() <= network.Bits() && outer.Contains(network.Addr())
		}) {
			return invalid("networks", "%s is outside of the organisation's networks", network)
		}
	}
	return nil
}

// Reaches tells whether a key of o may ask for a token from an address.
func (k *Key) Reaches(o *Organization, from netip.Addr) bool {
	inside := func(list []netip.Prefix) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(from.Unmap()) })
	}
	return inside(k.Networks) && inside(o.Policy.Networks)
}

// ParseNetworks reads networks such as 203.0.113.0/24; a single address is one, too.
// Errors: an [InputError].
func ParseNetworks(texts []string) ([]netip.Prefix, error) {
	if len(texts) > MaxNetworks {
		return nil, invalid("networks", "at most %d", MaxNetworks)
	}
	var list []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if a, e := netip.ParseAddr(text); e == nil && a.Zone() == "" {
			p, err = a.Prefix(a.BitLen())
		}
		if err != nil {
			return nil, invalid("networks", "%.64q is not a network: use 203.0.113.0/24 or 2001:db8::/32", text)
		}
		list = append(list, p)
	}
	return list, nil
}

// How many networks a key or a policy may have, and how many roles a policy may name.
const (
	MaxNetworks = 50
	MaxCreators = 10
)

// checkNetworks drops the host part of each.
func checkNetworks(list []netip.Prefix) ([]netip.Prefix, error) {
	if len(list) > MaxNetworks {
		return nil, invalid("networks", "at most %d", MaxNetworks)
	}
	var out []netip.Prefix
	for _, p := range list {
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, invalid("networks", "use 203.0.113.0/24 or 2001:db8::/32")
		}
		if p = p.Masked(); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out, nil
}

func joined(list []netip.Prefix) string {
	var texts []string
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, " ")
}
