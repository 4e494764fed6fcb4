package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
)

// remote are the flags of every command that talks to the management API.
type remote struct {
	clientFlags
	output         string
	json           bool
	yes, dryRun    bool
	quiet          bool
	actor          string
	idempotencyKey string
}

// remoteCommand is a group of such commands.
func remoteCommand(use, short string) (*cobra.Command, *remote) {
	f := &remote{}
	cmd := &cobra.Command{Use: use, Short: short, RunE: group, Args: cobra.ArbitraryArgs}
	f.add(cmd.PersistentFlags())
	cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "csv"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("context", completeContexts)
	return cmd, f
}

func (f *remote) add(flags *pflag.FlagSet) {
	f.clientFlags.add(flags)
	flags.StringVar(&f.org, "org", "", "organisation (IMARA_ORG)")
	flags.StringVar(&f.output, "output", "table", "table, json or csv")
	flags.BoolVar(&f.json, "json", false, "print the server's answer: --output json")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	flags.BoolVar(&f.dryRun, "dry-run", false, "check everything, and change nothing; only of commands that change something")
	flags.BoolVar(&f.quiet, "quiet", false, "no progress, no remarks")
	flags.StringVar(&f.actor, "actor", "", "member for whom the key acts (IMARA_ACTOR)")
	flags.StringVar(&f.idempotencyKey, "idempotency-key", "", "a change with the same key within a day is not made again")
}

// run is a command that prints as --output says, errors too if that is JSON.
func (f *remote) run(use, short string, args cobra.PositionalArgs, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		switch f.output {
		case "json":
			f.json = true
		case "table", "csv":
		default:
			return usage("--output is table, json or csv")
		}
		return f.fail(cmd, run(cmd, args))
	}}
}

// checked is one whose flags say how to reach a server.
func (f *remote) checked(use, short string, args cobra.PositionalArgs, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return f.run(use, short, args, func(cmd *cobra.Command, args []string) error {
		if err := f.check(); err != nil {
			return err
		}
		return run(cmd, args)
	})
}

// command is one that talks to the server.
func (f *remote) command(use, short string, args cobra.PositionalArgs, run func(cmd *cobra.Command, server *api, args []string) error) *cobra.Command {
	return f.checked(use, short, args, func(cmd *cobra.Command, args []string) error {
		server, err := f.api(cmd)
		if err != nil {
			return err
		}
		return run(cmd, server, args)
	})
}

// within is a command about the organisation of --org.
func (f *remote) within(use, short string, args cobra.PositionalArgs, run func(cmd *cobra.Command, org *api, args []string) error) *cobra.Command {
	return f.checked(use, short, args, func(cmd *cobra.Command, args []string) error {
		if f.org == "" {
			return usage("--org, IMARA_ORG or a context is needed")
		}
		server, err := f.api(cmd)
		if err != nil {
			return err
		}
		return run(cmd, server.of(f.org), args)
	})
}

// print writes the answer as JSON, or for people.
func (f *remote) print(cmd *cobra.Command, answer any, human func(io.Writer)) error {
	if f.json {
		text, err := f.marked(answer)
		if err != nil {
			return err
		}
		return json.NewEncoder(cmd.OutOrStdout()).Encode(text)
	}
	if f.dryRun {
		fmt.Fprintln(cmd.OutOrStdout(), "Dry run, nothing was changed. It would be:")
	}
	human(cmd.OutOrStdout())
	return nil
}

// done says what a command has done that has no answer of its own, or would do.
func (f *remote) done(cmd *cobra.Command, done, would string) error {
	switch {
	case f.dryRun && f.json:
		return f.print(cmd, struct{}{}, nil)
	case f.dryRun:
		done = "Dry run, nothing was changed. " + would
	case done == "" || f.json:
		return nil
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), done)
	return err
}

// table writes the answer as JSON, CSV, or a table for people.
func (f *remote) table(cmd *cobra.Command, answer any, header string, rows [][]string) error {
	if f.output == "csv" && !f.json {
		if f.dryRun {
			fmt.Fprintln(cmd.ErrOrStderr(), "Dry run, nothing was changed. It would be:")
		}
		w := csv.NewWriter(cmd.OutOrStdout())
		w.Write(strings.Split(strings.ToLower(strings.ReplaceAll(header, " ", "_")), "\t"))
		for _, row := range rows {
			w.Write(web.Cells(row))
		}
		w.Flush()
		return w.Error()
	}
	if len(rows) == 0 && !f.json && !f.quiet {
		fmt.Fprintln(cmd.ErrOrStderr(), "none")
	}
	return f.print(cmd, answer, func(w io.Writer) { writeTable(w, header, rows) })
}

func writeTable(w io.Writer, header string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, header)
	for _, row := range rows {
		// What a server sends does nothing to the terminal.
		for i, cell := range row {
			if !keys.Printable(cell) {
				row[i] = strconv.QuoteToASCII(cell)
			}
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	t.Flush()
}

// exitNames are the codes of errors that no server sent.
var exitNames = map[int]string{exitError: "error", exitUsage: "usage", exitNotFound: "not_found", exitRefused: "refused",
	exitLimit: "plan_limit_reached", exitConflict: "conflict", exitUnavailable: "unavailable"}

// fail prints the problem document, or one of its own, when JSON is wanted.
func (f *remote) fail(cmd *cobra.Command, err error) error {
	var problem *refusal
	switch {
	case !f.json || err == nil:
	case errors.As(err, &problem) && problem.document != nil:
		cmd.OutOrStdout().Write(append([]byte(strings.TrimSpace(string(problem.document))), '\n'))
	default:
		code := exitError
		if e := (*exit)(nil); errors.As(err, &e) {
			code = e.code
		}
		json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"code": exitNames[code], "detail": err.Error()})
	}
	return err
}

// confirm asks on a terminal. Elsewhere --yes is needed.
func (f *remote) confirm(cmd *cobra.Command, question string) error {
	if f.yes || f.dryRun {
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

// bar is for long work.
func (f *remote) bar(cmd *cobra.Command, total, unit int, name string) *progress {
	if f.quiet {
		return &progress{}
	}
	return newProgress(cmd.ErrOrStderr(), total, unit, name)
}

// all reads every page of a list.
func all[T any](cmd *cobra.Command, server *api, path string, query url.Values) (management.List[T], error) {
	whole := management.List[T]{Data: []T{}}
	if query == nil {
		query = url.Values{}
	}
	for {
		var page management.List[T]
		at := path
		if len(query) > 0 {
			at += "?" + query.Encode()
		}
		if err := server.do(cmd.Context(), http.MethodGet, at, nil, &page); err != nil {
			return whole, err
		}
		whole.Data = append(whole.Data, page.Data...)
		if !page.HasMore {
			return whole, nil
		}
		query.Set("cursor", page.NextCursor)
	}
}

func date(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.Format("2006-01-02 15:04 UTC")
}

// dash is text, or a dash for none.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
