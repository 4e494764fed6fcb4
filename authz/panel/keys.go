package panel

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/imara/apikeys/keys"
)

// keyList is what the page P1 shows.
type keyList struct {
	Keys, Gone  []keyRow // those that count, and those that do not any more
	More        bool     // of those
	Active, Max int
	Plan        string
	APIAccess   bool
	Over        int // how many to revoke before another can be made, where there are too many
	MayCreate   bool
	Admins      []keys.Member // whom to ask otherwise
	Idle        int
	Soon        int    // that expire within a week
	Preset      string // id of one, for who would rather use the terminal; empty: there is none
	Query       string
	Status      keys.Status
	Scope       string
	Owner       string
	Order       keys.Order
	Filtered    bool
	// The choices of the filters.
	Statuses []keys.Status
	Scopes   []string
	Members  []keys.Member
	Orders   []keys.Order
}

// The states and orders that the list can be asked for.
var (
	statuses = []keys.Status{keys.Active, keys.Pending, keys.Suspended, keys.Expired, keys.Revoked}
	orders   = []keys.Order{keys.ByCreation, keys.ByName, keys.ByUse, keys.ByEnd}
)

// A keyRow is a key of the list.
type keyRow struct {
	keys.Key
	State  string // status, or rotating
	Unused bool   // for ninety days
	Soon   bool   // it expires within a week
	Owner  string // name of its member; empty: none, or left
	Left   bool   // the owner left
	Last   time.Time
	// LastFrom is from where it was used last.
	LastFrom string
	// What the visitor may do with it now. Collecting is making its first secret.
	MayEdit, MayRotate, MayCollect, MayEnd, MayRevoke, MaySuspend, MayResume, MayApprove bool
}

func (p *panel) listKeys(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("key.read"); err != nil {
		return err
	}
	ctx := r.Context()
	query := r.URL.Query()
	text := strings.TrimSpace(query.Get("q"))
	if utf8.RuneCountInString(text) > 80 || !keys.Printable(text) {
		text = ""
	}
	page := keyList{Query: text, Status: one(query.Get("status"), statuses), Scope: query.Get("scope"), Owner: query.Get("owner"), Order: one(query.Get("sort"), orders),
		Statuses: statuses, Orders: orders, Plan: v.org.Plan, APIAccess: p.config.Registry.APIAccess(v.org) == nil, MayCreate: v.org.MayCreate(v.by) == nil}
	page.Filtered = page.Query != "" || page.Status != "" || page.Scope != "" || page.Owner != ""
	list, more, err := p.listed(ctx, v.org.ID, keys.Page{Text: page.Query, Status: page.Status, Scope: page.Scope, OwnerID: page.Owner,
		Order: page.Order, Ascending: page.Order == keys.ByName || page.Order == keys.ByEnd})
	if err != nil {
		return err
	}
	page.More = more
	members, err := p.config.Registry.Members(ctx, v.org.ID)
	if err != nil {
		return err
	}
	if page.Active, page.Max, err = p.config.Registry.Limits(ctx, v.org.ID); err != nil {
		return err
	}
	if page.Active > page.Max {
		page.Over = page.Active - page.Max + 1
	}
	page.Members = members
	catalogue, err := p.config.Registry.Catalogue(ctx)
	if err != nil {
		return err
	}
	for _, resource := range catalogue {
		for _, scope := range resource.Scopes {
			if !scope.Restricted || v.org.Operator {
				page.Scopes = append(page.Scopes, scope.Name)
			}
		}
	}
	for _, m := range members {
		if m.Active() && v.org.MayCreate(keys.Actor{MemberID: m.ID, Role: m.Role}) == nil {
			page.Admins = append(page.Admins, m)
		}
	}
	now := time.Now()
	for _, k := range list {
		row := rowOf(k, members, v, now)
		if !k.Counts(now) {
			page.Gone = append(page.Gone, row)
			continue
		}
		if row.Unused && !page.Filtered {
			page.Idle++
		}
		if row.Soon && !page.Filtered {
			page.Soon++
		}
		page.Keys = append(page.Keys, row)
	}
	if len(list) == 0 {
		presets, err := p.config.Registry.Presets(ctx)
		if err != nil {
			return err
		}
		if len(presets) > 0 {
			page.Preset = presets[0].ID
		}
	}
	p.show(w, v, "keys", http.StatusOK, page)
	return nil
}

