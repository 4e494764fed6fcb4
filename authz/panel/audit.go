package panel

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/imara/apikeys/keys"
)

// An eventRow is an event of the audit log as a page shows it.
type eventRow struct {
	keys.Event
	By      string // name of the member, or what acted by itself
	Name    string // of the key that it is about
	Changes []changeRow
}

type changeRow struct {
	Field string
	keys.Change
}

// eventRows names who and what events are about.
func (p *panel) eventRows(ctx context.Context, v *visitor, events []keys.Event) (list []eventRow, err error) {
	members, err := p.Registry.Members(ctx, v.org.ID)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, e := range events {
		row := eventRow{Event: e, By: cmp.Or(named(members, e.MemberID).Name, e.MemberID, e.ClientID), Name: e.Target}
		if name, ok := names[e.Target]; ok {
			row.Name = name
		} else if m := named(members, e.Target); m.ID != "" {
			row.Name = m.Name
		} else if k, err := p.Registry.Key(ctx, v.org.ID, e.Target); err == nil {
			row.Name = k.Name
		} else if !errors.Is(err, keys.ErrNotFound) {
			return nil, err
		}
		names[e.Target] = row.Name
		for _, field := range slices.Sorted(maps.Keys(e.Changes)) {
			row.Changes = append(row.Changes, changeRow{field, e.Changes[field]})
		}
		list = append(list, row)
	}
	return list, nil
}
