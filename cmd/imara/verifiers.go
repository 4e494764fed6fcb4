package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/keys"
)

func verifiersCommand() *cobra.Command {
	cmd, f := remoteCommand("verifiers", "See, and end, who must confirm a revocation (operators)")
	cmd.AddCommand(changing(verifiersAdd(f), verifiersEnd(f))...)
	cmd.AddCommand(f.command("list", "List verifiers: how they follow, and how far each has come", cobra.NoArgs, func(cmd *cobra.Command, server *api, _ []string) error {
		list, err := all[management.Verifier](cmd, server, "/verifiers", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, v := range list.Data {
			then := "refuses"
			switch {
			case v.EndedAt != nil:
				then = "ended"
			case v.AcceptStaleMS > 0:
				then = fmt.Sprintf("accepts until %v", time.Duration(v.AcceptStaleMS)*time.Millisecond)
			}
			proof := "proved"
			if len(v.Unproved) > 0 {
				proof = "unproved: " + strings.Join(v.Unproved, " ")
			}
			lease := time.Duration(v.LeaseMS) * time.Millisecond
			rows = append(rows, []string{v.ID, v.Name, v.Via, lease.String(), then, fmt.Sprint(v.Behind),
				date(&v.JoinedAt), cmp.Or(v.Implementation, "-"), proof})
		}
		return f.table(cmd, list, "ID\tNAME\tVIA\tLEASE\tTHEN\tBEHIND\tJOINED\tIMPLEMENTATION\tPROOF", rows)
	}))
	return cmd
}

// verifiersAdd makes a key with which a verifier follows: it can do nothing else.
func verifiersAdd(f *remote) *cobra.Command {
	var request management.CreateKey
	var expires days
	var introspect []string
	var write secretFile
	cmd := f.command("add NAME", "Make the key with which a verifier follows, and can do nothing else",
		cobra.ExactArgs(1), func(cmd *cobra.Command, server *api, args []string) error {
			if err := write.check(); err != nil {
				return err
			}
			// Who may have such a key is the operator's organisation, whose key this is.
			var me management.Me
			if err := server.do(cmd.Context(), http.MethodGet, "/me", nil, &me); err != nil {
				return err
			}
			request.Name, request.Scopes = args[0], []string{keys.FeedScope}
			if len(introspect) > 0 {
				request.Scopes = append(request.Scopes, "tokens:introspect")
				request.Resources = append([]string{authz.ManagementAudience(f.issuer)}, introspect...)
			}
			if expires > 0 {
				request.ExpiresIn = time.Duration(expires).String()
			}
			var created management.KeyWithSecret
			err := server.of(me.Organization).do(cmd.Context(), http.MethodPost, "/keys", request, &created)
			if err != nil {
				return err
			}
			if err := write.keep(&created); err != nil {
				return err
			}
			return f.print(cmd, created, func(w io.Writer) {
				fmt.Fprintln(w, "Key of a verifier created")
				write.show(w, created)
			})
		})
	cmd.Flags().StringSliceVar(&introspect, "introspect", nil,
		"audience of an API about whose tokens it may ask (--stale NAME=introspect), repeatable")
	cmd.Flags().Var(&expires, "expires", "end the key after this long, such as 90d; never if not given")
	cmd.Flags().Lookup("expires").DefValue = ""
	write.add(cmd.Flags())
	return cmd
}

func verifiersEnd(f *remote) *cobra.Command {
	return f.command("end ID", "End a verifier's session: revocations wait for its lease at most, and then no more", cobra.ExactArgs(1), func(cmd *cobra.Command, server *api, args []string) error {
		if err := f.confirm(cmd, fmt.Sprintf("End the session %s? If it lives, it joins again.", args[0])); err != nil {
			return err
		}
		if err := server.do(cmd.Context(), http.MethodDelete, "/verifiers/"+url.PathEscape(args[0]), nil, nil); err != nil {
			return err
		}
		return f.done(cmd, "Ended", "Would end the session "+args[0])
	})
}
