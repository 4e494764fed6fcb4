package keys

import (
	"bytes"
	"context"
	"fmt"
	"slices"
)

// A Chain checks events of one organisation in the order of their positions. Its
// zero value begins with the first.
type Chain struct {
	// Middle: the first event that is added need not be the first there is; its hash
	// is taken as given.
	Middle bool
	// Strict: a checkpoint from before the first event that is added is an error.
	Strict bool
	// Events that were added, and how many of them are older than the chain: only
	// those that are about no organisation can be.
	Events, Unchained int
	// Position of the last one.
	Position uint64

	hash    []byte
	begun   bool
	pending []Checkpoint
	// receipts of the cuts so far, and the checkpoints that cover some, by the last.
	receipts receiptChain
	covering map[uint64]Checkpoint
	covered  uint64 // the highest of these
}

// A BrokenError names the first event that is not as it was written, or after
// which one is missing.
type BrokenError struct {
	Position uint64
	Reason   string
}

func (e *BrokenError) Error() string { return fmt.Sprintf("event %d: %s", e.Position, e.Reason) }

// Expect makes the chain check a checkpoint when it comes to its position.
func (c *Chain) Expect(checkpoint Checkpoint) {
	c.pending = append(c.pending, checkpoint)
	if checkpoint.ReceiptsThrough > 0 && !c.Middle {
		if c.covering == nil {
			c.covering = make(map[uint64]Checkpoint)
		}
		c.covering[checkpoint.ReceiptsThrough] = checkpoint
		c.covered = max(c.covered, checkpoint.ReceiptsThrough)
	}
	slices.SortStableFunc(c.pending, func(a, b Checkpoint) int {
		if a.Position < b.Position {
			return -1
		}
		return 1
	})
}

// Add checks the next event. Errors: a [BrokenError].
func (c *Chain) Add(e Event) error {
	if c.Events > 0 && e.Position <= c.Position {
		return &BrokenError{e.Position, "it comes after a later one"}
	}
	if err := c.missed(e.Position); err != nil {
		return err
	}
	first := !c.begun
	switch {
	case len(e.Hash) == 0 && (c.begun || c.Middle || e.OrganizationID != ""):
		return &BrokenError{e.Position, "it has no hash"}
	case len(e.Hash) == 0:
		c.Unchained++
	case first && c.Middle && c.Unchained == 0:
		c.begun = true
	case !bytes.Equal(e.Hash, e.Sum(c.hash)):
		return &BrokenError{e.Position, "it was changed, or one before it is missing or was added"}
	default:
		c.begun = true
	}
	c.Events, c.Position, c.hash = c.Events+1, e.Position, e.Hash
	for len(c.pending) > 0 && c.pending[0].Position == e.Position {
		if !bytes.Equal(c.pending[0].Hash, e.Hash) {
			return &BrokenError{e.Position, "it is not the one that was signed: the chain up to here was written anew"}
		}
		c.pending = c.pending[1:]
	}
	return c.addReceipt(e)
}

// addReceipt checks the receipt of an event that cuts.
func (c *Chain) addReceipt(e Event) error {
	waited := c.receipts.waits
	c.receipts.add(e)
	covering, covers := c.covering[e.Position]
	switch {
	case c.receipts.waits && !waited && e.Position <= c.covered:
		return &BrokenError{e.Position, "a checkpoint was signed for its receipt, and it is missing"}
	case covers && !bytes.Equal(covering.ReceiptsHash, c.receipts.hash):
		return &BrokenError{e.Position, "its receipt, or that of a cut before it, is not the one that was signed"}
	}
	return nil
}

// missed finds a checkpoint whose event should have come before position.
func (c *Chain) missed(position uint64) error {
	for len(c.pending) > 0 && c.pending[0].Position < position {
		if c.Events > 0 || !c.Middle || c.Strict {
			return &BrokenError{c.pending[0].Position, "a checkpoint was signed for it, and it is missing"}
		}
		c.pending = c.pending[1:] // from before the part that is checked
	}
	return nil
}

// End checks that no checkpoint is left.
func (c *Chain) End() error { return c.missed(1<<64 - 1) }

// Head is the last event that was added, as far as a checkpoint needs it.
func (c *Chain) Head(organizationID string) Event {
	return Event{OrganizationID: organizationID, Position: c.Position, Hash: c.hash}
}

// VerifyAudit reads the whole chain of an organisation and checks it, with every
// checkpoint that is stored. Errors: a [BrokenError].
func (r *Registry) VerifyAudit(ctx context.Context, organizationID string) (*Chain, error) {
	chain := &Chain{}
	checkpoints, err := r.config.Store.Checkpoints(ctx, organizationID)
	if err != nil {
		return nil, err
	}
	for _, stored := range checkpoints {
		signed, err := ParseCheckpoint(stored.Signed, r.CheckpointKey())
		if err != nil || signed.Position != stored.Position || signed.OrganizationID != organizationID {
			return chain, &BrokenError{stored.Position, "its checkpoint was not signed by this server"}
		}
		chain.Expect(signed)
	}
	err = r.EachEvent(ctx, organizationID, EventPage{}, chain.Add)
	if err == nil {
		err = chain.End()
	}
	return chain, err
}

// EachEvent calls f for each event of a selection, the oldest first, reading a
// thousand at a time.
func (r *Registry) EachEvent(ctx context.Context, organizationID string, page EventPage, f func(Event) error) error {
	page.Limit, page.Newest = 1000, false
	for {
		events, err := r.config.Store.Events(ctx, organizationID, page)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := f(e); err != nil {
				return err
			}
			page.After = e.Position
		}
		if len(events) < page.Limit {
			return nil
		}
	}
}
