package main

import (
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imara/apikeys/keys"
)

// secrets are the flags whose value may stand in the file that IMARA_…_FILE names.
var secrets = map[string]bool{"database-url": true, "redis-url": true, "harm-redis": true}

// fromEnvironment fills in flags that were not given: --data-dir is
// IMARA_DATA_DIR. A list has its items separated by spaces.
func fromEnvironment(cmd *cobra.Command) (err error) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := "IMARA_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if path := os.Getenv(name + "_FILE"); !ok && path != "" && secrets[f.Name] {
			var data []byte
			if data, err = os.ReadFile(path); err != nil {
				err = usage("%s_FILE: %v", name, err)
			}
			value, ok = strings.TrimSpace(string(data)), true
		}
		if !ok || f.Changed || err != nil {
			return
		}
		values := []string{value}
		if _, list := f.Value.(pflag.SliceValue); list {
			values = strings.Fields(value)
		}
		for _, v := range values {
			if e := cmd.Flags().Set(f.Name, v); e != nil {
				err = usage("%s: %v", name, e)
			}
		}
	})
	return err
}

// secretFlags say where a client secret comes from: never from a flag's value,
// which other users of the machine can read.
type secretFlags struct {
	file  string
	stdin bool
	given string // what standard input said, which is read once
	saved string // what imara login kept
}

func (s *secretFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&s.file, "secret-file", "", "file with the client secret (or IMARA_CLIENT_SECRET, IMARA_CLIENT_SECRET_FILE)")
	flags.BoolVar(&s.stdin, "secret-stdin", false, "read the client secret from standard input")
}

// read returns the secret, or a sentence that says how to give one.
func (s *secretFlags) read(stdin io.Reader) (string, error) {
	file := s.file
	switch {
	case s.stdin && s.given == "":
		var err error
		s.given, err = readSecret(stdin)
		return s.given, err
	case s.stdin:
		return s.given, nil
	case file == "" && s.saved != "":
		return s.saved, nil
	case file == "" && os.Getenv("IMARA_CLIENT_SECRET") != "":
		return os.Getenv("IMARA_CLIENT_SECRET"), nil
	case file == "":
		file = os.Getenv("IMARA_CLIENT_SECRET_FILE")
	}
	if file == "" {
		return "", usage("a client secret is needed: IMARA_CLIENT_SECRET, IMARA_CLIENT_SECRET_FILE, --secret-file or --secret-stdin")
	}
	f, err := os.Open(file)
	if err != nil {
		return "", usage("the client secret: %v", err)
	}
	defer f.Close()
	return readSecret(f)
}

func readSecret(from io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(from, 16<<10))
	return strings.TrimSpace(string(data)), err
}

// days is a duration that may also be written in days: 90d.
type days time.Duration

func (d *days) String() string { return time.Duration(*d).String() }
func (d *days) Type() string   { return "duration" }
func (d *days) Set(text string) error {
	span, err := keys.ParseSpan(text)
	*d = days(span)
	return err
}
