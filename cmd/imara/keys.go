package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/keys"
)

func keysCommand() *cobra.Command {
	cmd, f := remoteCommand("keys", "Manage the API keys of an organisation")
	cmd.AddCommand(keysList(f), keysShow(f), keysUsage(f), keysAttempts(f), keysAccess(f), keysReview(f), keysWait(f))
	cmd.AddCommand(changing(keysCreate(f), keysEdit(f), keysRotate(f), keysRevoke(f), keysSuspend(f), keysResume(f), keysApprove(f))...)
	return cmd
}

func keysList(f *remote) *cobra.Command {
	var status, scope, owner, text, sort, unused string
	cmd := f.within("list", "List keys", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		query := url.Values{"limit": {"200"}}
		for name, value := range map[string]string{"status": status, "scope": scope, "owner": owner, "q": text, "sort": sort, "unused_for": unused} {
			if value != "" {
				query.Set(name, value)
			}
		}
		list, err := all[management.Key](cmd, org, "/keys", query)
		if err != nil {
			return err
		}
		return f.table(cmd, list, keyHeader, keyRows(list.Data...))
	})
	flags := cmd.Flags()
	flags.StringVar(&status, "status", "", "only active, pending, suspended, expired or revoked keys")
	flags.StringVar(&scope, "scope", "", "only keys with this scope")
	flags.StringVar(&owner, "owner", "", "only keys of this member")
	flags.StringVar(&text, "search", "", "only keys with this in their name, or with this client id")
	flags.StringVar(&unused, "unused-for", "", "only keys that were not used for so long, such as 90d")
	flags.StringVar(&sort, "sort", "", "created_at, name, last_used_at or expires_at; with - before it, descending")
	cmd.RegisterFlagCompletionFunc("scope", f.completer(f.scopeNames, 1000))
	cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"active", "pending", "suspended", "expired", "revoked"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

const keyHeader = "NAME\tCLIENT ID\tSTATUS\tSCOPES\tLAST USED\tEXPIRES"

func keyRows(list ...management.Key) (rows [][]string) {
	for _, k := range list {
		rows = append(rows, []string{k.Name, k.ClientID, k.Status, strings.Join(k.Scopes, ","), date(k.LastUsedAt), date(k.ExpiresAt)})
	}
	return rows
}

func keysCreate(f *remote) *cobra.Command {
	var request management.CreateKey
	var expires, ttl days
	var write secretFile
	cmd := f.within("create", "Create a key and show its secret once", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		if cmd.Flags().Changed("expires") && expires == 0 {
			return usage("--expires 0 would end it at once; leave it out for a key that never ends")
		}
		if expires > 0 {
			request.ExpiresIn = time.Duration(expires).String()
		}
		if err := write.check(); err != nil {
			return err
		}
		request.TokenTTLSeconds = int(time.Duration(ttl).Seconds())
		var created management.KeyWithSecret
		if err := org.do(cmd.Context(), http.MethodPost, "/keys", request, &created); err != nil {
			return err
		}
		if err := write.keep(&created); err != nil {
			return err
		}
		return f.print(cmd, created, func(w io.Writer) {
			fmt.Fprintf(w, "%s · uses %d of %d\n", f.did("Key created", "Would create a key"), created.Limits.Active, created.Limits.Max)
			if !f.dryRun {
				write.show(w, created)
			}
			fmt.Fprintf(w, "  Can            %s   ends %s\n", strings.Join(created.Key.Scopes, ", "), date(created.Key.ExpiresAt))
			if created.Key.Status == "pending" && f.dryRun {
				fmt.Fprintln(w, "It would wait for approval.")
			} else if created.Key.Status == "pending" {
				fmt.Fprintf(w, "It waits for approval: imara keys approve %s. Then rotate it for its secret.\n", created.Key.ID)
			}
		})
	})
	flags := cmd.Flags()
	flags.StringVar(&request.Name, "name", "", "what uses the key (required)")
	flags.StringVar(&request.Description, "description", "", "more about it")
	flags.StringSliceVar(&request.Scopes, "scope", nil, "a scope, repeatable (or --preset)")
	flags.StringVar(&request.Preset, "preset", "", "id or name of a preset, whose scopes are added")
	flags.StringSliceVar(&request.Resources, "resource", nil, "audience of an API it may call, repeatable (default: those of the scopes)")
	flags.StringSliceVar(&request.Networks, "network", nil, "network from which it may be used, repeatable")
	flags.StringVar(&request.Owner, "owner", "", "member who answers for it")
	flags.Var(&expires, "expires", "end the key after this long, such as 90d; never if not given")
	flags.Lookup("expires").DefValue = ""
	flags.Var(&ttl, "token-ttl", "how long its tokens live at most, such as 5m")
	flags.Lookup("token-ttl").DefValue = ""
	write.add(flags)
	cmd.RegisterFlagCompletionFunc("scope", f.completer(f.scopeNames, 1000))
	cmd.RegisterFlagCompletionFunc("preset", f.completer(f.presetNames, 1000))
	return cmd
}

