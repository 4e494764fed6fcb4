package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func webhooksCommand() *cobra.Command {
	cmd, f := remoteCommand("webhooks", "Manage the URLs that are told what happens to keys")
	cmd.AddCommand(webhooksList(f), webhooksDeliveries(f))
	cmd.AddCommand(changing(webhooksAdd(f), webhooksRemove(f), webhooksTest(f), webhooksRedeliver(f))...)
	return cmd
}

func webhooksList(f *remote) *cobra.Command {
	return f.within("list", "List webhooks", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		list, err := all[management.Webhook](cmd, org, "/webhooks", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, w := range list.Data {
			rows = append(rows, []string{w.ID, w.URL, dash(strings.Join(w.Events, ","))})
		}
		return f.table(cmd, list, "ID\tURL\tEVENTS", rows)
	})
}

// webhookIDs are for completion.
func (f *remote) webhookIDs(cmd *cobra.Command, server *api) ([]string, error) {
	list, err := all[management.Webhook](cmd, server.of(f.org), "/webhooks", nil)
	var ids []string
	for _, w := range list.Data {
		ids = append(ids, w.ID+"\t"+w.URL)
	}
	return ids, err
}

func webhooksAdd(f *remote) *cobra.Command {
	var request management.AddWebhook
	cmd := f.within("add URL", "Add a webhook and show its secret once", cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		request.URL = args[0]
		var w management.Webhook
		if err := org.do(cmd.Context(), http.MethodPost, "/webhooks", request, &w); err != nil {
			return err
		}
		return f.print(cmd, w, func(to io.Writer) {
			if f.dryRun {
				fmt.Fprintf(to, "Would tell %s, with a secret of its own\n", w.URL)
				return
			}
			fmt.Fprintf(to, "Webhook %s\n  Secret  %s   shown once, not stored\n", w.ID, dash(w.Secret))
		})
	})
	cmd.Flags().StringSliceVar(&request.Events, "event", nil, "a type of event that it wants, such as key.revoked, repeatable; all if not given")
	return cmd
}

func webhooksRemove(f *remote) *cobra.Command {
	return f.completes(f.within("remove WEBHOOK", "Remove a webhook and what is on its way to it", cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		if err := f.confirm(cmd, "Remove the webhook "+args[0]+"?"); err != nil {
			return err
		}
		org, err := org.asOf(cmd.Context(), "/webhooks/"+args[0], nil)
		if err != nil {
			return err
		}
		if err := org.do(cmd.Context(), http.MethodDelete, "/webhooks/"+args[0], nil, nil); err != nil {
			return err
		}
		return f.done(cmd, "", "Would remove "+args[0])
	}), f.webhookIDs)
}

func webhooksTest(f *remote) *cobra.Command {
	return f.completes(f.within("test WEBHOOK", "Send webhook.test to the webhooks that want it", cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		if err := org.do(cmd.Context(), http.MethodPost, "/webhooks/"+args[0]+"/test", nil, nil); err != nil {
			return err
		}
		return f.done(cmd, "On its way: imara webhooks deliveries "+args[0], "Would send it webhook.test, if it wants that")
	}), f.webhookIDs)
}

func webhooksDeliveries(f *remote) *cobra.Command {
	return f.completes(f.within("deliveries WEBHOOK", "List what was sent to a webhook, the newest first", cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		list, err := all[management.Delivery](cmd, org, "/webhooks/"+args[0]+"/deliveries", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, d := range list.Data {
			why := d.Error
			if d.NextAt != nil {
				why += " · again " + date(d.NextAt)
			}
			rows = append(rows, []string{d.ID, d.Type, d.State, fmt.Sprint(d.Attempts), dash(strings.TrimPrefix(why, " · "))})
		}
		return f.table(cmd, list, "ID\tTYPE\tSTATE\tATTEMPTS\tREMARK", rows)
	}), f.webhookIDs)
}

func webhooksRedeliver(f *remote) *cobra.Command {
	return f.completes(f.within("redeliver WEBHOOK DELIVERY", "Send a delivery again", cobra.ExactArgs(2), func(cmd *cobra.Command, org *api, args []string) error {
		if err := org.do(cmd.Context(), http.MethodPost, "/webhooks/"+args[0]+"/deliveries/"+args[1]+"/redeliver", nil, nil); err != nil {
			return err
		}
		return f.done(cmd, "", "Would send it again")
	}), f.webhookIDs)
}
