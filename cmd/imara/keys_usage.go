package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func keysUsage(f *remote) *cobra.Command {
	var window string
	cmd := f.withKey("usage KEY", "Show how many tokens a key got, and why it got none", func(cmd *cobra.Command, org *api, key management.Key) error {
		var usage management.Usage
		if err := org.do(cmd.Context(), http.MethodGet, "/keys/"+key.ID+"/usage?"+url.Values{"window": {window}}.Encode(), nil, &usage); err != nil {
			return err
		}
		var rows [][]string
		for _, outcome := range slices.Sorted(maps.Keys(usage.Total)) {
			rows = append(rows, []string{outcome, fmt.Sprint(usage.Total[outcome])})
		}
		return f.table(cmd, usage, "OUTCOME\tREQUESTS", rows)
	})
	cmd.Flags().StringVar(&window, "window", "30d", "how far back, such as 7d")
	return cmd
}

func keysAttempts(f *remote) *cobra.Command {
	return f.withKey("attempts KEY", "List refused attempts to use a key, the newest first", func(cmd *cobra.Command, org *api, key management.Key) error {
		list, err := all[management.Attempt](cmd, org, "/keys/"+key.ID+"/attempts", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, a := range list.Data {
			rows = append(rows, []string{a.Outcome, dash(a.Address), fmt.Sprint(a.Count), date(&a.LastAt)})
		}
		return f.table(cmd, list, "OUTCOME\tFROM\tTIMES\tLAST", rows)
	})
}

func keysAccess(f *remote) *cobra.Command {
	return f.withKey("access KEY", "Show which of its scopes a key uses", func(cmd *cobra.Command, org *api, key management.Key) error {
		list, err := all[management.ScopeReport](cmd, org, "/keys/"+key.ID+"/access-report", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, s := range list.Data {
			rows = append(rows, []string{s.Scope, date(s.LastUsedAt)})
		}
		return f.table(cmd, list, "SCOPE\tLAST USED", rows)
	})
}

func keysReview(f *remote) *cobra.Command {
	return f.within("review", "List what to look at, the most urgent first", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		list, err := all[management.Finding](cmd, org, "/keys/review", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, finding := range list.Data {
			what := finding.Kind
			if finding.Scope != "" {
				what += " " + finding.Scope
			}
			rows = append(rows, []string{what, finding.Name, finding.ClientID, date(&finding.Since), finding.Action})
		}
		if len(rows) == 0 && !f.json && f.output == "table" {
			fmt.Fprintln(cmd.OutOrStdout(), "Nothing to do.")
			return nil
		}
		return f.table(cmd, list, "FINDING\tNAME\tCLIENT ID\tSINCE\tSETTLED BY", rows)
	})
}

func keysWait(f *remote) *cobra.Command {
	return f.withKey("wait KEY", "Wait until the newest secret of a key was used", func(cmd *cobra.Command, org *api, key management.Key) error {
		return f.awaitUse(cmd, org, key.ID)
	})
}

// usePause is between two looks: the server itself is some seconds behind.
const usePause = 500 * time.Millisecond

// awaitUse waits until the newest secret of a key was used, at most --timeout.
func (f *remote) awaitUse(cmd *cobra.Command, org *api, id string) error {
	if !f.quiet {
		fmt.Fprintln(cmd.ErrOrStderr(), "Waiting for the first use of the new secret…")
	}
	deadline := time.After(f.timeout)
	for {
		var key management.Key
		if err := org.do(cmd.Context(), http.MethodGet, "/keys/"+id, nil, &key); err != nil {
			return err
		}
		if len(key.Secrets) > 0 && key.Secrets[0].LastUsedAt != nil {
			s := key.Secrets[0]
			return f.print(cmd, key, func(w io.Writer) {
				fmt.Fprintf(w, "✓ …%s used %s from %s\n", s.Hint, date(s.LastUsedAt), s.LastUsedFrom)
			})
		}
		select {
		case <-time.After(usePause):
		case <-deadline:
			return &exit{exitUnavailable, fmt.Errorf("not used within %v", f.timeout)}
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		}
	}
}
