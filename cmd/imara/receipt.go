package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

func receiptCommand() *cobra.Command {
	cmd, f := remoteCommand("receipt", "Read, keep and check the receipts of revocations")
	cmd.AddCommand(receiptShow(f), receiptList(f), receiptVerify(f))
	return cmd
}

func receiptShow(f *remote) *cobra.Command {
	var signed bool
	cmd := f.within("show POSITION", "Show how far a cut has reached; waits until that is settled", cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		receipt := authz.Receipt{State: string(keys.Waiting)}
		path := "/receipts/" + url.PathEscape(args[0])
		for receipt.State == string(keys.Waiting) {
			if err := org.preferring("wait=60").do(cmd.Context(), http.MethodGet, path, nil, &receipt); err != nil {
				return err
			}
		}
		if signed {
			return org.signedReceipt(cmd, path)
		}
		return f.print(cmd, receipt, func(w io.Writer) { printReceipt(w, receipt) })
	})
	cmd.Flags().BoolVar(&signed, "signed", false, "print it as a JWS, for imara receipt verify")
	return cmd
}

// preferring is the API with a preference (RFC 7240).
func (a *api) preferring(preference string) *api {
	part := *a
	part.header = a.header.Clone()
	part.header.Set("Prefer", preference)
	return &part
}

// signedReceipt prints a receipt as it is signed.
func (a *api) signedReceipt(cmd *cobra.Command, path string) error {
	part := *a
	part.header = a.header.Clone()
	part.header.Set("Accept", "application/jose")
	answer, err := part.send(cmd.Context(), http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return failure(err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", data)
	return err
}

func printReceipt(w io.Writer, r authz.Receipt) {
	fmt.Fprintf(w, "%d  %s  %s\n  revoked %s by %s", r.Position, r.Subject, r.State, date(&r.RevokedAt), dash(r.By))
	if r.Reason != "" {
		fmt.Fprintf(w, ": %s", r.Reason)
	}
	fmt.Fprintf(w, "\n  %s\n", confirmed(r))
	for _, m := range r.Members {
		at := ""
		if m.At != nil {
			at = m.At.Format(time.RFC3339Nano)
		}
		unproved := ""
		if m.Unproved {
			unproved = "  unproved"
		}
		fmt.Fprintf(w, "  %-12s %s  %s%s\n", m.State, m.Name, at, unproved)
	}
}

func receiptList(f *remote) *cobra.Command {
	var target, state string
	cmd := f.within("list", "List how far the organisation's cuts have reached, the newest first", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		query := url.Values{}
		for name, value := range map[string]string{"target": target, "state": state} {
			if value != "" {
				query.Set(name, value)
			}
		}
		list, err := all[authz.Receipt](cmd, org, "/receipts", query)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, r := range list.Data {
			counts := "-"
			if r.Total != nil {
				counts = fmt.Sprintf("%d of %d", *r.Confirmed, *r.Total)
			}
			rows = append(rows, []string{fmt.Sprint(r.Position), date(&r.RevokedAt), r.Subject, r.State, counts, dash(r.By)})
		}
		return f.table(cmd, list, "POSITION\tREVOKED\tSUBJECT\tSTATE\tCONFIRMED\tBY", rows)
	})
	cmd.Flags().StringVar(&target, "target", "", "only about this id")
	cmd.Flags().StringVar(&state, "state", "", "only waiting, confirmed, lease_ended or waived ones")
	return cmd
}

func receiptVerify(f *remote) *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use: "verify FILE|-", Short: "Check a signed receipt, without believing who showed it", Args: cobra.ExactArgs(1),
		Long: `Check a signed receipt, as imara receipt show --signed prints it. What signs it is asked
of the server unless --key says it. Exit code 4 says that no such server signed it.`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.verifyReceipt(cmd, args[0], key) },
	}
	cmd.Flags().StringVar(&key, "key", "", "public key that signs receipts, Base64URL, instead of asking the server")
	return cmd
}

