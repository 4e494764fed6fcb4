package management

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// TestVerifiersAreNamedToWhomTheOperatorNamesThem: the operator sees each verifier in a
// receipt, a customer their number, and with --name-verifiers their names too; what is
// signed says the same.
func TestVerifiersAreNamedToWhomTheOperatorNamesThem(t *testing.T) {
	a := newAPI(t, "Enterprise")
	commit, err := a.store.Append(t.Context(), keys.Entry{Kind: tokens.Cut, Subject: "c:1",
		OrganizationID: "org", Action: "key.revoke", Target: "key_1", Actor: keys.Program("test")})
	if err != nil {
		t.Fatal(err)
	}
	member := keys.ReceiptMember{ID: "vfr_1", Name: "eu-west-2", State: keys.Confirmed, At: time.Now()}
	receipt := keys.Receipt{Position: commit.Position, Head: commit.Head, Members: []keys.ReceiptMember{member}, SettledAt: time.Now()}
	receipt.Sum()
	if _, err := a.store.PutReceipts(t.Context(), []keys.Receipt{receipt}); err != nil {
		t.Fatal(err)
	}
	path := "/v1/orgs/org/receipts/" + fmt.Sprint(commit.Position)
	for _, row := range []struct {
		scope string
		names bool // as the operator says
		named bool
	}{
		{"keys:read", false, false},
		{"keys:read", true, true},
		{"keys:read operator", false, true},
	} {
		a.server.config.NameVerifiers = row.names
		token := a.token("org", row.scope)
		r := a.call("GET", path, token, "")
		if r.Code != 200 || r.json["total"] != 1.0 || strings.Contains(r.Body.String(), "eu-west-2") != row.named {
			t.Errorf("%+v: %d %s", row, r.Code, r.Body)
		}
		r = a.call("GET", path, token, "", "Accept", "application/jose")
		signed, err := keys.ParseReceipt(strings.TrimSpace(r.Body.String()), a.registry.CheckpointKey())
		if err != nil || *signed.Total != 1 || len(signed.Members) > 0 != row.named {
			t.Errorf("%+v, signed: %+v, %v", row, signed, err)
		}
	}
}
