package httpfeed

import (
	"slices"
	"time"

	"github.com/imara/apikeys/tokens"
)

// The bounds of what a verifier may ask for.
const (
	MinLease = time.Second
	MaxLease = time.Minute
	MaxWait  = time.Second // of one poll
	// JoinTimeout is how long a verifier waits for its snapshot.
	JoinTimeout = 30 * time.Second
)

// Protocol is the number of this exchange. Before 2 nobody was examined.
const Protocol = 2

// Join asks for a session.
type Join struct {
	// Protocol is the newest that the verifier speaks; absent is 1.
	Protocol int `json:"protocol,omitempty"`
	// Name says to people which verifier this is; it need not be unique.
	Name    string `json:"name"`
	LeaseMS int64  `json:"lease_ms"`
	// AcceptStaleMS is how old a view its owner lets it use past the lease, 0 when
	// it refuses then.
	AcceptStaleMS int64 `json:"accept_stale_ms,omitempty"`
	// Over says by which way the session follows: empty is this one.
	Over string `json:"over,omitempty"`
	// Implementation is the program that verifies, as name/version.
	Implementation string `json:"implementation,omitempty"`
	// Algorithms are those whose signatures it verifies.
	Algorithms []string `json:"algorithms,omitempty"`
	// Replaces is the session of the same verifier from which this one takes over.
	Replaces string `json:"replaces,omitempty"`
	// Ticket and Verdicts answer an examination; without them, one is asked for.
	Ticket   string      `json:"ticket,omitempty"`
	Verdicts [][]Verdict `json:"verdicts,omitempty"`
}

// OverRedis is the way of package redisfeed.
const OverRedis = "redis"

// Joined is a new session and the log's state at or before its beginning.
type Joined struct {
	Session string `json:"session"`
	// LeaseMS is how old the view of this session may become: what was asked for, or less.
	// Absent is what was asked for.
	LeaseMS int64 `json:"lease_ms,omitempty"`
	// Cuts are the live ones, the newest of each subject, up to Watermark.
	Cuts      []tokens.Entry `json:"cuts"`
	Watermark uint64         `json:"watermark"`
	Floor     uint64         `json:"floor"`
	Head      uint64         `json:"head"` // of the entry at Watermark
	// AckKey seals the acknowledgements of a session over Redis.
	AckKey []byte `json:"ack_key,omitempty"`
	// Unproved are the rules of the examination that the verifier broke. The issuer
	// lets it join all the same, and says so to its operator.
	Unproved []string `json:"unproved,omitempty"`
}

// Lease is LeaseMS.
func (j Joined) Lease() time.Duration { return time.Duration(j.LeaseMS) * time.Millisecond }

// ended tells whether the snapshot has the session's own end.
func (j Joined) ended() bool {
	end := tokens.Session(j.Session)
	return slices.ContainsFunc(j.Cuts, func(e tokens.Entry) bool { return e.Subject == end })
}

// Page is the answer to a poll.
type Page struct {
	// Session and Nonce repeat those of the poll: an answer that was made for
	// nobody, or for an earlier poll, is no evidence.
	Session string `json:"session"`
	Nonce   string `json:"nonce"`
	// Entries follow the poll's position without a gap; a long log takes several pages.
	Entries []tokens.Entry `json:"entries"`
	Tip     uint64         `json:"tip"`
	Floor   uint64         `json:"floor"`
	// AgeUS is how many microseconds before the poll arrived the tip was read; 0
	// when it was read after.
	AgeUS int64 `json:"age_us"`
}
