package management

import (
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// maxWait is longer than the longest lease and its margin.
const maxWait = 65 * time.Second

// preferredWait reads how long a caller wants to wait for a receipt (RFC 7240 §4.3), as
// [keys.Actor] has it; less than 0 is not at all. A preference that cannot be read is none.
func preferredWait(h http.Header, otherwise time.Duration) time.Duration {
	for name, value := range preferences(h) {
		seconds, err := strconv.ParseUint(value, 10, 31)
		switch {
		case name == "respond-async":
			return -1
		case name != "wait" || err != nil:
		case seconds == 0:
			return -1
		default:
			return min(time.Duration(seconds)*time.Second, maxWait)
		}
	}
	return otherwise
}

// preferences are those of a request, in their order: names in lower case, and values without
// their quotes.
func preferences(h http.Header) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, line := range h.Values("Prefer") {
			for preference := range strings.SplitSeq(line, ",") {
				name, value, _ := strings.Cut(strings.TrimSpace(strings.Split(preference, ";")[0]), "=")
				name, value = strings.ToLower(strings.TrimSpace(name)), strings.Trim(strings.TrimSpace(value), `"`)
				if !yield(name, value) {
					return
				}
			}
		}
	}
}

// waiting is 202 and the place of a receipt while that waits, else nothing: only what is
// settled promises anything.
func (s *server) waiting(receipt keys.Receipt) (status int, location string) {
	switch {
	case receipt.State != keys.Waiting:
		return 0, ""
	case receipt.OrganizationID == "":
		location = fmt.Sprintf("%s/v1/receipts/%d", s.base, receipt.Position)
	default:
		location = fmt.Sprintf("%s/v1/orgs/%s/receipts/%d", s.base, receipt.OrganizationID, receipt.Position)
	}
	return http.StatusAccepted, location
}
