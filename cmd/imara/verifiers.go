package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func verifiersCommand() *cobra.Command {
	cmd, f := remoteCommand("verifiers", "See, and end, who must confirm a revocation (operators)")
	cmd.AddCommand(changing(verifiersEnd(f))...)
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
