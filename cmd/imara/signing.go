package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func signingKeysCommand() *cobra.Command {
	cmd, f := remoteCommand("signing-keys", "See and rotate the keys that sign tokens (operators)")
	show := func(cmd *cobra.Command, server *api, method string, request any) error {
		var list management.List[management.SigningKey]
		if err := server.do(cmd.Context(), method, "/signing-keys", request, &list); err != nil {
			return err
		}
		var rows [][]string
		for _, k := range list.Data {
			until := "-"
			if k.Until != nil {
				until = date(k.Until)
			}
			from := "-"
			if k.ActiveAt != nil {
				from = date(k.ActiveAt)
			}
			rows = append(rows, []string{k.KeyID, k.Algorithm, k.State, from, until})
		}
		return f.table(cmd, list, "KID\tALGORITHM\tSTATE\tSIGNS FROM\tPUBLISHED UNTIL", rows)
	}
	rotate := f.command("rotate ALGORITHM", "Let the next key sign, and make another", cobra.ExactArgs(1), func(cmd *cobra.Command, server *api, args []string) error {
		return show(cmd, server, http.MethodPost, management.RotateSigningKey{Algorithm: args[0]})
	})
	rotate.ValidArgs = []string{"ES256", "RS256", "EdDSA"}
	cmd.AddCommand(rotate, f.command("list", "List signing keys, the newest first", cobra.NoArgs, func(cmd *cobra.Command, server *api, _ []string) error {
		return show(cmd, server, http.MethodGet, nil)
	}))
	return cmd
}
