package management

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// ReceiptPath names a receipt by the position of its cut.
type ReceiptPath struct {
	Position string `path:"position"`
	Prefer   string `header:"Prefer" doc:"wait=N waits so many seconds until it is settled (RFC 7240)."`
}

// position is where no cut is when it is not a number.
func (p ReceiptPath) position() uint64 {
	n, err := strconv.ParseUint(p.Position, 10, 63)
	if err != nil {
		return 0
	}
	return n
}

// ReceiptFilter selects receipts.
type ReceiptFilter struct {
	Target string    `query:"target" doc:"Id of the key, or of what else was cut."`
	State  string    `query:"state" enum:"waiting,confirmed,lease_ended,waived"`
	Since  time.Time `query:"since"`
	Until  time.Time `query:"until"`
}

func (s *server) receiptRoutes() {
	register(s, route{id: "list-receipts", method: "GET", path: "/orgs/{org}/receipts", scope: "keys:read", action: "key.read", summary: "List how far the organisation's cuts have reached"}, s.listReceipts, nil)
	register(s, route{id: "show-receipt", signs: true, method: "GET", path: "/orgs/{org}/receipts/{position}", scope: "keys:read", action: "key.read", summary: "Show how far a cut has reached"}, s.showReceipt, nil)
	register(s, route{id: "list-all-receipts", method: "GET", path: "/receipts", scope: "operator", action: "verifier.read", summary: "List how far the server's own cuts have reached"}, s.listServerReceipts, nil)
	register(s, route{id: "show-any-receipt", signs: true, method: "GET", path: "/receipts/{position}", scope: "operator", action: "verifier.read", summary: "Show how far any cut has reached, verifier by verifier"}, s.showAnyReceipt, nil)
}

func (s *server) listReceipts(ctx context.Context, c call, in *struct {
	OrgPath
	Caller
	Paging
	ReceiptFilter
}) (*answer[List[authz.Receipt]], error) {
	if _, err := s.config.Registry.Organization(ctx, c.organization); err != nil {
		return nil, err
	}
	return s.receipts(ctx, c, in.Paging, in.ReceiptFilter)
}

func (s *server) listServerReceipts(ctx context.Context, c call, in *struct {
	Caller
	Paging
	ReceiptFilter
}) (*answer[List[authz.Receipt]], error) {
	return s.receipts(ctx, c, in.Paging, in.ReceiptFilter)
}

func (s *server) receipts(ctx context.Context, c call, in Paging, filter ReceiptFilter) (*answer[List[authz.Receipt]], error) {
	p := keys.ReceiptPage{Limit: in.Limit + 1, Target: filter.Target, State: keys.ReceiptState(filter.State),
		Since: filter.Since, Until: filter.Until}
	list := []string{"receipts", c.organization, filter.Target, filter.State, p.Since.String(), p.Until.String()}
	if err := s.readCursor(list, in.Cursor, &p.Before); err != nil {
		return nil, err
	}
	found, err := s.config.Registry.Receipts(ctx, c.organization, p)
	if err != nil {
		return nil, err
	}
	show := func(r keys.Receipt) authz.Receipt { return *authz.ShowReceipt(r) }
	return listed(s, c, found, in.Limit, list, show, func(r keys.Receipt) any { return r.Position }), nil
}

func (s *server) showReceipt(ctx context.Context, c call, in *struct {
	OrgPath
	ReceiptPath
	Caller
}) (*answer[authz.Receipt], error) {
	receipt, err := s.config.Registry.Receipt(ctx, c.by, c.organization, in.position())
	return s.oneReceipt(c, receipt, c.by.Operator || s.config.NameVerifiers, err)
}

func (s *server) showAnyReceipt(ctx context.Context, c call, in *struct {
	ReceiptPath
	Caller
}) (*answer[authz.Receipt], error) {
	receipt, err := s.config.Registry.AnyReceipt(ctx, c.by, in.position())
	return s.oneReceipt(c, receipt, true, err)
}

// oneReceipt shows a receipt, with its members to who may see them, signed for who wants that.
func (s *server) oneReceipt(c call, receipt keys.Receipt, members bool, err error) (*answer[authz.Receipt], error) {
	if err != nil {
		return nil, err
	}
	shown := authz.ShowReceipt(receipt)
	if members {
		shown = authz.ShowReceiptMembers(receipt)
	}
	if c.jose {
		if shown.Signed, err = s.config.Registry.SignReceipt(receipt, s.config.Issuer, members); err != nil {
			return nil, err
		}
	}
	return &answer[authz.Receipt]{Body: *shown}, nil
}

// jose writes a receipt as it is signed.
var jose = huma.Format{Marshal: func(w io.Writer, v any) error {
	receipt, ok := v.(authz.Receipt)
	if !ok {
		return errors.New("only receipts are signed")
	}
	_, err := io.WriteString(w, receipt.Signed)
	return err
}}
