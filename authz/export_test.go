package authz

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
)

// TestExportedReceiptIsTheOneThatWasSigned: whoever checks an export against a checkpoint
// comes to the same hash over a receipt as the server that signed it.
func TestExportedReceiptIsTheOneThatWasSigned(t *testing.T) {
	settled := time.Date(2026, 11, 27, 20, 0, 0, 123456000, time.UTC)
	for name, receipt := range map[string]keys.Receipt{
		"confirmed": {State: keys.Confirmed, Confirmed: 3, Total: 3, By: "ann", Waited: time.Second, SettledAt: settled},
		"by leases": {State: keys.LeaseEnded, Confirmed: 0, Total: 2, SettledAt: settled},
		"recovered": {State: keys.LeaseEnded, Recovered: true, By: "ann", SettledAt: settled},
		"waits":     {State: keys.Waiting},
	} {
		receipt.Position, receipt.Head, receipt.Subject = 1<<40+1, 1<<52-1, "c:imara_ci_x"
		line, err := json.Marshal(ShowEvent(keys.Event{Position: receipt.Position, Receipt: &receipt}))
		if err != nil {
			t.Fatal(err)
		}
		e, _, err := ReadEvent(line)
		if err != nil || !bytes.Equal(e.Receipt.Link(nil), receipt.Link(nil)) {
			t.Errorf("%s: %+v, %v", name, e.Receipt, err)
		}
	}
}
