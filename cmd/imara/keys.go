package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/keys"
)

// keysFlags are those of every keys command.
type keysFlags struct {
	clientFlags
	json bool
}

func keysCommand() *cobra.Command {
	var f keysFlags
	cmd := &cobra.Command{Use: "keys", Short: "Manage the API keys of an organisation", RunE: group, Args: cobra.ArbitraryArgs}
	f.clientFlags.add(cmd.PersistentFlags())
	cmd.PersistentFlags().StringVar(&f.org, "org", "", "organisation (IMARA_ORG)")
	cmd.PersistentFlags().BoolVar(&f.json, "json", false, "print the server's answer")
	cmd.AddCommand(f.list(), f.create(), f.show(), f.rotate(), f.revoke())
	return cmd
}

// print writes the answer as JSON, or for people.
func (f *keysFlags) print(cmd *cobra.Command, answer any, human func(io.Writer)) error {
	if f.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(answer)
	}
	human(cmd.OutOrStdout())
	return nil
}

// fail prints the problem document when JSON is wanted.
func (f *keysFlags) fail(cmd *cobra.Command, err error) error {
	var problem *refusal
	if f.json && errors.As(err, &problem) && problem.document != nil {
		cmd.OutOrStdout().Write(append([]byte(strings.TrimSpace(string(problem.document))), '\n'))
	}
	return err
}

func (f *keysFlags) list() *cobra.Command {
	var status string
	cmd := &cobra.Command{
		Use: "list", Short: "List keys, the newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := f.organization(cmd)
			if err != nil {
				return err
			}
			list, err := all(cmd, server, status)
			if err != nil {
				return f.fail(cmd, err)
			}
			return f.print(cmd, management.List[management.Key]{Data: list}, func(w io.Writer) { table(w, list) })
		},
	}
	cmd.Flags().StringVar(&status, "status", "", "only active, suspended, expired or revoked keys")
	return cmd
}

// all reads every page.
func all(cmd *cobra.Command, server *api, status string) ([]management.Key, error) {
	list, query := []management.Key{}, url.Values{"limit": {"200"}}
	if status != "" {
		query.Set("status", status)
	}
	for {
		var page management.List[management.Key]
		if err := server.do(cmd.Context(), http.MethodGet, "/keys?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Data...)
		if !page.HasMore {
			return list, nil
		}
		query.Set("cursor", page.NextCursor)
	}
}

func table(w io.Writer, list []management.Key) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tCLIENT ID\tSTATUS\tSCOPES\tLAST USED\tEXPIRES")
	for _, k := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, k.ClientID, k.Status, strings.Join(k.Scopes, ","), date(k.LastUsedAt), date(k.ExpiresAt))
	}
	t.Flush()
}

func date(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.Format("2006-01-02 15:04 UTC")
}

