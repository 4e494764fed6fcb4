package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

// A savedContext is a server and as whom to reach it.
type savedContext struct {
	Issuer       string `json:"issuer"`
	URL          string `json:"url,omitempty"`
	Org          string `json:"org,omitempty"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

// contexts is what imara login keeps, in a file that only its owner reads.
type contexts struct {
	Current  string                  `json:"current"`
	Contexts map[string]savedContext `json:"contexts"`
}

func contextsPath() (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "imara", "contexts.json"), err
}

// readContexts returns none when there is no file. A file that others may read is
// an error: it has secrets.
func readContexts() (contexts, error) {
	c := contexts{Contexts: map[string]savedContext{}}
	path, err := contextsPath()
	if err != nil {
		return c, nil // no home directory, no contexts
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if permissions(info)&0o077 != 0 {
		return c, usage("%s can be read by others: chmod 600 it", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	if c.Contexts == nil {
		c.Contexts = map[string]savedContext{}
	}
	return c, nil
}

func (c contexts) write() error {
	path, err := contextsPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(data, '\n'))
}

// fill takes server, key and secret from the context when neither a flag nor the
// environment says any of them, or when --context does. They belong together: the
// secret of one server never goes to another.
func (f *clientFlags) fill() error {
	c, err := readContexts()
	if err != nil {
		return err
	}
	name := f.context
	if name == "" {
		name = c.Current
	}
	saved, ok := c.Contexts[name]
	switch {
	case !ok && f.context != "":
		return usage("there is no context %q: see imara context list", f.context)
	case !ok, f.context == "" && (f.issuer != "" || f.clientID != ""):
		return nil
	case f.issuer != "" && f.issuer != saved.Issuer, f.clientID != "" && f.clientID != saved.ClientID:
		return usage("the context %q is another server or key than IMARA_ISSUER, IMARA_CLIENT_ID or their flags say: leave one out", name)
	}
	f.issuer, f.url, f.clientID, f.secret.saved = saved.Issuer, saved.URL, saved.ClientID, saved.ClientSecret
	if f.org == "" {
		f.org = saved.Org
	}
	return nil
}

func loginCommand() *cobra.Command {
	var f remote
	var name string
	cmd := &cobra.Command{
		Use: "login", Short: "Keep a server and a key to reach it, under a name", Args: cobra.NoArgs,
		Long: `Keep a server and a key to reach it, under a name. The secret comes from standard
input, a file or the environment, and is kept in a file that only you can read.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := f.api(cmd)
			if err != nil {
				return err
			}
			var me management.Me
			if err := server.do(cmd.Context(), http.MethodGet, "/me", nil, &me); err != nil {
				return err
			}
			secret, err := f.secret.read(cmd.InOrStdin())
			if err != nil {
				return err
			}
			c, err := readContexts()
			if err != nil {
				return err
			}
			saved := savedContext{Issuer: f.issuer, Org: f.org, ClientID: f.clientID, ClientSecret: secret}
			if f.url != f.issuer {
				saved.URL = f.url
			}
			if saved.Org == "" {
				saved.Org = me.Organization
			}
			c.Contexts[name], c.Current = saved, name
			if err := c.write(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Signed in to %s as %s, for %s · context %q\n", f.issuer, me.ClientID, saved.Org, name)
			return nil
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&name, "name", "default", "name of the context")
	return cmd
}

func logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout [CONTEXT]", Short: "Forget a context and its secret", Args: cobra.MaximumNArgs(1), ValidArgsFunction: completeContexts,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := readContexts()
			if err != nil {
				return err
			}
			name := append(args, c.Current)[0]
			if _, ok := c.Contexts[name]; !ok {
				return missing("context", name)
			}
			if delete(c.Contexts, name); c.Current == name {
				c.Current = ""
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Forgotten. The key itself lives on: imara keys revoke ends it.\n")
			return c.write()
		},
	}
}

func contextCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "context", Short: "Choose between servers and keys", RunE: group, Args: cobra.ArbitraryArgs}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List contexts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readContexts()
			if err != nil {
				return err
			}
			var rows [][]string
			for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
				current := ""
				if name == c.Current {
					current = "*"
				}
				rows = append(rows, []string{current, name, c.Contexts[name].Issuer, dash(c.Contexts[name].Org), c.Contexts[name].ClientID})
			}
			writeTable(cmd.OutOrStdout(), "\tNAME\tISSUER\tORG\tCLIENT ID", rows)
			return nil
		},
	}, &cobra.Command{
		Use: "use CONTEXT", Short: "Make a context the one that is used", Args: cobra.ExactArgs(1), ValidArgsFunction: completeContexts,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := readContexts()
			if err != nil {
				return err
			}
			if _, ok := c.Contexts[args[0]]; !ok {
				return missing("context", args[0])
			}
			c.Current = args[0]
			return c.write()
		},
	})
	return cmd
}

func whoamiCommand() *cobra.Command {
	var f remote
	cmd := f.command("whoami", "Show for whom this program speaks", cobra.NoArgs, func(cmd *cobra.Command, server *api, _ []string) error {
		var me management.Me
		if err := server.do(cmd.Context(), http.MethodGet, "/me", nil, &me); err != nil {
			return err
		}
		return f.table(cmd, me, "CLIENT ID\tORG\tMEMBER\tROLE\tSCOPES", [][]string{{me.ClientID, me.Organization, dash(me.Member), dash(me.Role), fmt.Sprint(me.Scopes)}})
	})
	f.add(cmd.Flags())
	return cmd
}
