package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func accountsCommand() *cobra.Command {
	cmd, f := remoteCommand("accounts", "Let people into the panel")
	link := f.command("link EMAIL", "Print a link with which a member chooses a password for the panel (operators)", cobra.ExactArgs(1),
		func(cmd *cobra.Command, server *api, args []string) error {
			var l management.AccountLink
			if err := server.do(cmd.Context(), http.MethodPost, "/account-links", management.AddAccountLink{Email: args[0]}, &l); err != nil {
				return err
			}
			return f.print(cmd, l, func(to io.Writer) {
				if f.dryRun {
					fmt.Fprintf(to, "Would make a link for %s\n", l.Email)
					return
				}
				if l.URL == "" {
					fmt.Fprintln(to, "No link to show: nothing was made, or this request made one before.")
					return
				}
				fmt.Fprintf(to, "%s\n  works once, until %s\n", l.URL, date(&l.ExpiresAt))
			})
		})
	link.Long = `Print a link with which the person with this address, a member of some
organisation, chooses a password for the panel: the first one, or a new one. It works
once, for a day. Whoever opens it is that person from then on: send it by a way that
you trust.`
	cmd.AddCommand(changing(link)...)
	return cmd
}