// secretFile is where a new secret goes instead of the terminal.
type secretFile string

func (s *secretFile) add(flags *pflag.FlagSet) {
	flags.StringVar((*string)(s), "write-env", "", "write client id and secret to this file, 0600, for: set -a; . FILE; set +a; its other lines stay")
}

// check finds out before the secret is made whether it can be kept.
func (s *secretFile) check() error {
	if *s == "" {
		return nil
	}
	if target, err := filepath.EvalSymlinks(string(*s)); err == nil {
		*s = secretFile(target)
	}
	if info, err := os.Stat(string(*s)); err == nil && !info.Mode().IsRegular() {
		return usage("--write-env: %s is not a file", string(*s))
	}
	f, err := privateFile(string(*s), nil)
	if err != nil {
		return usage("--write-env: %v", err)
	}
	return os.Remove(f)
}

// keep writes the file, and takes the secret out of what is printed.
func (s secretFile) keep(k *management.KeyWithSecret) error {
	if s == "" || k.Secret == nil {
		return nil
	}
	err := setEnv(string(s), [][2]string{{"IMARA_CLIENT_ID", k.Key.ClientID}, {"IMARA_CLIENT_SECRET", k.Secret.Value}})
	if err != nil {
		return fmt.Errorf("the secret is made and could not be written, so rotate the key %s: %w", k.Key.ID, err)
	}
	k.Secret.Value = ""
	return nil
}

func (s secretFile) show(w io.Writer, k management.KeyWithSecret) {
	secret := "none: it was shown before, or is not made yet"
	switch {
	case k.Secret == nil:
	case s == "":
		secret = k.Secret.Value + "   shown once, not stored"
	default:
		secret = "…" + k.Secret.Hint + " written to " + string(s)
	}
	fmt.Fprintf(w, "  Client ID      %s\n  Client secret  %s\n", k.Key.ClientID, secret)
}

func keysShow(f *remote) *cobra.Command {
	return f.completes(f.within("show KEY", "Show a key, named by its id, client id or name", cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		key, err := find(cmd, org, args[0])
		if err == nil {
			err = org.do(cmd.Context(), http.MethodGet, "/keys/"+key.ID, nil, &key) // a list says less
		}
		if err != nil {
			return err
		}
		return f.print(cmd, key, func(w io.Writer) {
			writeTable(w, keyHeader, keyRows(key))
			for _, s := range key.Secrets {
				fmt.Fprintf(w, "  secret …%s  %s  ends %s  last used %s %s\n", s.Hint, s.State, date(s.EndsAt), date(s.LastUsedAt), s.LastUsedFrom)
			}
			if len(key.Networks) > 0 {
				fmt.Fprintf(w, "  from %s only\n", strings.Join(key.Networks, ", "))
			}
			if key.Receipt != nil {
				fmt.Fprintf(w, "  revoked %s by %s · %s\n", date(key.RevokedAt), key.Receipt.By, confirmed(*key.Receipt))
			}
		})
	}), f.keyNames)
}

// find returns the one key that has this id, client id or name. A name means an
// active key before a revoked one.
func find(cmd *cobra.Command, org *api, name string) (key management.Key, err error) {
	if strings.HasPrefix(name, "key_") || keys.ValidClientID(name) {
		err := org.do(cmd.Context(), http.MethodGet, "/keys/"+url.PathEscape(name), nil, &key)
		return key, err
	}
	list, err := all[management.Key](cmd, org, "/keys", url.Values{"limit": {"200"}, "q": {name}})
	if err != nil {
		return key, err
	}
	var named []management.Key
	for _, k := range list.Data {
		if k.ClientID == name {
			return k, nil
		}
		if strings.EqualFold(k.Name, name) {
			named = append(named, k)
		}
	}
	if living := slices.IndexFunc(named, func(k management.Key) bool { return k.Status != "revoked" }); living >= 0 {
		return named[living], nil
	}
	switch len(named) {
	case 0:
		return key, &exit{exitNotFound, fmt.Errorf("no key %q", name)}
	case 1:
		return named[0], nil
	}
	return key, usage("%d revoked keys are called %q: name one by its client id", len(named), name)
}