func (f *remote) verifyReceipt(cmd *cobra.Command, path, key string) error {
	public, err := f.checkpointKey(cmd, key)
	if err != nil {
		return err
	}
	text, err := readFileOr(cmd.InOrStdin(), path)
	if err != nil {
		return usage("%v", err)
	}
	receipt, err := keys.ParseReceipt(string(bytes.TrimSpace(text)), ed25519.PublicKey(public))
	if err != nil {
		return &exit{exitRefused, err}
	}
	if f.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(receipt)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "✓ signed by %s\n", receipt.Issuer)
	shown := authz.Receipt{Subject: string(receipt.Subject), RevokedAt: receipt.RevokedAt, Position: receipt.Position, State: string(receipt.State),
		Confirmed: receipt.Confirmed, Total: receipt.Total, WaitedMS: float64(receipt.SettledAt.Sub(receipt.RevokedAt).Microseconds()) / 1000,
		By: receipt.By, Reason: receipt.Reason}
	for _, m := range receipt.Members {
		shown.Members = append(shown.Members, authz.ReceiptMember{ID: m.ID, Name: m.Name, State: string(m.State), At: &m.At, Unproved: m.Unproved})
	}
	printReceipt(cmd.OutOrStdout(), shown)
	return nil
}

// readFileOr reads a file, or a stream for "-".
func readFileOr(stream io.Reader, path string) ([]byte, error) {
	const limit = 16 << 20
	if path == "-" {
		return io.ReadAll(io.LimitReader(stream, limit))
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit))
}

// cut makes a change that may cut tokens, and waits until the receipt that receipt points
// to is settled, however often it has to ask.
func (f *remote) cut(cmd *cobra.Command, a *api, method, path string, request, answer any, receipt **authz.Receipt) error {
	header, err := a.call(cmd.Context(), method, path, request, answer)
	location := ""
	if err == nil {
		location = header.Get("Location")
	}
	if err != nil || *receipt == nil || (*receipt).State != string(keys.Waiting) {
		return err
	}
	if !f.quiet && !f.json {
		fmt.Fprintf(cmd.ErrOrStderr(), "Done; a verifier is silent, and its lease may last until %s. Waiting for the receipt.\n",
			(*receipt).Latest.UTC().Format("15:04:05 UTC"))
	}
	return a.await(cmd.Context(), location, receipt)
}

// await asks for a receipt until it is settled.
func (a *api) await(ctx context.Context, location string, receipt **authz.Receipt) error {
	if (*receipt).State != string(keys.Waiting) {
		return nil
	}
	base, err := url.Parse(a.base)
	if err != nil {
		return err
	}
	at, err := base.Parse(location)
	if err != nil || at.Host != base.Host || !strings.Contains(at.Path, "/receipts/") {
		return errors.New("the server names a place that is not its own")
	}
	there := a.preferring("wait=60")
	there.base = at.String()
	for (*receipt).State == string(keys.Waiting) {
		var next authz.Receipt
		if err := there.do(ctx, http.MethodGet, "", nil, &next); err != nil {
			return fmt.Errorf("it is done, and the receipt is not known yet (imara receipt show %d): %w", (*receipt).Position, err)
		}
		*receipt = &next
	}
	return nil
}

// confirmed is a receipt in words.
func confirmed(r authz.Receipt) string {
	if r.Total == nil {
		return "every lease from before has ended; who had confirmed is not known"
	}
	text := fmt.Sprintf("%d of %d verifiers confirmed in %.3g ms", *r.Confirmed, *r.Total, r.WaitedMS)
	switch keys.ReceiptState(r.State) {
	case keys.Waiting:
		text += "; the others are still waited for, and may accept until then"
	case keys.LeaseEnded:
		text += "; the leases of the others have ended, they refuse"
	case keys.Waived:
		text += "; of the others, some may accept for longer, as their owners configured them: see imara verifiers list"
	case keys.Confirmed:
		if *r.Confirmed < *r.Total {
			text += "; the others left, they accept nothing"
		}
	}
	return text
}
