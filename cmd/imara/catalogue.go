package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func resourcesCommand() *cobra.Command {
	cmd, f := remoteCommand("resources", "Manage the APIs that keys may call")
	cmd.AddCommand(resourcesList(f))
	cmd.AddCommand(changing(resourcesSet(f), resourcesRemove(f))...)
	return cmd
}

func resourcesList(f *remote) *cobra.Command {
	return f.command("list", "List resources", cobra.NoArgs, func(cmd *cobra.Command, server *api, _ []string) error {
		list, err := all[management.Resource](cmd, server, "/resources", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, r := range list.Data {
			rows = append(rows, []string{r.ID, r.Name, r.Audience, r.Algorithm, (time.Duration(r.TokenTTLSeconds) * time.Second).String(), fmt.Sprint(len(r.Scopes))})
		}
		return f.table(cmd, list, "ID\tNAME\tAUDIENCE\tSIGNED\tTOKENS LIVE\tSCOPES", rows)
	})
}

func resourcesSet(f *remote) *cobra.Command {
	return f.command("set [FILE|-]", "Add or replace a resource, by its audience, from JSON as resources list --json shows it (operators)", cobra.MaximumNArgs(1), func(cmd *cobra.Command, server *api, args []string) error {
		text, err := readToken(cmd, args)
		if err != nil {
			return err
		}
		requests, err := readResources(text)
		if err != nil {
			return usage("the resource: %v", err)
		}
		if len(requests) > 1 && f.idempotencyKey != "" {
			return usage("--idempotency-key is for one resource")
		}
		for _, request := range requests {
			var r management.Resource
			if err := server.do(cmd.Context(), http.MethodPost, "/resources", request, &r); err != nil {
				return err
			}
			if err := f.print(cmd, r, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s %d scopes\n", r.Audience, f.did("has", "would have"), len(r.Scopes))
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

// readResources reads a resource, or a list of them as resources list --json shows it. What
// the server gives, the id, is passed over.
func readResources(text string) ([]management.PutResource, error) {
	var list struct {
		Data    []management.Resource `json:"data"`
		HasMore bool                  `json:"has_more"`
	}
	if err := strictly(text, &list); err != nil || list.Data == nil {
		list.Data = make([]management.Resource, 1)
		if err := strictly(text, &list.Data[0]); err != nil {
			return nil, err
		}
	}
	var requests []management.PutResource
	for _, r := range list.Data {
		requests = append(requests, management.PutResource{Audience: r.Audience, Name: r.Name,
			Algorithm: r.Algorithm, TokenTTLSeconds: r.TokenTTLSeconds, Scopes: r.Scopes})
	}
	return requests, nil
}

// strictly reads one JSON value without members that v does not have.
func strictly(text string, v any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("there is something after it")
	}
	return nil
}

func resourcesRemove(f *remote) *cobra.Command {
	return f.command("remove AUDIENCE", "Remove a resource that no active key uses (operators)", cobra.ExactArgs(1), func(cmd *cobra.Command, server *api, args []string) error {
		list, err := all[management.Resource](cmd, server, "/resources", nil)
		if err != nil {
			return err
		}
		for _, r := range list.Data {
			if r.Audience != args[0] && r.ID != args[0] {
				continue
			}
			if err := f.confirm(cmd, fmt.Sprintf("Remove %s and its %d scopes?", r.Audience, len(r.Scopes))); err != nil {
				return err
			}
			server, err := server.asOf(cmd.Context(), "/resources/"+r.ID, &r)
			if err != nil {
				return err
			}
			if err := server.do(cmd.Context(), http.MethodDelete, "/resources/"+r.ID, nil, nil); err != nil {
				return err
			}
			return f.print(cmd, r, func(w io.Writer) { fmt.Fprintln(w, f.did("Removed", "Would remove"), r.Audience) })
		}
		return missing("resource", args[0])
	})
}

// missing is the error for a name that nothing has.
func missing(what, name string) error { return &exit{exitNotFound, fmt.Errorf("no %s %q", what, name)} }

func scopesCommand() *cobra.Command {
	cmd, f := remoteCommand("scopes", "See what keys can be allowed to do")
	cmd.AddCommand(f.command("list", "List scopes", cobra.NoArgs, func(cmd *cobra.Command, server *api, _ []string) error {
		list, err := all[management.Resource](cmd, server, "/resources", nil)
		if err != nil {
			return err
		}
		scopes, rows := management.List[management.Scope]{Data: []management.Scope{}}, [][]string{}
		for _, r := range list.Data {
			scopes.Data = append(scopes.Data, r.Scopes...)
			for _, s := range r.Scopes {
				by := s.GrantedBy
				if s.Restricted {
					by = "operator"
				}
				rows = append(rows, []string{s.Name, r.Audience, dash(s.Group), dash(by), s.Description})
			}
		}
		return f.table(cmd, scopes, "SCOPE\tRESOURCE\tGROUP\tGRANTED BY\tDESCRIPTION", rows)
	}))
	return cmd
}

func presetsCommand() *cobra.Command {
	cmd, f := remoteCommand("presets", "Manage choices of scopes to begin a key with")
	cmd.AddCommand(presetsList(f))
	cmd.AddCommand(changing(presetsAdd(f), presetsRemove(f))...)
	return cmd
}

func presetsList(f *remote) *cobra.Command {
	return f.command("list", "List presets", cobra.NoArgs, func(cmd *cobra.Command, server *api, _ []string) error {
		list, err := all[management.Preset](cmd, server, "/presets", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, p := range list.Data {
			rows = append(rows, []string{p.ID, p.Name, strings.Join(p.Scopes, ","), p.Description})
		}
		return f.table(cmd, list, "ID\tNAME\tSCOPES\tDESCRIPTION", rows)
	})
}

func presetsAdd(f *remote) *cobra.Command {
	var request management.PutPreset
	cmd := f.command("add", "Add a preset (operators)", cobra.NoArgs, func(cmd *cobra.Command, server *api, _ []string) error {
		var p management.Preset
		if err := server.do(cmd.Context(), http.MethodPost, "/presets", request, &p); err != nil {
			return err
		}
		return f.print(cmd, p, func(w io.Writer) {
			if f.dryRun {
				fmt.Fprintf(w, "Would add %q with %d scopes\n", p.Name, len(p.Scopes))
				return
			}
			fmt.Fprintf(w, "%s · imara keys create --preset %q\n", p.ID, p.Name)
		})
	})
	cmd.Flags().StringVar(&request.Name, "name", "", "name (required)")
	cmd.Flags().StringVar(&request.Description, "description", "", "for which keys")
	cmd.Flags().StringSliceVar(&request.Scopes, "scope", nil, "a scope, repeatable")
	cmd.RegisterFlagCompletionFunc("scope", f.completer(f.scopeNames, 1000))
	return cmd
}

func presetsRemove(f *remote) *cobra.Command {
	return f.completes(f.command("remove PRESET", "Remove a preset; no key changes (operators)", cobra.ExactArgs(1), func(cmd *cobra.Command, server *api, args []string) error {
		list, err := all[management.Preset](cmd, server, "/presets", nil)
		if err != nil {
			return err
		}
		for _, p := range list.Data {
			if p.ID == args[0] || strings.EqualFold(p.Name, args[0]) {
				if err := server.do(cmd.Context(), http.MethodDelete, "/presets/"+p.ID, nil, nil); err != nil {
					return err
				}
				return f.print(cmd, p, func(w io.Writer) { fmt.Fprintln(w, f.did("Removed", "Would remove"), p.Name) })
			}
		}
		return missing("preset", args[0])
	}), f.presetNames)
}
