package authz

import (
	"time"

	"github.com/imara/apikeys/keys"
)

// A Receipt says how far a cut has reached, in one shape on every face.
type Receipt struct {
	ClientID     string    `json:"client_id,omitempty" doc:"The key, when the cut is of a key."`
	Subject      string    `json:"subject" doc:"What was cut, as verifiers were told."`
	Organization string    `json:"organization,omitempty"`
	RevokedAt    time.Time `json:"revoked_at"`
	Position     uint64    `json:"position" doc:"In the revocation log."`
	Head         uint64    `json:"head" doc:"Of the entry there: it tells histories of the log apart."`
	State        string    `json:"state" enum:"waiting,confirmed,lease_ended,waived" doc:"What it rests on; waiting promises nothing yet."`
	// Latest is there while it waits.
	Latest *time.Time `json:"latest,omitempty" doc:"When it will be settled, at the latest."`
	// Counts are not there when the server that waited died before it had stored them.
	Confirmed *int       `json:"confirmed,omitempty" doc:"How many verifiers said that they applied it."`
	Total     *int       `json:"total,omitempty" doc:"How many had to."`
	WaitedMS  float64    `json:"waited_ms"`
	SettledAt *time.Time `json:"settled_at,omitempty"`
	By        string     `json:"by,omitempty" doc:"The key or member that revoked; recovered when all that is known is that every lease has ended."`
	Reason    string     `json:"reason,omitempty"`
	// Members are for operators, and customers if the operator wants it, in the answer
	// about one receipt.
	Members []ReceiptMember `json:"members,omitempty"`
	// Signed is the receipt as a JWS, for who asks for application/jose.
	Signed string `json:"-"`
}

// A ReceiptMember is a verifier that had to confirm.
type ReceiptMember struct {
	ID    string     `json:"id"`
	Name  string     `json:"name"`
	State string     `json:"state" enum:"waiting,confirmed,left,lease_ended,waived"`
	At    *time.Time `json:"at,omitempty" doc:"When it confirmed or left, from when on it accepts nothing, or until when its owner lets it accept."`
	// Unproved is what a confirmation is worth.
	Unproved bool `json:"unproved,omitempty" doc:"It has not shown that it refuses what it must: what it confirmed is that it has the cut."`
}

// recovered stands where a receipt says who revoked, when its counts are not known.
const recovered = "recovered"

// ShowReceipt is a receipt for programs, without its members.
func ShowReceipt(r keys.Receipt) *Receipt {
	shown := &Receipt{ClientID: r.ClientID, Subject: string(r.Subject), Organization: r.OrganizationID,
		RevokedAt: r.RevokedAt, Position: r.Position, Head: r.Head, State: string(r.State),
		WaitedMS: float64(r.Waited.Microseconds()) / 1000, By: r.By, Reason: r.Reason,
		Latest: optionalTime(r.Latest), SettledAt: optionalTime(r.SettledAt)}
	if r.Recovered {
		shown.By = recovered
	} else if r.Settled() || r.Total > 0 {
		shown.Confirmed, shown.Total = &r.Confirmed, &r.Total
	}
	return shown
}

// ShowReceiptMembers is a receipt for operators.
func ShowReceiptMembers(r keys.Receipt) *Receipt {
	shown := ShowReceipt(r)
	for _, m := range r.Members {
		shown.Members = append(shown.Members, ReceiptMember{ID: m.ID, Name: m.Name, State: string(m.State),
			At: optionalTime(m.At), Unproved: m.Session.Unproved != ""})
	}
	return shown
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
