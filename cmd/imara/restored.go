package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// restoredCommand is for once, between putting a backup back and serving it.
func restoredCommand() *cobra.Command {
	var f serveFlags
	var maxLease time.Duration
	cmd := &cobra.Command{
		Use:   "restored",
		Short: "Make a store that was put back from a backup safe to serve",
		Long: `Run it once, with no server running, after a backup was put back and before it
is served. What happened after the backup is unknown to it: keys revoked since are
active again, while tokens of that time are alive. It cuts every token that exists,
so that revoking those keys again holds for all of them. Integrations get new tokens
at their next request. People sign in to the panel again, with the passwords of the
backup: make links for those who changed theirs since because somebody had it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			open := func() (*sqlstore.Store, error) { return sqlstore.OpenSQLite(cmd.Context(), f.data) }
			if f.databaseURL != "" {
				open = func() (*sqlstore.Store, error) { return sqlstore.OpenPostgres(cmd.Context(), f.databaseURL) }
			}
			store, err := open()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			if err := store.Restored(cmd.Context()); err != nil {
				return err
			}
			wait := maxLease + maxLease/20
			fmt.Fprintf(cmd.ErrOrStderr(), "Waiting %v: a verifier that is not in the backup may hold a lease for that long.\n", wait)
			select {
			case <-time.After(wait):
			case <-cmd.Context().Done():
				return errors.New("interrupted: servers will wait instead, a minute each, before they issue a token")
			}
			if err := store.Waited(cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "Every token from before is refused. Revoke again what was revoked after the backup, then serve.")
			return nil
		},
	}
	f.addStore(cmd.Flags())
	cmd.Flags().DurationVar(&maxLease, "max-lease", httpfeed.MaxLease, "the longest lease that any of your verifiers is configured with, or accept:DURATION of a --stale if that is longer")
	return cmd
}
