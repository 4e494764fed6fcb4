package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func secretsCommand() *cobra.Command {
	cmd, f := remoteCommand("secrets", "Manage the secrets of a key")
	cmd.AddCommand(secretsList(f))
	cmd.AddCommand(changing(secretsEnd(f), secretsExtend(f), secretsCancel(f))...)
	return cmd
}

func secretsList(f *remote) *cobra.Command {
	return f.withKey("list KEY", "List the secrets of a key, the newest first", func(cmd *cobra.Command, org *api, key management.Key) error {
		list, err := all[management.Secret](cmd, org, "/keys/"+key.ID+"/secrets", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, s := range list.Data {
			rows = append(rows, []string{s.ID, "…" + s.Hint, s.State, date(s.CreatedAt), date(s.EndsAt), date(s.LastUsedAt), dash(s.LastUsedFrom)})
		}
		return f.table(cmd, list, "ID\tHINT\tSTATE\tMADE\tENDS\tLAST USED\tFROM", rows)
	})
}

// withSecret is a command about a secret of a key, named by its id or hint.
func (f *remote) withSecret(use, short string, run func(cmd *cobra.Command, org *api, key management.Key, s management.Secret) error) *cobra.Command {
	return f.completes(f.within(use, short, cobra.ExactArgs(2), func(cmd *cobra.Command, org *api, args []string) error {
		key, err := find(cmd, org, args[0])
		if err != nil {
			return err
		}
		if org, err = org.asOf(cmd.Context(), "/keys/"+key.ID, &key); err != nil {
			return err
		}
		for _, s := range key.Secrets {
			if s.ID == args[1] || s.Hint == strings.TrimPrefix(args[1], "…") {
				return run(cmd, org, key, s)
			}
		}
		return missing("secret", args[1])
	}), f.keyNames)
}

func secretsEnd(f *remote) *cobra.Command {
	var leaked bool
	cmd := f.withSecret("end KEY SECRET", "End a secret now, and every token that was bought with it", func(cmd *cobra.Command, org *api, key management.Key, s management.Secret) error {
		question := fmt.Sprintf("End the secret …%s of %q, and every token that was bought with it?", s.Hint, key.Name)
		if s.LastUsedAt != nil && time.Since(*s.LastUsedAt) < time.Hour {
			question += fmt.Sprintf(" It was used %v ago from %s.", time.Since(*s.LastUsedAt).Round(time.Second), s.LastUsedFrom)
		}
		if err := f.confirm(cmd, question); err != nil {
			return err
		}
		path := "/keys/" + key.ID + "/secrets/" + s.ID
		if leaked {
			path += "?leaked=true"
		}
		return f.changeKey(cmd, org, http.MethodDelete, path, nil, f.did("Ended", "Would end it"))
	})
	cmd.Flags().BoolVar(&leaked, "leaked", false, "it was found where it does not belong: for the record")
	return cmd
}

func secretsExtend(f *remote) *cobra.Command {
	var left days
	cmd := f.withSecret("extend KEY SECRET", "Move the end of a secret that still works; within an hour, its live tokens end now", func(cmd *cobra.Command, org *api, key management.Key, s management.Secret) error {
		request := management.EditSecret{EndsAt: time.Now().Add(time.Duration(left)).UTC().Truncate(time.Second)}
		return f.changeKey(cmd, org, http.MethodPatch, "/keys/"+key.ID+"/secrets/"+s.ID, request,
			f.did("Ends ", "Would end ")+date(&request.EndsAt))
	})
	cmd.Flags().Var(&left, "for", "how long it works from now on, such as 2d (required)")
	cmd.Flags().Lookup("for").DefValue = ""
	cmd.MarkFlagRequired("for")
	return cmd
}

func secretsCancel(f *remote) *cobra.Command {
	return f.withSecret("cancel KEY SECRET", "Cancel a rotation: end its new secret, with its tokens, and let the old one go on",
		func(cmd *cobra.Command, org *api, key management.Key, s management.Secret) error {
			if err := f.confirm(cmd, fmt.Sprintf("End the new secret …%s of %q, and keep the old one?", s.Hint, key.Name)); err != nil {
				return err
			}
			return f.changeKey(cmd, org, http.MethodPost, "/keys/"+key.ID+"/secrets/"+s.ID+"/cancel", nil, f.did("Canceled", "Would cancel it"))
		})
}