func (f *keysFlags) create() *cobra.Command {
	var request management.CreateKey
	var expires days
	var write secretFile
	cmd := &cobra.Command{
		Use: "create", Short: "Create a key and show its secret once", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := f.organization(cmd)
			if err != nil {
				return err
			}
			if expires > 0 {
				at := time.Now().Add(time.Duration(expires)).UTC().Truncate(time.Second)
				request.ExpiresAt = &at
			}
			var created management.KeyWithSecret
			if err := server.do(cmd.Context(), http.MethodPost, "/keys", request, &created); err != nil {
				return f.fail(cmd, err)
			}
			if err := write.keep(&created); err != nil {
				return err
			}
			return f.print(cmd, created, func(w io.Writer) {
				fmt.Fprintf(w, "Key created · uses %d of %d\n", created.Limits.Active, created.Limits.Max)
				write.show(w, created)
				fmt.Fprintf(w, "  Can            %s   ends %s\n", strings.Join(created.Key.Scopes, ", "), date(created.Key.ExpiresAt))
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&request.Name, "name", "", "what uses the key (required)")
	flags.StringSliceVar(&request.Scopes, "scope", nil, "a scope, repeatable (required)")
	flags.StringSliceVar(&request.Resources, "resource", nil, "audience of an API it may call, repeatable (default: those of the scopes)")
	flags.StringVar(&request.Owner, "owner", "", "member who answers for it")
	flags.Var(&expires, "expires", "end the key after this long, such as 90d; never if not given")
	flags.Lookup("expires").DefValue = ""
	write.add(flags)
	return cmd
}

// secretFile is where a new secret goes instead of the terminal.
type secretFile string

func (s *secretFile) add(flags *pflag.FlagSet) {
	flags.StringVar((*string)(s), "write-env", "", "write client id and secret to this file, 0600, for: set -a; . FILE; set +a")
}

// keep writes the file, and takes the secret out of what is printed.
func (s secretFile) keep(k *management.KeyWithSecret) error {
	if s == "" {
		return nil
	}
	err := writeEnv(string(s), [][2]string{{"IMARA_CLIENT_ID", k.Key.ClientID}, {"IMARA_CLIENT_SECRET", k.Secret.Value}})
	if err != nil {
		return fmt.Errorf("the secret is made and could not be written, so rotate the key %s: %w", k.Key.ID, err)
	}
	k.Secret.Value = ""
	return nil
}

func (s secretFile) show(w io.Writer, k management.KeyWithSecret) {
	secret := k.Secret.Value + "   shown once, not stored"
	if s != "" {
		secret = "…" + k.Secret.Hint + " written to " + string(s)
	}
	fmt.Fprintf(w, "  Client ID      %s\n  Client secret  %s\n", k.Key.ClientID, secret)
}

func (f *keysFlags) show() *cobra.Command {
	return &cobra.Command{
		Use: "show KEY", Short: "Show a key, named by its id, client id or name", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			server, key, err := f.find(cmd, args[0])
			if err == nil {
				err = server.do(cmd.Context(), http.MethodGet, "/keys/"+key.ID, nil, &key) // a list says less
			}
			if err != nil {
				return f.fail(cmd, err)
			}
			return f.print(cmd, key, func(w io.Writer) {
				table(w, []management.Key{key})
				for _, s := range key.Secrets {
					fmt.Fprintf(w, "  secret …%s  %s  ends %s  last used %s\n", s.Hint, s.State, date(s.EndsAt), date(s.LastUsedAt))
				}
				if key.Receipt != nil {
					fmt.Fprintf(w, "  revoked %s by %s · %s\n", date(key.RevokedAt), key.Receipt.By, confirmed(*key.Receipt))
				}
			})
		},
	}
}

// find returns the one key that has this id, client id or name, and the server
// that has it. A name means an active key before a revoked one.
func (f *keysFlags) find(cmd *cobra.Command, name string) (*api, management.Key, error) {
	server, err := f.organization(cmd)
	if err != nil {
		return nil, management.Key{}, err
	}
	if strings.HasPrefix(name, "key_") {
		var key management.Key
		err := server.do(cmd.Context(), http.MethodGet, "/keys/"+url.PathEscape(name), nil, &key)
		return server, key, err
	}
	list, err := all(cmd, server, "")
	if err != nil {
		return nil, management.Key{}, err
	}
	var named []management.Key
	for _, k := range list {
		if k.ClientID == name || strings.EqualFold(k.Name, name) && k.Status != "revoked" {
			return server, k, nil
		}
		if strings.EqualFold(k.Name, name) {
			named = append(named, k)
		}
	}
	switch len(named) {
	case 0:
		return nil, management.Key{}, &exit{exitNotFound, fmt.Errorf("no key %q", name)}
	case 1:
		return server, named[0], nil
	}
	return nil, management.Key{}, usage("%d revoked keys are called %q: name one by its client id", len(named), name)
}

func (f *keysFlags) rotate() *cobra.Command {
	overlap := days(24 * time.Hour)
	var write secretFile
	cmd := &cobra.Command{
		Use: "rotate KEY", Short: "Add a secret; the old one ends later", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			server, key, err := f.find(cmd, args[0])
			if err != nil {
				return f.fail(cmd, err)
			}
			request := management.RotateKey{OldEnds: "now"}
			if overlap > 0 {
				request.OldEnds = time.Now().Add(time.Duration(overlap)).UTC().Format(time.RFC3339)
			}
			var rotated management.KeyWithSecret
			if err := server.do(cmd.Context(), http.MethodPost, "/keys/"+key.ID+"/secrets", request, &rotated); err != nil {
				var problem *refusal
				if errors.As(err, &problem) && problem.Code == "rotation_in_progress" {
					problem.Fix = "Wait for the old one to end, or end both now with --overlap 0."
				}
				return f.fail(cmd, err)
			}
			if err := write.keep(&rotated); err != nil {
				return err
			}
			return f.print(cmd, rotated, func(w io.Writer) {
				fmt.Fprintln(w, "New secret")
				write.show(w, rotated)
				for _, s := range rotated.Key.Secrets[1:] {
					if s.State == "retiring" {
						fmt.Fprintf(w, "  Old secret …%s ends %s\n", s.Hint, date(s.EndsAt))
					}
				}
			})
		},
	}
	cmd.Flags().Var(&overlap, "overlap", "how long the old secret goes on working; 0 ends it now")
	write.add(cmd.Flags())
	return cmd
}

func (f *keysFlags) revoke() *cobra.Command {
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use: "revoke KEY", Short: "End a key for good, everywhere, before this returns", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			server, key, err := f.find(cmd, args[0])
			if err != nil {
				return f.fail(cmd, err)
			}
			if err := confirm(cmd, yes, fmt.Sprintf("Revoke %q (%s)? Every system that uses it gets errors from then on.", key.Name, key.ClientID)); err != nil {
				return err
			}
			var revoked management.ChangedKey
			if err := server.do(cmd.Context(), http.MethodPost, "/keys/"+key.ID+"/revoke", management.Reason{Reason: reason}, &revoked); err != nil {
				return f.fail(cmd, err)
			}
			return f.print(cmd, revoked.Receipt, func(w io.Writer) {
				fmt.Fprintf(w, "Revoked · slot free (%d of %d) · %s\n", revoked.Limits.Active, revoked.Limits.Max, confirmed(*revoked.Receipt))
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func confirmed(r management.Receipt) string {
	text := fmt.Sprintf("%d of %d verifiers confirmed in %.3g ms", r.Confirmed, r.Total, r.WaitedMS)
	switch keys.ReceiptState(r.State) {
	case keys.LeaseEnded:
		text += "; the leases of the others have ended, they refuse"
	case keys.Waived:
		text += "; of the others, some may accept for longer, as their owners configured them: see imara verifiers list"
	}
	return text
}

// confirm asks on a terminal. Elsewhere --yes is needed.
func confirm(cmd *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	if !terminal(cmd.InOrStdin()) {
		return usage("%s Add --yes.", question)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return &exit{exitError, errors.New("nothing was changed")}
	}
	return nil
}
