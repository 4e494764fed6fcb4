package keys

import (
	"context"
	"fmt"
	"time"

	"github.com/imara/apikeys/tokens"
)

// A Receipt says how far a cut has reached, and no more than was seen.
type Receipt struct {
	// Position of the cut in the revocation log, and the head of its entry there.
	Position, Head uint64
	// The next are of the entry: what was cut, by whom, when and why. ClientID is empty
	// when it was no key.
	OrganizationID string
	Action         Action
	Target         string
	Subject        tokens.Subject
	ClientID       string
	RevokedAt      time.Time
	By, Reason     string
	State          ReceiptState
	// Latest is, while it waits, when it will be settled at the latest.
	Latest time.Time
	// Members are those who had to confirm. Of a receipt from a list they are not there.
	Members []ReceiptMember
	// Confirmed of Total members have said that they applied the cut. Both are 0 when
	// Recovered: the process that waited died before it had stored who they were.
	Confirmed, Total int
	Recovered        bool
	// Waited since the commit, or since this server first read of the cut.
	Waited    time.Duration
	SettledAt time.Time
}

// Settled tells whether the receipt says all that it ever will.
func (r *Receipt) Settled() bool { return r.State != "" && r.State != Waiting }

// Link is the SHA-256 of the hash before, empty for the first receipt, and of what the
// receipt says without its members, as [Event.Sum] has it: position, head, subject, state,
// confirmed, total, whether it was recovered, and when it was settled.
func (r *Receipt) Link(before []byte) []byte {
	return link(before, fmt.Sprint(r.Position), fmt.Sprint(r.Head), string(r.Subject), string(r.State),
		fmt.Sprint(r.Confirmed), fmt.Sprint(r.Total), fmt.Sprint(r.Recovered), fmt.Sprint(r.SettledAt.UnixMicro()))
}

// A ReceiptState says what a receipt, or one of its members, rests on.
type ReceiptState string

const (
	// Waiting: it is not known yet. A cut that waits promises nothing.
	Waiting ReceiptState = "waiting"
	// Confirmed: every verifier has said that it applied the cut, or took leave.
	Confirmed ReceiptState = "confirmed"
	// LeaseEnded: some did not, and their leases have ended.
	LeaseEnded ReceiptState = "lease_ended"
	// Waived: some did not, and their owners let them accept a stale view for longer
	// than their leases.
	Waived ReceiptState = "waived"
	// Left is a member that took leave, or had been retired: it accepts nothing.
	Left ReceiptState = "left"
)

// A ReceiptMember is a verifier that had to confirm a cut.
type ReceiptMember struct {
	// ID is [Session.PublicID].
	ID    string
	Name  string
	State ReceiptState
	// At is when it was heard to confirm, or to have left; from when on it accepts
	// nothing, since its lease has ended; or until when its owner lets it accept.
	At time.Time
	// Session is what whoever takes the wait over needs to go on, and how the verifier did
	// in its examination.
	Session Session
}

// Sum fills in State, Confirmed and Total from the members: the worst of them stands.
func (r *Receipt) Sum() {
	r.State, r.Confirmed, r.Total = Confirmed, 0, len(r.Members)
	for _, m := range r.Members {
		switch {
		case m.State == Confirmed:
			r.Confirmed++
		case m.State == Left:
		case rank(m.State) > rank(r.State):
			r.State = m.State
		}
	}
	if !r.Recovered {
		return
	}
	r.Confirmed, r.Total = 0, 0
	if r.State == Confirmed {
		r.State = LeaseEnded
	}
}

func rank(s ReceiptState) int {
	switch s {
	case Waiting:
		return 3
	case Waived:
		return 2
	case LeaseEnded:
		return 1
	}
	return 0
}

// A ReceiptPage selects receipts. The zero value is all of them, the newest first.
type ReceiptPage struct {
	Limit  int    // 0 is all
	Before uint64 // unless 0, keeps those at lower positions
	// The others, unless empty, keep those about exactly this.
	Target       string
	State        ReceiptState
	Since, Until time.Time
}

// A Roll is who must confirm, and the heads of entries, all of one moment.
type Roll struct {
	Sessions []Session
	// Heads by position. What is not there has none.
	Heads map[uint64]uint64
}

// Receipts keeps how far cuts have reached. Receipts are apart from the log, which is
// only ever appended to.
type Receipts interface {
	// Roll lists the sessions, each with what it has applied of the history that the
	// store has now, and reads the heads of entries.
	Roll(ctx context.Context, positions ...uint64) (Roll, error)
	// Receipt returns that of the cut at a position; one of which nothing is stored is
	// [Waiting], without members. [ErrNotFound] when there is no cut.
	Receipt(ctx context.Context, position uint64) (Receipt, error)
	// PutReceipts stores receipts, and returns what is stored for each of them then: one
	// that is settled stays as it is, one that waits is replaced. One whose cut is not in
	// the log, with its head, is left out. A crash of the machine may lose what this
	// stored last; a crash of the process does not.
	PutReceipts(ctx context.Context, receipts []Receipt) ([]Receipt, error)
	// LastCut returns the position of the newest cut of a subject, or [ErrNotFound].
	LastCut(ctx context.Context, subject tokens.Subject) (uint64, error)
	// Receipts returns a page of the organisation's cuts with how far they have reached,
	// without members; the empty one has those that are about no organisation.
	Receipts(ctx context.Context, organizationID string, page ReceiptPage) ([]Receipt, error)
	// Unsettled returns the oldest cuts from before t that are not settled, at most a
	// thousand, the oldest first, without members.
	Unsettled(ctx context.Context, t time.Time) ([]Receipt, error)
}

// Receipt returns how far the cut at a position has reached, and waits for it as long as
// the actor does. [ErrNotFound] when the organisation has no such cut.
func (r *Registry) Receipt(ctx context.Context, by Actor, organizationID string, position uint64) (Receipt, error) {
	receipt, err := r.config.Store.Receipt(ctx, position)
	switch {
	case err != nil:
		return Receipt{}, err
	case receipt.OrganizationID != organizationID:
		return Receipt{}, ErrNotFound
	}
	return r.reached(ctx, by, position)
}

// AnyReceipt is [Registry.Receipt] of whatever organisation, for operators.
func (r *Registry) AnyReceipt(ctx context.Context, by Actor, position uint64) (Receipt, error) {
	if err := by.May("verifier.read"); err != nil {
		return Receipt{}, err
	}
	return r.reached(ctx, by, position)
}

// Receipts returns a page of the organisation's receipts.
func (r *Registry) Receipts(ctx context.Context, organizationID string, page ReceiptPage) ([]Receipt, error) {
	return r.config.Store.Receipts(ctx, organizationID, page)
}

// reached joins the wait for a cut that was made before, for as long as the actor waits.
func (r *Registry) reached(ctx context.Context, by Actor, position uint64) (Receipt, error) {
	ctx, cancel := by.patience(ctx)
	defer cancel()
	return r.config.Relay.Reached(ctx, position)
}

// patience is a context that ends when the actor no longer waits for a receipt.
func (by Actor) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if by.Wait == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, max(by.Wait, 0))
}

// settle makes a committed entry known. A cut waits, for as long as the actor does,
// until no verifier accepts what it cut; a touch until this server has read it.
func (r *Registry) settle(ctx context.Context, by Actor, at Commit) (Receipt, error) {
	if at.Kind != tokens.Cut {
		r.config.Relay.Publish(ctx, at)
		return Receipt{}, nil
	}
	ctx, cancel := by.patience(ctx)
	defer cancel()
	return r.config.Relay.Confirm(ctx, at)
}
