package panel

import (
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
	Active, Max int
	Plan        string
	APIAccess   bool
	Over        int // how many to revoke before another can be made, where there are too many
	MayCreate   bool
	Admins      []keys.Member // whom to ask otherwise
	Idle        int
	Query       string
	Filtered    bool
}

// A keyRow is a key of the list.
type keyRow struct {
	keys.Key
	State  string // status, or rotating
	Unused bool   // for ninety days
	Soon   bool   // it expires within a week
	Owner  string // name of its member; empty: none, or left
	Left   bool   // the owner left
	Last   time.Time
}

func (p *panel) listKeys(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("key.read"); err != nil {
		return err
	}
	ctx := r.Context()
	query := strings.TrimSpace(r.URL.Query().Get("q"))
	if utf8.RuneCountInString(query) > 80 || !keys.Printable(query) {
		query = ""
	}
	page := keyList{Query: query, Plan: v.org.Plan, APIAccess: p.Registry.APIAccess(v.org) == nil, MayCreate: v.org.MayCreate(v.by) == nil}
	page.Filtered = page.Query != ""
	list, err := p.Registry.Keys(ctx, v.org.ID, keys.Page{Text: page.Query})
	if err != nil {
		return err
	}
	members, err := p.Registry.Members(ctx, v.org.ID)
	if err != nil {
		return err
	}
	if page.Active, page.Max, err = p.Registry.Limits(ctx, v.org.ID); err != nil {
		return err
	}
	if page.Active > page.Max {
		page.Over = page.Active - page.Max + 1
	}
	for _, m := range members {
		if m.RemovedAt.IsZero() && (m.Role == keys.Owner || m.Role == keys.Admin) {
			page.Admins = append(page.Admins, m)
		}
	}
	now := time.Now()
	for _, k := range list {
		row := rowOf(k, members, now)
		if !k.Counts(now) {
			page.Gone = append(page.Gone, row)
			continue
		}
		if row.Unused && !page.Filtered {
			page.Idle++
		}
		page.Keys = append(page.Keys, row)
	}
	p.show(w, v, "keys", http.StatusOK, page)
	return nil
}

func rowOf(k keys.Key, members []keys.Member, now time.Time) keyRow {
	owner := named(members, k.OwnerID)
	row := keyRow{Key: k, State: string(k.Status(now)), Owner: owner.Name, Left: k.OwnerID != "" && (owner.ID == "" || !owner.RemovedAt.IsZero()),
		Unused: k.Unused(now), Soon: k.Counts(now) && k.EndsSoon(now), Last: k.LastUsedAt()}
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
