package authz

import (
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// An Event of the audit log.
type Event struct {
	ID           string       `json:"id"`
	Position     uint64       `json:"position" doc:"In the log of the server; an organisation's events have gaps."`
	At           time.Time    `json:"at"`
	Organization string       `json:"organization,omitempty"`
	Action       string       `json:"action"`
	Target       string       `json:"target" doc:"Id of what was changed."`
	ClientID     string       `json:"client_id" doc:"The key that asked, or the part of the server that did it by itself."`
	Member       string       `json:"member,omitempty" doc:"The member for whom the key acted."`
	RequestID    string       `json:"request_id,omitempty"`
	Address      string       `json:"address,omitempty"`
	Reason       string       `json:"reason,omitempty"`
	Changes      keys.Changes `json:"changes,omitempty" doc:"Fields, as they were and as they are; no secrets."`
	Kind         string       `json:"kind" enum:"cut,touch" doc:"Whether tokens from before are dead."`
	Subject      string       `json:"subject" doc:"What verifiers were told about."`
	Hash         string       `json:"hash,omitempty" doc:"SHA-256 over the event and the hash of the one before it, in hex."`
	Receipt      *Receipt     `json:"receipt,omitempty" doc:"How far a cut has reached. It came later and is not in the hash."`
}

// ShowEvent is an event for programs.
func ShowEvent(e keys.Event) Event {
	shown := Event{ID: e.ID(), Position: e.Position, At: e.At, Organization: e.OrganizationID, Action: string(e.Action), Target: e.Target,
		ClientID: e.ClientID, Member: e.MemberID, RequestID: e.RequestID, Address: e.Address, Reason: e.Reason, Changes: e.Changes,
		Kind: string(e.Kind), Subject: string(e.Subject), Hash: hex.EncodeToString(e.Hash)}
	if e.Receipt != nil {
		shown.Receipt = ShowReceipt(*e.Receipt)
	}
	return shown
}

// An ExportEnd is the last line of an NDJSON export.
type ExportEnd struct {
	Checkpoint string `json:"checkpoint,omitempty"` // over the last event
	// Filtered: events between those that are here were left out, so that there is no
	// chain to check.
	Filtered bool `json:"filtered,omitempty"`
}

// ExportEvents writes the events of a page, the oldest first, while it reads them: as CSV,
// or as NDJSON with an [ExportEnd]. After an error what was written is a part.
func ExportEvents(ctx context.Context, registry *keys.Registry, w io.Writer, organization string, page keys.EventPage, asCSV bool) error {
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	write := func(e keys.Event) error { return lines.Encode(ShowEvent(e)) }
	if asCSV {
		if err := eventCSVHeader(w); err != nil {
			return err
		}
		write = func(e keys.Event) error { return eventCSV(w, e) }
	}
	var last keys.Event
	err := registry.EachEvent(ctx, organization, page, func(e keys.Event) error {
		last = e
		return write(e)
	})
	if err != nil || asCSV {
		return err
	}
	end := ExportEnd{Filtered: page.Action != "" || page.Target != "" || page.Actor != ""}
	if !end.Filtered && len(last.Hash) > 0 {
		checkpoint, err := registry.CheckpointOf(last)
		if err != nil {
			return err
		}
		end.Checkpoint = checkpoint.Signed
	}
	return lines.Encode(end)
}

// ReadEvent is the event of a line of an NDJSON export, for those who check it.
func ReadEvent(line []byte) (e keys.Event, end ExportEnd, err error) {
	var both struct {
		Event
		ExportEnd
	}
	if err := json.Unmarshal(line, &both); err != nil {
		return e, end, err
	}
	hash, err := hex.DecodeString(both.Hash)
	if err != nil {
		return e, end, err
	}
	e = keys.Event{Position: both.Position, At: both.At, OrganizationID: both.Organization, Action: keys.Action(both.Action), Target: both.Target,
		ClientID: both.ClientID, MemberID: both.Member, RequestID: both.RequestID, Address: both.Address, Reason: both.Reason, Changes: both.Changes,
		Kind: tokens.Kind(both.Kind), Subject: tokens.Subject(both.Subject), Hash: hash}
	if both.Receipt != nil {
		e.Receipt = readReceipt(*both.Receipt)
	}
	return e, both.ExportEnd, nil
}

// readReceipt reverses [ShowReceipt], as far as [keys.Receipt.Link] needs it.
func readReceipt(shown Receipt) *keys.Receipt {
	r := &keys.Receipt{Position: shown.Position, Head: shown.Head, Subject: tokens.Subject(shown.Subject),
		State: keys.ReceiptState(shown.State), Recovered: shown.By == recovered}
	if shown.Confirmed != nil && shown.Total != nil {
		r.Confirmed, r.Total = *shown.Confirmed, *shown.Total
	}
	if shown.SettledAt != nil {
		r.SettledAt = *shown.SettledAt
	}
	return r
}

// eventCSVHeader writes the first row of the audit log as CSV (RFC 4180).
func eventCSVHeader(w io.Writer) error {
	_, err := io.WriteString(w, "id,at,organization,action,target,client_id,member,request_id,address,reason,changes,hash\r\n")
	return err
}

// eventCSV writes the row of an event.
func eventCSV(w io.Writer, e keys.Event) error {
	var changes []string
	for _, field := range slices.Sorted(maps.Keys(e.Changes)) {
		changes = append(changes, fmt.Sprintf("%s: %q → %q", field, e.Changes[field].From, e.Changes[field].To))
	}
	row := []string{e.ID(), e.At.Format(time.RFC3339Nano), e.OrganizationID, string(e.Action), e.Target, e.ClientID, e.MemberID,
		e.RequestID, e.Address, e.Reason, strings.Join(changes, "; "), hex.EncodeToString(e.Hash)}
	c := csv.NewWriter(w)
	c.UseCRLF = true
	c.Write(web.Cells(row))
	c.Flush()
	return c.Error()
}
