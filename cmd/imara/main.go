// Command imara runs the authorization server, the gateway, and the command
// line that manages keys and tokens. Each file is one sub-command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/redisfeed"
)

// version of the program.
const version = tokens.Version

func main() {
	redisfeed.Quiet()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes. They are stable.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4
	exitLimit       = 5
	exitConflict    = 6
	exitUnavailable = 7

	exitInterrupted = 130
)

// A checkedWriter remembers the first error: what was not printed may be a secret
// that nobody sees again.
type checkedWriter struct {
	io.Writer
	err error
}

func (w *checkedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

// exit is an error that ends the program with a code.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return &exit{exitUsage, fmt.Errorf(format, args...)} }

// group is what a command does that only has others below it.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return usage("unknown command %q (see %s --help)", args[0], cmd.CommandPath())
}

// everything is the tree of commands. It notes that a command line is understood: it names a
// command and what that takes.
func everything(understood *bool) *cobra.Command {
	root := &cobra.Command{
		Use:           "imara",
		Short:         "API keys whose revocation is true everywhere, at once",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			*understood = true
			if err := readSettings(cmd); err != nil {
				return err
			}
			if err := cmd.ValidateFlagGroups(); err != nil {
				return usage("%v (see %s --help)", err, cmd.CommandPath())
			}
			return checkDryRun(cmd)
		},
		RunE: group,
		Args: cobra.ArbitraryArgs,
	}
	root.AddCommand(serveCommand(), gatewayCommand(), loginCommand(), logoutCommand(), whoamiCommand(), contextCommand(),
		keysCommand(), secretsCommand(), tokenCommand(), scopesCommand(), resourcesCommand(), presetsCommand(), orgsCommand(), membersCommand(), accountsCommand(),
		auditCommand(), receiptCommand(), webhooksCommand(), signingKeysCommand(), verifiersCommand(), restoredCommand(), proveCommand(), scanCommand(),
		&cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), version) }})
	return root
}

// run is the whole program: data to stdout, talk to stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	understood := false
	root := everything(&understood)
	root.SetArgs(args)
	root.SetIn(stdin)
	checked := &checkedWriter{Writer: stdout}
	if f, ok := stdout.(*os.File); !ok || !terminal(f) {
		root.SetOut(checked)
	} else {
		root.SetOut(stdout)
	}
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%v (see %s --help)", err, cmd.CommandPath())
	})
	err := root.ExecuteContext(ctx)
	if err == nil && checked.err != nil {
		err = fmt.Errorf("standard output: %w", checked.err)
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupted
	}
	var e *exit
	if !errors.As(err, &e) {
		e = &exit{exitError, err}
		if !understood {
			e.code = exitUsage
		}
	}
	fmt.Fprintf(stderr, "✗ %v\n", e)
	return e.code
}
