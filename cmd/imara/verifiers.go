package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func verifiersCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "verifiers", Short: "See who must confirm a revocation", RunE: group, Args: cobra.ArbitraryArgs}
	cmd.AddCommand(verifiersList())
	return cmd
}

func verifiersList() *cobra.Command {
	var f clientFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List verifiers: how they follow, and how far each has come", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := f.api(cmd)
			if err != nil {
				return err
			}
			var list management.List[management.Verifier]
			if err := server.do(cmd.Context(), http.MethodGet, "/verifiers", nil, &list); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(list)
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tVIA\tLEASE\tTHEN\tBEHIND\tJOINED")
			for _, v := range list.Data {
				then := "refuses"
				if v.AcceptStaleMS > 0 {
					then = fmt.Sprintf("accepts until %v", time.Duration(v.AcceptStaleMS)*time.Millisecond)
				}
				fmt.Fprintf(t, "%s\t%s\t%v\t%s\t%d\t%s\n", v.Name, v.Via, time.Duration(v.LeaseMS)*time.Millisecond, then, v.Behind, date(&v.JoinedAt))
			}
			return t.Flush()
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the server's answer")
	return cmd
}
