package history_test

import (
	"testing"
	"time"

	"github.com/imara/apikeys/tokens/history"
)

// TestEachRuleIsFound: a history that is as it must be, and one for each way in
// which it must not.
func TestEachRuleIsFound(t *testing.T) {
	begin := time.Now()
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	for _, row := range []struct {
		name string
		tell func(*history.History)
		rule string
	}{
		{"one refuses while another accepts, until the call returns", func(h *history.History) {
			h.Accepted("a", "k", at(0))
			h.Revoking("k", at(10))
			h.Refused("a", "k", at(12))
			h.Accepted("b", "k", at(15))
			h.Returned("k", at(20))
			h.Accepted("b", "k", at(20))
			h.Refused("b", "k", at(30))
			h.Accepted("b", "other", at(40))
		}, ""},
		{"late", func(h *history.History) {
			h.Revoking("k", at(10))
			h.Returned("k", at(20))
			h.Accepted("a", "k", at(21))
			h.Accepted("a", "k", at(5))
		}, history.AfterReturn},
		{"the server died, and a lease lasts too long", func(h *history.History) {
			h.Revoking("k", at(10))
			h.Bound("k", at(2000))
			h.Accepted("a", "k", at(2001))
		}, history.AfterBound},
		{"the server died, and the lease ends in time", func(h *history.History) {
			h.Revoking("k", at(10))
			h.Bound("k", at(2000))
			h.Accepted("a", "k", at(1999))
		}, ""},
		{"a flag goes down again", func(h *history.History) {
			h.Revoking("k", at(10))
			h.Refused("a", "k", at(14))
			h.Refused("a", "k", at(11))
			h.Accepted("a", "k", at(12))
		}, history.AfterRefusal},
		{"refused for nothing", func(h *history.History) { h.Refused("a", "k", at(11)) }, history.BeforeRevoke},
		{"refused too early", func(h *history.History) {
			h.Refused("a", "k", at(11))
			h.Revoking("k", at(12))
		}, history.BeforeRevoke},
		{"confirmed, before the call returns", func(h *history.History) {
			h.Revoking("k", at(10))
			h.Claimed("k", history.Claim{Since: at(20)})
			h.Returned("k", at(30))
			h.Accepted("a", "k", at(21))
		}, history.AfterReceipt},
		{"named, while others may still", func(h *history.History) {
			h.Revoking("k", at(10))
			h.Claimed("k", history.Claim{Since: at(30), Refuse: map[string]time.Time{"a": at(15)}})
			h.Accepted("a", "k", at(16))
			h.Accepted("b", "k", at(16))
		}, history.AfterReceipt},
		{"named, and waived by nobody", func(h *history.History) {
			h.Revoking("k", at(10))
			h.Claimed("k", history.Claim{Since: at(20), May: 1, Refuse: map[string]time.Time{"a": at(15)}})
			h.Accepted("a", "k", at(25))
		}, history.AfterReceipt},
		{"the second of two receipts", func(h *history.History) {
			h.Revoking("k", at(10))
			h.Claimed("k", history.Claim{Since: at(40)})
			h.Claimed("k", history.Claim{Since: at(20)})
			h.Accepted("a", "k", at(30))
		}, history.AfterReceipt},
		{"begun before each moment that the receipt names", func(h *history.History) {
			h.Accepted("c", "k", at(0))
			h.Revoking("k", at(10))
			h.Claimed("k", history.Claim{Since: at(30), Refuse: map[string]time.Time{"a": at(15), "c": at(11)}})
			h.Accepted("a", "k", at(15))
			h.Accepted("b", "k", at(30))
		}, ""},
		{"as many as their owners let", func(h *history.History) {
			h.Revoking("k", at(10))
			h.Claimed("k", history.Claim{Since: at(20), May: 1})
			h.Claimed("k", history.Claim{}) // of one that nobody confirmed
			h.Accepted("a", "k", at(25))
		}, ""},
	} {
		var h history.History
		row.tell(&h)
		found := h.Violations()
		if row.rule == "" && len(found) != 0 || row.rule != "" && (len(found) != 1 || found[0].Rule != row.rule) {
			t.Errorf("%s: %v, want %q", row.name, found, row.rule)
		}
	}
	// One more than a receipt lets go on: it is wrong about one of the two, and counts once.
	var both history.History
	both.Revoking("k", at(10))
	both.Claimed("k", history.Claim{Since: at(20), May: 1})
	both.Accepted("a", "k", at(25))
	both.Accepted("b", "k", at(21))
	if found := both.Violations(); len(found) != 2 || history.Overclaimed(found) != 1 {
		t.Errorf("one too many: %v", found)
	}
	var h history.History
	h.Revoking("k", at(0))
	if _, ok := h.Lead("k"); ok {
		t.Error("a lead of nothing")
	}
	h.Accepted("a", "k", at(5))
	h.Accepted("b", "k", at(7))
	h.Returned("k", at(9))
	if lead, _ := h.Lead("k"); lead != 2*time.Millisecond {
		t.Errorf("lead %v", lead)
	}
}
