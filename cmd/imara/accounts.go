package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func accountsCommand() *cobra.Command {
	cmd, f := remoteCommand("accounts", "Let people into the panel")
	var reset bool
	link := f.command("link EMAIL", "Print a link with which a member chooses a password for the panel (operators)", cobra.ExactArgs(1),
		func(cmd *cobra.Command, server *api, args []string) error {
			request := management.AddAccountLink{Email: args[0]}
			var l management.AccountLink
			err := server.do(cmd.Context(), http.MethodPost, "/account-links", request, &l)
			var problem *refusal
			if reset && errors.As(err, &problem) && len(problem.Opens) > 0 {
				question := fmt.Sprintf("Reset the account of %s? Whoever opens the link has all of %s.",
					args[0], strings.Join(problem.Opens, ", "))
				if err := f.confirm(cmd, question); err != nil {
					return err
				}
				request.Reset = problem.Opens
				err = server.do(cmd.Context(), http.MethodPost, "/account-links", request, &l)
			}
			if err != nil {
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
	link.Long = `Print a link with which the person with this address, who is invited into an
organisation, chooses a password for the panel and accepts. It works once, for a day.
Whoever opens it is that person from then on: send it by a way that you trust.

An address that has a password, or is in several organisations, needs none: the person
signs in and accepts there. --reset makes a link that replaces the password all the
same, for somebody who lost it. It names the organisations that the link opens and asks,
and it stands in the audit log of each.`
	link.Flags().BoolVar(&reset, "reset", false, "replace the password of an account that is there")
	cmd.AddCommand(changing(link, f.unbindAccount())...)
	return cmd
}

func (f *remote) unbindAccount() *cobra.Command {
	cmd := f.command("unbind EMAIL", "Let another person of the provider have an address (operators)", cobra.ExactArgs(1),
		func(cmd *cobra.Command, server *api, args []string) error {
			question := "Whoever signs in next with " + args[0] + " has all that it has here. Unbind it?"
			if err := f.confirm(cmd, question); err != nil {
				return err
			}
			return server.do(cmd.Context(), http.MethodDelete, "/accounts/"+url.PathEscape(args[0])+"/identity", nil, nil)
		})
	cmd.Long = `An account of somebody who signs in with a provider is bound to that person, by the
provider's issuer and subject, at the first sign-in: an address that is given to another
person opens nothing. Unbind it when that is meant, or when the provider has another
issuer. Its sessions end.`
	return cmd
}
