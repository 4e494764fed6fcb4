package authz

import (
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// EventCSVHeader writes the first row of the audit log as CSV (RFC 4180).
func EventCSVHeader(w io.Writer) error {
	_, err := io.WriteString(w, "id,at,organization,action,target,client_id,member,request_id,address,reason,changes,hash\r\n")
	return err
}

// EventCSV writes the row of an event.
func EventCSV(w io.Writer, e keys.Event) error {
	var changes []string
	for _, field := range slices.Sorted(maps.Keys(e.Changes)) {
		changes = append(changes, fmt.Sprintf("%s: %q → %q", field, e.Changes[field].From, e.Changes[field].To))
	}
	row := []string{e.ID(), e.At.Format(time.RFC3339Nano), e.OrganizationID, string(e.Action), e.Target, e.ClientID, e.MemberID,
		e.RequestID, e.Address, e.Reason, strings.Join(changes, "; "), hex.EncodeToString(e.Hash)}
	c := csv.NewWriter(w)
	c.UseCRLF = true
	c.Write(Cells(row))
	c.Flush()
	return c.Error()
}

// Cells are a row of CSV, of which a spreadsheet takes nothing for a formula.
func Cells(row []string) []string {
	safe := slices.Clone(row)
	for i, cell := range row {
		if cell != "" && strings.ContainsAny(string([]rune(cell)[:1]), "=+-@\t\r＝＋－＠") {
			safe[i] = "'" + cell
		}
	}
	return safe
}
