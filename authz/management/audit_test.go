package management

import (
	"encoding/csv"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// TestExportIsAChain: the lines are the events, in order and whole; the last one
// signs them. A change of any is found by who has the file alone.
func TestExportIsAChain(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	for i := range 5 {
		if got := w.call("PATCH", "/v1/orgs/org", token, fmt.Sprintf(`{"name":"=cmd|' /C calc'!A%d <&>"}`, i)); got.Code != 200 {
			t.Fatal(got.Body)
		}
	}
	got := w.call("GET", "/v1/orgs/org/audit-events/export", token, "")
	if got.Code != 200 || got.Header().Get("Content-Type") != "application/x-ndjson" || !strings.HasPrefix(got.Header().Get("Content-Disposition"), "attachment") {
		t.Fatalf("%d %v", got.Code, got.Header())
	}
	lines := strings.SplitAfter(strings.TrimSuffix(got.Body.String(), "\n"), "\n")
	check := func(lines []string) (int, error) {
		var c keys.Chain
		for _, line := range lines[:len(lines)-1] {
			e, _, err := authz.ReadEvent([]byte(line))
			if err != nil {
				return c.Events, err
			}
			if err := c.Add(e); err != nil {
				return c.Events, err
			}
		}
		_, end, err := authz.ReadEvent([]byte(lines[len(lines)-1]))
		if err != nil {
			return c.Events, err
		}
		checkpoint, err := keys.ParseCheckpoint(end.Checkpoint, w.registry.CheckpointKey())
		if err != nil {
			return c.Events, err
		}
		if head := c.Head("org"); checkpoint.Position != head.Position || string(checkpoint.Hash) != string(head.Hash) {
			return c.Events, fmt.Errorf("the checkpoint is of another event")
		}
		return c.Events, nil
	}
	n, err := check(lines)
	if err != nil || n != len(lines)-1 || n < 10 {
		t.Fatalf("%d events of %d lines, %v", n, len(lines), err)
	}
	changed := append([]string{}, lines...)
	changed[3] = strings.Replace(changed[3], `"action":"`, `"action":"x`, 1)
	if n, err := check(changed); err == nil || n != 3 {
		t.Errorf("a changed line: %d, %v", n, err)
	}
	if _, err := check(append(append([]string{}, lines[:len(lines)-2]...), lines[len(lines)-1])); err == nil {
		t.Error("the newest event can be left out")
	}
	// The export itself is the newest event.
	if last, _, _ := authz.ReadEvent([]byte(lines[len(lines)-2])); last.Action != "audit.export" {
		t.Errorf("%+v", last)
	}
	table := w.call("GET", "/v1/orgs/org/audit-events/export?format=csv&action=organization.rename", token, "")
	rows, err := csv.NewReader(strings.NewReader(table.Body.String())).ReadAll()
	if err != nil || len(rows) != 6 || rows[1][3] != "organization.rename" || !strings.Contains(rows[1][10], "=cmd") {
		t.Errorf("%v, %v", rows, err)
	}
	for _, row := range rows[1:] {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
				t.Errorf("a cell that a spreadsheet would run: %s", cell)
			}
		}
	}
}

// TestAuditPagesJoin: filters hold over all pages, revocations have their receipts,
// and the check of the whole chain says so.
func TestAuditPagesJoin(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	for i := range 5 {
		if got := w.call("PATCH", "/v1/orgs/org", token, fmt.Sprintf(`{"name":"n%d"}`, i)); got.Code != 200 {
			t.Fatal(got.Body)
		}
	}
	w.call("POST", "/v1/orgs/org/keys/"+w.ids["org"]["key"]+"/revoke", token, `{"reason":"unused"}`)
	var names []string
	cursor := ""
	for {
		got := w.call("GET", "/v1/orgs/org/audit-events?limit=2&action=organization.rename"+cursor, token, "")
		for _, e := range got.json["data"].([]any) {
			names = append(names, e.(map[string]any)["changes"].(map[string]any)["name"].(map[string]any)["to"].(string))
		}
		if got.json["has_more"] != true {
			break
		}
		cursor = "&cursor=" + got.json["next_cursor"].(string)
	}
	if fmt.Sprint(names) != "[n4 n3 n2 n1 n0]" {
		t.Errorf("%v", names)
	}
	w.problem("another filter", w.call("GET", "/v1/orgs/org/audit-events?limit=2"+cursor, token, ""), 400, "invalid_cursor")
	cuts := w.call("GET", "/v1/orgs/org/revocations", token, "").json["data"].([]any)
	if len(cuts) != 2 || cuts[0].(map[string]any)["receipt"].(map[string]any)["state"] != "confirmed" || cuts[0].(map[string]any)["reason"] != "unused" {
		t.Errorf("%v", cuts)
	}
	verdict := w.call("GET", "/v1/orgs/org/audit-events/verify", token, "")
	if verdict.json["valid"] != true || verdict.json["checkpoint"] == nil {
		t.Errorf("%s", verdict.Body)
	}
	if got := w.call("GET", "/v1/audit-events", w.token("staff", "operator"), ""); len(got.json["data"].([]any)) == 0 {
		t.Errorf("%s", got.Body)
	}
}

// TestUsageIsByHourOrDay: the sums are the same, by hour within a week and by day
// beyond it, under the id of a key and under its client id.
func TestUsageIsByHourOrDay(t *testing.T) {
	w := newWorld(t)
	token := w.token("org", everything)
	key, err := w.registry.Key(t.Context(), "org", w.ids["org"]["key"])
	if err != nil {
		t.Fatal(err)
	}
	midday := time.Now().UTC().Truncate(24 * time.Hour).Add(-36 * time.Hour)
	counts := map[keys.Tally]int64{}
	for i := range 6 {
		counts[keys.Tally{KeyID: key.ID, Hour: midday.Add(time.Duration(i) * time.Hour), Outcome: keys.Issued}] = 2
	}
	if err := w.registry.AddUsage(t.Context(), keys.Usage{Counts: counts}); err != nil {
		t.Fatal(err)
	}
	for window, rows := range map[string]int{"7d": 6, "30d": 1, "1h": 0} {
		for _, name := range []string{key.ID, key.ClientID} {
			got := w.call("GET", "/v1/orgs/org/keys/"+name+"/usage?window="+window, token, "")
			total, _ := got.json["total"].(map[string]any)["issued"].(float64)
			if got.Code != 200 || len(got.json["rows"].([]any)) != rows || rows > 0 && total != 12 {
				t.Errorf("%s of %s: %s", window, name, got.Body)
			}
		}
	}
	w.problem("too long", w.call("GET", "/v1/orgs/org/usage?window=401d", token, ""), 422, "invalid_field")
}
