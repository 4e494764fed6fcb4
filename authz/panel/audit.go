package panel

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// auditPage is what the page of the audit log shows.
type auditPage struct {
	Events                             []eventRow
	Actions                            []keys.Action
	Members                            []keys.Member
	Action, Actor, Target, From, Until string
	Older                              string // address of the page after this one
	Export                             string // address of the same events as a file; empty: the role does not allow it
	Verdict                            *verdict
	OtherActor                         string // the actor, where it is no member
	Operator, Server                   bool   // it is the operator's log; the server's own
}

// logOf is whose log a request is about: the organisation's, or on the operator's page the
// server's own, which is about no organisation.
func logOf(r *http.Request, v *visitor) string {
	if v.org.Operator && r.URL.Query().Has("server") {
		return ""
	}
	return v.org.ID
}

// A verdict is what became of checking the chain.
type verdict struct {
	Broken *keys.BrokenError
	Events int
	Head   string
}

const eventsPerPage = 50

// selection reads which events a request is about, and tells whether all of it can be
// read: a day that cannot selects nothing less.
func selection(r *http.Request) (page auditPage, events keys.EventPage, ok bool) {
	q := r.URL.Query()
	page = auditPage{Action: q.Get("action"), Actor: q.Get("actor"), Target: q.Get("target"), From: q.Get("from"), Until: q.Get("until")}
	events = keys.EventPage{Action: keys.Action(page.Action), Actor: page.Actor, Target: strings.TrimSpace(page.Target)}
	ok = true
	if page.From != "" {
		var err error
		events.Since, err = time.Parse(time.DateOnly, page.From)
		ok = err == nil
	}
	if page.Until != "" {
		until, err := time.Parse(time.DateOnly, page.Until)
		if err != nil {
			return page, events, false
		}
		events.Until = until.Add(day)
	}
	return page, events, ok
}

func (p *panel) showAudit(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.audit(w, r, v, nil)
}

// verifyAudit checks the whole chain of the organisation, and shows the log with the verdict.
func (p *panel) verifyAudit(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("audit.read"); err != nil {
		return err
	}
	chain, err := p.config.Registry.VerifyAudit(r.Context(), v.org.ID)
	var broken *keys.BrokenError
	if err != nil && !errors.As(err, &broken) {
		return err
	}
	head := chain.Head(v.org.ID)
	return p.audit(w, r, v, &verdict{broken, chain.Events, head.ID()})
}

func (p *panel) audit(w http.ResponseWriter, r *http.Request, v *visitor, verdict *verdict) error {
	if err := v.by.May("audit.read"); err != nil {
		return err
	}
	ctx := r.Context()
	page, wanted, _ := selection(r)
	page.Verdict = verdict
	wanted.Limit, wanted.Newest = eventsPerPage+1, true
	wanted.Before, _ = strconv.ParseUint(r.URL.Query().Get("before"), 10, 64)
	page.Operator, page.Server = v.org.Operator, logOf(r, v) == ""
	events, err := p.config.Registry.Events(ctx, logOf(r, v), wanted)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	if len(events) > eventsPerPage {
		events = events[:eventsPerPage]
		q.Set("before", strconv.FormatUint(events[eventsPerPage-1].Position, 10))
		page.Older = "?" + q.Encode()
	}
	q.Del("before")
	if v.by.May("audit.export") == nil {
		page.Export = "audit/export?" + q.Encode()
	}
	page.Actions = slices.DeleteFunc(keys.Actions(), func(a keys.Action) bool { // what only looks leaves no event
		return strings.HasSuffix(string(a), ".read") || strings.HasSuffix(string(a), ".list")
	})
	if page.Members, err = p.config.Registry.Members(ctx, v.org.ID); err != nil {
		return err
	}
	if named(page.Members, page.Actor).ID == "" {
		page.OtherActor = page.Actor
	}
	if page.Events, err = p.eventRows(ctx, v, events); err != nil {
		return err
	}
	p.show(w, v, "audit", http.StatusOK, page)
	return nil
}

// exportAudit writes the events of a selection while it reads them.
func (p *panel) exportAudit(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("audit.export"); err != nil {
		return err
	}
	_, wanted, ok := selection(r)
	if !ok {
		return errForm
	}
	if err := p.config.Registry.Note(r.Context(), v.by, "audit.export", v.org.ID, v.org.ID); err != nil {
		return err
	}
	format, kind := "csv", "text/csv; charset=utf-8"
	if r.PostForm.Get("format") == "ndjson" {
		format, kind = "ndjson", "application/x-ndjson"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", `attachment; filename="audit.`+format+`"`)
	if err := authz.ExportEvents(r.Context(), p.config.Registry, w, logOf(r, v), wanted, format == "csv"); err != nil {
		p.config.Logger.Error("export broke off", "request_id", v.by.RequestID, "error", err)
		panic(http.ErrAbortHandler) // a body that just ends would look whole
	}
	return nil
}

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
	members, err := p.config.Registry.Members(ctx, v.org.ID)
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
		} else if k, err := p.config.Registry.Key(ctx, v.org.ID, e.Target); err == nil {
			row.Name = k.Name
		} else if !errors.Is(err, keys.ErrNotFound) {
			return nil, err
		}
		names[e.Target] = row.Name
		for _, field := range slices.Sorted(maps.Keys(e.Changes)) {
			c := e.Changes[field]
			row.Changes = append(row.Changes, changeRow{field, keys.Change{From: readable(members, c.From), To: readable(members, c.To)}})
		}
		list = append(list, row)
	}
	return list, nil
}

// readable is a value of a change as people read it: who for the id of a member, and times
// to the minute.
func readable(members []keys.Member, value string) string {
	if m := named(members, value); m.ID != "" {
		return m.Name
	}
	words := strings.Fields(value)
	for i, word := range words {
		if t, err := time.Parse(time.RFC3339Nano, word); err == nil {
			words[i] = date(t)
			value = strings.Join(words, " ")
		}
	}
	return value
}
