package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/keys"
)

// storeFlags say in which store a command works by itself, without a server.
type storeFlags struct{ data, databaseURL, masterKeyFile, redisURL string }

func (f *storeFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.data, "data", "", "work in the embedded store of this directory, while no server runs on it")
	flags.StringVar(&f.databaseURL, "database-url", "",
		"work in this Postgres, beside the servers (IMARA_DATABASE_URL, IMARA_DATABASE_URL_FILE)")
	flags.StringVar(&f.masterKeyFile, "master-key-file", "",
		"with these: file with the master key (default DATA/master.key)")
	flags.StringVar(&f.redisURL, "redis-url", "",
		"with --database-url: Redis that the servers publish to, or leases there are waited out")
}

// The two ways of a command that is either.
type (
	asks = func(cmd *cobra.Command, server *api, args []string) error
	does = func(cmd *cobra.Command, p *program, args []string) error
)

// local is a command that asks a server, or does it by itself in a store.
func (f *remote) local(store *storeFlags, use, short string, args cobra.PositionalArgs, ask asks, do does) *cobra.Command {
	there := f.command(use, short, args, ask)
	here := f.run(use, short, args, func(cmd *cobra.Command, args []string) error {
		return store.with(cmd.Context(), f, func(p *program) error { return do(cmd, p, args) })
	})
	asked := there.RunE
	there.RunE = func(cmd *cobra.Command, args []string) error {
		if store.data != "" || store.databaseURL != "" {
			return here.RunE(cmd, args)
		}
		return asked(cmd, args)
	}
	store.add(there.Flags())
	return there
}

// with runs a command on the parts of a server that answers nobody.
func (f *storeFlags) with(ctx context.Context, r *remote, do func(*program) error) (err error) {
	logger, err := newLogger("error", os.Stderr)
	if err != nil {
		return err
	}
	if f.databaseURL == "" {
		if _, err := os.Stat(filepath.Join(f.data, "imara.db")); err != nil {
			return usage("--data: there is no store in %s", f.data)
		}
	}
	serve := serveFlags{data: f.data, databaseURL: f.databaseURL, masterKeyFile: f.masterKeyFile,
		redisURL: f.redisURL, issuer: r.issuer, insecure: r.insecure}
	p, err := openParts(ctx, serve, "command on", logger)
	if errors.Is(err, sqlstore.ErrLocked) {
		return fmt.Errorf("%w: a server runs on it. Ask that server, "+
			"as its operator and without --data; or stop it first", err)
	}
	if err != nil {
		return err
	}
	return errors.Join(do(p), p.store.Close())
}

// following runs do while this program follows the log as a server does, beside the
// others if there are any: what it changes it can then wait for.
func (p *program) following(ctx context.Context, do func() error) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { p.relay.Run(background) })
	defer func() {
		stop()
		running.Wait()
	}()
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case <-p.relay.Revocations().Ready():
		return do()
	case <-wait.Done():
		return fmt.Errorf("the revocation log is not read: %w", wait.Err())
	}
}

// withdraw takes a signing key out of use, and waits for the receipt.
func (p *program) withdraw(ctx context.Context, kid, reason string, dryRun bool) (done withdrawal, err error) {
	by := keys.Program("command")
	by.DryRun = dryRun
	var receipt keys.Receipt
	act := func() (err error) {
		receipt, err = p.registry.WithdrawSigningKey(ctx, by, kid, reason)
		return err
	}
	if dryRun {
		err = act() // who follows is in the store
	} else {
		err = p.following(ctx, act)
	}
	if errors.Is(err, keys.ErrNotFound) {
		return done, &exit{exitNotFound, err}
	}
	if err != nil {
		return done, err
	}
	done.KeyID, done.Keys = kid, management.ShowSigningKeys(p.ring)
	if receipt.Position != 0 {
		done.Receipt = authz.ShowReceipt(receipt)
	}
	activity, err := management.ShowSigningActivity(ctx, p.registry, kid)
	done.Activity = &activity
	return done, err
}
