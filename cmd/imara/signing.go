package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/tokens"
)

func signingKeysCommand() *cobra.Command {
	cmd, f := remoteCommand("signing-keys", "See, rotate and withdraw the keys that sign tokens (operators)")
	cmd.AddCommand(signingList(f))
	cmd.AddCommand(changing(signingRotate(f), signingWithdraw(f))...)
	return cmd
}

// signingTable prints signing keys.
func (f *remote) signingTable(cmd *cobra.Command, list []management.SigningKey) error {
	answer := management.List[management.SigningKey]{Data: list}
	return f.table(cmd, answer, signingHeader, signingRows(list))
}

const signingHeader = "KID\tALGORITHM\tSTATE\tMADE\tREADY\tSIGNS FROM\tPUBLISHED UNTIL"

func signingRows(list []management.SigningKey) (rows [][]string) {
	for _, k := range list {
		row := []string{k.KeyID, k.Algorithm, k.State, date(&k.CreatedAt), "-", "-", "-"}
		if k.ReadyAt != nil {
			row[4] = date(k.ReadyAt)
		}
		if k.ActiveAt != nil {
			row[5] = date(k.ActiveAt)
		}
		if k.Until != nil {
			row[6] = date(k.Until)
		}
		rows = append(rows, row)
	}
	return rows
}

func signingList(f *remote) *cobra.Command {
	var store storeFlags
	cmd := f.local(&store, "list", "List signing keys, the newest of each algorithm first", cobra.NoArgs,
		func(cmd *cobra.Command, server *api, _ []string) error {
			var list management.List[management.SigningKey]
			if err := server.do(cmd.Context(), http.MethodGet, "/signing-keys", nil, &list); err != nil {
				return err
			}
			return f.signingTable(cmd, list.Data)
		},
		func(cmd *cobra.Command, p *program, _ []string) error {
			return f.signingTable(cmd, management.ShowSigningKeys(p.ring))
		})
	return cmd
}

func signingRotate(f *remote) *cobra.Command {
	cmd := f.command("rotate ALGORITHM", "Let the next key sign, and make another", cobra.ExactArgs(1),
		func(cmd *cobra.Command, server *api, args []string) error {
			var list management.List[management.SigningKey]
			request := management.RotateSigningKey{Algorithm: args[0]}
			if err := server.do(cmd.Context(), http.MethodPost, "/signing-keys", request, &list); err != nil {
				return err
			}
			if f.dryRun {
				return f.print(cmd, list, func(w io.Writer) { fmt.Fprintln(w, wouldSign(list.Data, args[0])) })
			}
			return f.signingTable(cmd, list.Data)
		})
	cmd.Long = `Let the next key of an algorithm sign, and make another next one. The next key is
published from the day it is made; it can sign a quarter of an hour later, when every
verifier has it, and no token is refused. For a key that was stolen: withdraw.`
	cmd.ValidArgs = tokens.Algorithms()
	return cmd
}

// wouldSign says which key of an algorithm a rotation would let sign, of keys as they are.
func wouldSign(list []management.SigningKey, algorithm string) string {
	of := map[string]string{}
	for _, k := range list {
		if k.Algorithm == algorithm {
			of[k.State] = k.KeyID
		}
	}
	return fmt.Sprintf("Would let %s sign in place of %s, and make another next one", of["next"], of["current"])
}

func signingWithdraw(f *remote) *cobra.Command {
	var store storeFlags
	var reason string
	const short = "Take a key out of use that somebody else may have, before this returns"
	cmd := f.local(&store, "withdraw KID", short, cobra.ExactArgs(1),
		func(cmd *cobra.Command, server *api, args []string) error {
			if err := f.confirmWithdrawal(cmd, args[0]); err != nil {
				return err
			}
			path := "/signing-keys/" + url.PathEscape(args[0])
			var done withdrawal
			request := management.Reason{Reason: reason}
			err := f.cut(cmd, server, http.MethodPost, path+"/withdraw", request, &done, &done.Receipt)
			if err != nil {
				return noSigningKey(args[0], err)
			}
			done.Activity = &management.SigningActivity{}
			err = server.do(cmd.Context(), http.MethodGet, path+"/activity", nil, done.Activity)
			if err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "What was done since it was made is not known: %v\n", err)
				done.Activity = nil
			}
			return f.showWithdrawal(cmd, done)
		},
		func(cmd *cobra.Command, p *program, args []string) error {
			if err := f.confirmWithdrawal(cmd, args[0]); err != nil {
				return err
			}
			if !f.quiet && !f.json && !f.dryRun {
				fmt.Fprintln(cmd.ErrOrStderr(), "Waiting until every verifier has confirmed, or its lease has ended.")
			}
			done, err := p.withdraw(cmd.Context(), args[0], reason, f.dryRun)
			if err != nil {
				return noSigningKey(args[0], err)
			}
			return f.showWithdrawal(cmd, done)
		})
	cmd.Long = `Take a key out of use that somebody else may have: it is in a memory dump, or who had
the master key and the database has left. If it signs, the next key signs at once; no
server signs with it or publishes it, and no verifier accepts a token of it, whatever
the token says, when this returns. Integrations get new tokens at their next request.

With --data, or with --database-url and --master-key-file, it needs neither a server
nor a token: who has the key can make an operator's. It prints what was done since the
key was made, by whoever the log names; some of that may be the other's work.`
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}

func (f *remote) confirmWithdrawal(cmd *cobra.Command, kid string) error {
	return f.confirm(cmd, fmt.Sprintf("Withdraw %s? Every token of it is refused from then on, "+
		"and integrations get new ones.", kid))
}

// noSigningKey says which one was not found.
func noSigningKey(kid string, err error) error {
	if e := (*exit)(nil); errors.As(err, &e) && e.code == exitNotFound {
		return missing("signing key", kid)
	}
	return err
}

// A withdrawal is what withdrawing a signing key has done, and what was done before.
type withdrawal struct {
	management.WithdrawnSigningKey
	Activity *management.SigningActivity `json:"activity,omitempty"`
}

func (f *remote) showWithdrawal(cmd *cobra.Command, done withdrawal) error {
	return f.print(cmd, done, func(w io.Writer) {
		if f.dryRun {
			fmt.Fprintf(w, "Would withdraw %s\n", done.KeyID)
		} else if done.Receipt != nil {
			fmt.Fprintf(w, "Withdrawn %s · %s\n", done.KeyID, confirmed(*done.Receipt))
		}
		writeTable(w, signingHeader, signingRows(done.Keys))
		if done.Activity == nil {
			return
		}
		fmt.Fprintf(w, "\nDone since it was made, %s, by whoever the audit logs name:\n", date(&done.Activity.Since))
		var rows [][]string
		for _, a := range done.Activity.Activities {
			rows = append(rows, []string{a.ClientID, dash(a.Member), a.Action, fmt.Sprint(a.Count),
				date(&a.FirstAt), date(&a.LastAt)})
		}
		writeTable(w, "WHO\tFOR\tWHAT\tTIMES\tFIRST\tLAST", rows)
		if more := done.Activity.All - len(rows); more > 0 {
			fmt.Fprintf(w, "and %d more, longer ago: see imara audit export\n", more)
		}
	})
}
