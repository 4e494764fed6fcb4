package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func verifiersCommand() *cobra.Command {
	cmd, f := remoteCommand("verifiers", "See who must confirm a revocation (operators)")
	cmd.AddCommand(f.command("list", "List verifiers: how they follow, and how far each has come", cobra.NoArgs, func(cmd *cobra.Command, server *api, _ []string) error {
		list, err := all[management.Verifier](cmd, server, "/verifiers", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, v := range list.Data {
			then := "refuses"
			if v.AcceptStaleMS > 0 {
				then = fmt.Sprintf("accepts until %v", time.Duration(v.AcceptStaleMS)*time.Millisecond)
			}
			proof := "proved"
			if len(v.Unproved) > 0 {
				proof = "unproved: " + strings.Join(v.Unproved, " ")
			}
			rows = append(rows, []string{v.Name, v.Via, (time.Duration(v.LeaseMS) * time.Millisecond).String(), then, fmt.Sprint(v.Behind),
				date(&v.JoinedAt), cmp.Or(v.Implementation, "-"), proof})
		}
		return f.table(cmd, list, "NAME\tVIA\tLEASE\tTHEN\tBEHIND\tJOINED\tIMPLEMENTATION\tPROOF", rows)
	}))
	return cmd
}