// withKey is a command about one key.
func (f *remote) withKey(use, short string, run func(cmd *cobra.Command, org *api, key management.Key) error) *cobra.Command {
	return f.completes(f.within(use, short, cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		key, err := find(cmd, org, args[0])
		if err != nil {
			return err
		}
		return run(cmd, org, key)
	}), f.keyNames)
}

func keysRotate(f *remote) *cobra.Command {
	var overlap days
	var wait, now bool
	var write secretFile
	cmd := f.withKey("rotate KEY", "Add a secret; the old one ends a day after the new one is first used", func(cmd *cobra.Command, org *api, key management.Key) error {
		if err := write.check(); err != nil {
			return err
		}
		var request management.RotateKey
		if now {
			request.OldEnds = "now"
		} else if cmd.Flags().Changed("overlap") {
			if request.OldEnds = "now"; overlap > 0 {
				// Not earlier than asked for: it has whole seconds.
				request.OldEnds = time.Now().Add(time.Duration(overlap) + time.Second).UTC().Format(time.RFC3339)
			}
		}
		var rotated management.KeyWithSecret
		// The secret first, whatever becomes of the receipt: nobody shows it again.
		header, err := org.preferring("wait=0").call(cmd.Context(), http.MethodPost, "/keys/"+key.ID+"/secrets", request, &rotated)
		if err != nil {
			var problem *refusal
			if errors.As(err, &problem) && problem.Code == "rotation_in_progress" {
				problem.Fix = "Wait for the old one to end, or end both now with --now."
			}
			return err
		}
		if err := write.keep(&rotated); err != nil {
			return err
		}
		err = f.print(cmd, rotated, func(w io.Writer) {
			fmt.Fprintln(w, f.did("New secret", "Would make a new secret"))
			if !f.dryRun {
				write.show(w, rotated)
			}
			for _, s := range rotated.Key.Secrets {
				switch {
				case s.State != "retiring":
				case s.EndsAfterUse > 0:
					fmt.Fprintf(w, "  Old secret …%s %s %v after the first use of the new one, at the latest %s\n", s.Hint, f.did("ends", "would end"), time.Duration(s.EndsAfterUse)*time.Second, date(s.EndsAt))
				default:
					fmt.Fprintf(w, "  Old secret …%s %s %s\n", s.Hint, f.did("ends", "would end"), date(s.EndsAt))
				}
			}
		})
		if err == nil && rotated.Receipt != nil {
			if err = org.await(cmd.Context(), header.Get("Location"), &rotated.Receipt); err == nil && !f.quiet {
				fmt.Fprintf(cmd.ErrOrStderr(), "What the old secrets had bought is cut: %s\n", confirmed(*rotated.Receipt))
			}
		}
		if err != nil || !wait || f.dryRun {
			return err
		}
		return f.awaitUse(cmd, org, rotated.Key.ID)
	})
	cmd.Flags().Var(&overlap, "overlap", "end the old secret after this long instead; below an hour, its live tokens end now")
	cmd.Flags().Lookup("overlap").DefValue = ""
	cmd.Flags().BoolVar(&now, "now", false, "end the old secret now, and every token that was bought with it")
	cmd.MarkFlagsMutuallyExclusive("now", "overlap")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the first use of the new secret")
	write.add(cmd.Flags())
	return cmd
}

func keysRevoke(f *remote) *cobra.Command {
	var reason string
	cmd := f.withKey("revoke KEY", "End a key for good, everywhere, before this returns", func(cmd *cobra.Command, org *api, key management.Key) error {
		if err := f.confirm(cmd, fmt.Sprintf("Revoke %q (%s)? Every system that uses it gets errors from then on.", key.Name, key.ClientID)); err != nil {
			return err
		}
		var revoked management.ChangedKey
		if err := f.cut(cmd, org, http.MethodPost, "/keys/"+key.ID+"/revoke", management.Reason{Reason: reason}, &revoked, &revoked.Receipt); err != nil {
			return err
		}
		if revoked.Receipt == nil { // a dry run has none
			return f.print(cmd, revoked, func(w io.Writer) { fmt.Fprintf(w, "Would revoke %q\n", key.Name) })
		}
		return f.print(cmd, revoked.Receipt, func(w io.Writer) {
			fmt.Fprintf(w, "Revoked · slot free (%d of %d) · %s\n", revoked.Limits.Active, revoked.Limits.Max, confirmed(*revoked.Receipt))
		})
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}
