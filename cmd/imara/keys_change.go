package main

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func keysEdit(f *remote) *cobra.Command {
	var name, description, owner string
	var scopes, resources, networks []string
	var expires, ttl days
	var never bool
	var quota, sessions int
	var lease time.Duration
	cmd := f.withKey("edit KEY", "Change what a key is called, may do, and when it ends", func(cmd *cobra.Command, org *api, key management.Key) error {
		org, err := org.asOf(cmd.Context(), "/keys/"+key.ID, &key)
		if err != nil {
			return err
		}
		var request management.EditKey
		given := cmd.Flags().Changed
		for flag, set := range map[string]func(){
			"name": func() { request.Name = &name }, "description": func() { request.Description = &description }, "owner": func() { request.Owner = &owner },
			"scope": func() { request.Scopes = &scopes }, "resource": func() { request.Resources = &resources }, "network": func() { request.Networks = &networks },
			"never-expires": func() { request.ExpiresAt = management.Null[time.Time]{Set: true, IsNull: true} },
			"expires": func() {
				request.ExpiresAt = management.Null[time.Time]{Set: true, Value: time.Now().Add(time.Duration(expires)).UTC().Truncate(time.Second)}
			},
			"token-ttl": func() {
				seconds := int(time.Duration(ttl).Seconds())
				request.TokenTTLSeconds = &seconds
			},
			"tokens-per-minute": func() { request.TokensPerMinute = &quota },
			"max-sessions":      func() { request.MaxSessions = &sessions },
			"max-lease": func() {
				longest := lease.Milliseconds()
				request.MaxLeaseMS = &longest
			},
		} {
			if given(flag) {
				set()
			}
		}
		return f.changeKey(cmd, org, http.MethodPatch, "/keys/"+key.ID, request, f.did("Changed", "Would change it"))
	})
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "another name")
	flags.StringVar(&description, "description", "", "another description")
	flags.StringVar(&owner, "owner", "", "hand it over to this member")
	flags.StringSliceVar(&scopes, "scope", nil, "all scopes that it shall have, repeatable")
	flags.StringSliceVar(&resources, "resource", nil, "all audiences that it may call, repeatable")
	flags.StringSliceVar(&networks, "network", nil, "all networks from which it may be used, repeatable")
	flags.Var(&expires, "expires", "end it after this long, such as 90d")
	flags.BoolVar(&never, "never-expires", false, "let it live for ever")
	flags.Var(&ttl, "token-ttl", "how long its tokens live at most; 0 is as long as its APIs say")
	for _, name := range []string{"expires", "token-ttl"} {
		flags.Lookup(name).DefValue = ""
	}
	cmd.MarkFlagsMutuallyExclusive("expires", "never-expires")
	flags.IntVar(&quota, "tokens-per-minute", 0, "how many tokens it may buy; 0 is the server's default (operators)")
	flags.IntVar(&sessions, "max-sessions", 0, "how many verifiers may follow with it at once; 0 is the default (operators)")
	flags.DurationVar(&lease, "max-lease", 0, "the longest lease of these; 0 is the default of 10s (operators)")
	cmd.MarkFlagsOneRequired("name", "description", "owner", "scope", "resource", "network", "expires", "never-expires", "token-ttl",
		"tokens-per-minute", "max-sessions", "max-lease")
	cmd.RegisterFlagCompletionFunc("scope", f.completer(f.scopeNames, 1000))
	return cmd
}

// changeKey makes a change and says how far it has reached.
func (f *remote) changeKey(cmd *cobra.Command, org *api, method, path string, request any, did string) error {
	var changed management.ChangedKey
	if err := f.cut(cmd, org, method, path, request, &changed, &changed.Receipt); err != nil {
		return err
	}
	return f.print(cmd, changed, func(w io.Writer) {
		if fmt.Fprint(w, did); changed.Receipt != nil {
			fmt.Fprintf(w, " · its tokens are cut: %s", confirmed(*changed.Receipt))
		}
		fmt.Fprintln(w)
		writeTable(w, keyHeader, keyRows(changed.Key))
	})
}

func keysSuspend(f *remote) *cobra.Command {
	var reason string
	cmd := f.withKey("suspend KEY", "Stop a key until it is resumed; it keeps its slot", func(cmd *cobra.Command, org *api, key management.Key) error {
		if err := f.confirm(cmd, fmt.Sprintf("Suspend %q (%s)? What uses it gets errors until it is resumed.", key.Name, key.ClientID)); err != nil {
			return err
		}
		return f.changeKey(cmd, org, http.MethodPost, "/keys/"+key.ID+"/suspend", management.Reason{Reason: reason}, f.did("Suspended", "Would suspend it"))
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}

func keysResume(f *remote) *cobra.Command {
	return f.withKey("resume KEY", "Let a suspended key work again", func(cmd *cobra.Command, org *api, key management.Key) error {
		return f.changeKey(cmd, org, http.MethodPost, "/keys/"+key.ID+"/resume", nil, f.did("Resumed", "Would resume it"))
	})
}

func keysApprove(f *remote) *cobra.Command {
	return f.withKey("approve KEY", "Let a key begin that waits for approval", func(cmd *cobra.Command, org *api, key management.Key) error {
		return f.changeKey(cmd, org, http.MethodPost, "/keys/"+key.ID+"/approve", nil,
			f.did("Approved. Who asked for it collects the secret with imara keys rotate.", "Would approve it"))
	})
}