// goneShown is how many keys that do not count any more a list has of each state: plans
// limit how many count, and nothing limits these.
const goneShown = 100

// listed reads the keys of a page: all that count, of the others the newest of each
// state, and whether there are more.
func (p *panel) listed(ctx context.Context, organizationID string, page keys.Page) (list []keys.Key, more bool, err error) {
	if page.Status != keys.Expired && page.Status != keys.Revoked {
		counting := page
		counting.Counting = true
		if list, err = p.config.Registry.Keys(ctx, organizationID, counting); err != nil {
			return nil, false, err
		}
	}
	for _, status := range []keys.Status{keys.Expired, keys.Revoked} {
		if page.Status != "" && page.Status != status {
			continue
		}
		gone := page
		gone.Status, gone.Order, gone.Ascending, gone.Limit = status, keys.ByCreation, false, goneShown+1
		some, err := p.config.Registry.Keys(ctx, organizationID, gone)
		if err != nil {
			return nil, false, err
		}
		if len(some) > goneShown {
			some, more = some[:goneShown], true
		}
		slices.SortFunc(some, func(a, b keys.Key) int {
			if page.Ascending {
				a, b = b, a
			}
			return b.Mark(page.Order).Compare(a.Mark(page.Order))
		})
		list = append(list, some...)
	}
	return list, more, nil
}

// one of these, or none.
func one[T ~string](value string, of []T) T {
	if slices.Contains(of, T(value)) {
		return T(value)
	}
	return ""
}

func rowOf(k keys.Key, members []keys.Member, v *visitor, now time.Time) keyRow {
	owner := named(members, k.OwnerID)
	row := keyRow{Key: k, State: string(k.Status(now)), Owner: owner.Name, Left: k.OwnerID != "" && (owner.ID == "" || !owner.RemovedAt.IsZero()),
		Unused: k.Unused(now), Soon: k.Counts(now) && k.EndsSoon(now), Last: k.LastUsedAt()}
	for _, c := range k.Credentials {
		if !c.LastUsedAt.IsZero() && c.LastUsedAt.Equal(row.Last) {
			row.LastFrom = c.LastUsedFrom
		}
	}
	may := func(action keys.Action) bool { return k.RevokedAt.IsZero() && v.by.MayKey(action, &k) == nil }
	counts := k.Counts(now)
	row.MayEdit, row.MayRevoke = may("key.edit"), may("key.revoke")
	row.MayRotate = counts && !k.Pending && may("key.rotate") && (len(k.Credentials) > 0 || k.RequestedBy == v.by.MemberID)
	row.MayEnd = counts && may("secret.end")
	row.MayCollect = row.MayRotate && len(k.Credentials) == 0
	row.MaySuspend = counts && k.SuspendedAt.IsZero() && may("key.suspend")
	row.MayResume = counts && !k.SuspendedAt.IsZero() && (!k.StaffHold || v.by.Operator) && may("key.resume")
	row.MayApprove = counts && k.Pending && k.RequestedBy != v.by.MemberID && may("key.approve")
	if row.State == string(keys.Active) && k.Live(now) > 1 {
		row.State = "rotating"
	}
	return row
}

// named is the member with an id, or nobody.
func named(members []keys.Member, id string) keys.Member {
	if i := slices.IndexFunc(members, func(m keys.Member) bool { return m.ID == id }); i >= 0 {
		return members[i]
	}
	return keys.Member{}
}
