package main

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

// Completion asks the server for names while the user types. What cannot be had,
// is not offered; nothing is said. Shells put what is offered on the command line as
// it is, so only names of harmless characters are: others are meant by their ids.

type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completes makes a command complete its first argument from the server.
func (f *remote) completes(cmd *cobra.Command, names func(*cobra.Command, *api) ([]string, error)) *cobra.Command {
	cmd.ValidArgsFunction = f.completer(names, 1)
	return cmd
}

// completer offers what names returns, for the first max arguments.
func (f *remote) completer(names func(*cobra.Command, *api) ([]string, error), max int) completer {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= max {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if err := fromEnvironment(cmd); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		server, err := f.api(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		all, err := names(cmd, server)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		all = slices.DeleteFunc(all, func(name string) bool {
			offered, _, _ := strings.Cut(name, "\t")
			return !harmless(offered) || !strings.HasPrefix(strings.ToLower(name), strings.ToLower(begun))
		})
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// harmless tells whether a shell takes a word as it is.
func harmless(word string) bool {
	return !strings.ContainsFunc(word, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@+-", c)
	})
}

// keyNames are the names of keys that are not revoked, and their client ids.
func (f *remote) keyNames(cmd *cobra.Command, server *api) ([]string, error) {
	list, err := all[management.Key](cmd, server.of(f.org), "/keys", url.Values{"limit": {"200"}})
	var names []string
	for _, k := range list.Data {
		switch {
		case k.Status == "revoked":
		case harmless(k.Name):
			names = append(names, k.Name+"\t"+k.ClientID)
		default:
			names = append(names, k.ClientID+"\t"+k.Name)
		}
	}
	return names, err
}

func (f *remote) scopeNames(cmd *cobra.Command, server *api) ([]string, error) {
	list, err := all[management.Resource](cmd, server, "/resources", nil)
	var names []string
	for _, r := range list.Data {
		for _, s := range r.Scopes {
			names = append(names, s.Name+"\t"+s.Description)
		}
	}
	return names, err
}

func (f *remote) presetNames(cmd *cobra.Command, server *api) ([]string, error) {
	list, err := all[management.Preset](cmd, server, "/presets", nil)
	var names []string
	for _, p := range list.Data {
		names = append(names, p.Name+"\t"+p.Description)
	}
	return names, err
}

func completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	c, err := readContexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.Sorted(maps.Keys(c.Contexts)), cobra.ShellCompDirectiveNoFileComp
}
