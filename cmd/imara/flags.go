package main

import (
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imara/apikeys/keys"
)

// secrets are the flags whose value may stand in the file that IMARA_…_FILE names.
var secrets = map[string]bool{"database-url": true, "redis-url": true, "harm-redis": true}

// fromEnvironment fills in flags that were not given: --data-dir is IMARA_DATA_DIR. A
// list has its items separated by commas or white space.
func fromEnvironment(cmd *cobra.Command) (err error) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if err == nil && !f.Changed {
			err = fromVariable(cmd, f)
		}
	})
	return err
}

func fromVariable(cmd *cobra.Command, f *pflag.Flag) error {
	name := environmentName(f.Name)
	value, ok := os.LookupEnv(name)
	path, file := os.LookupEnv(name + "_FILE")
	var err error
	switch {
	case ok && file && secrets[f.Name]:
		return usage("%s and %s_FILE are both there: which one?", name, name)
	case ok:
		err = checkText(name, value)
	case file && secrets[f.Name]:
		name += "_FILE"
		if err = checkText(name, path); err == nil {
			value, err = readSetting(name, path)
		}
	default:
		return nil
	}
	if err != nil {
		return err
	}
	values := []string{value}
	if _, list := f.Value.(pflag.SliceValue); list {
		values = strings.FieldsFunc(value, func(c rune) bool { return c == ',' || unicode.IsSpace(c) })
	}
	for _, v := range values {
		if err := cmd.Flags().Set(f.Name, v); err != nil {
			return usage("%s: %v", name, err)
		}
	}
	return cmd.Flags().SetAnnotation(f.Name, variable, []string{name})
}

// variable is the annotation of a flag that names the variable it was set from.
const variable = "variable"

// isVariable tells whether a flag was set from the environment.
func isVariable(f *pflag.Flag) bool { return len(f.Annotations[variable]) > 0 }

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
	if s.stdin {
		if s.given == "" {
			data, err := io.ReadAll(io.LimitReader(stdin, 16<<10))
			if err != nil {
				return "", err
			}
			if s.given, err = clientSecret("standard input", data); err != nil {
				return "", err
			}
		}
		return s.given, nil
	}
	name, file := "--secret-file", s.file
	if file == "" {
		if s.saved != "" {
			return s.saved, nil
		}
		value, given := os.LookupEnv("IMARA_CLIENT_SECRET")
		var inFile bool
		name = "IMARA_CLIENT_SECRET_FILE"
		file, inFile = os.LookupEnv(name)
		switch {
		case given && inFile:
			return "", usage("IMARA_CLIENT_SECRET and IMARA_CLIENT_SECRET_FILE are both there: which one?")
		case given:
			if err := checkText("IMARA_CLIENT_SECRET", value); err != nil {
				return "", err
			}
			return value, checkSecret("IMARA_CLIENT_SECRET", value)
		case !inFile:
			return "", usage("a client secret is needed: IMARA_CLIENT_SECRET, IMARA_CLIENT_SECRET_FILE, --secret-file or --secret-stdin")
		}
		if err := checkText(name, file); err != nil {
			return "", err
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", usage("%s: %v", name, err)
	}
	return clientSecret(name+": "+file, data)
}

// clientSecret is the secret in what was read.
func clientSecret(name string, data []byte) (string, error) {
	text, err := fileText(name, data)
	if err != nil {
		return "", err
	}
	return text, checkSecret(name, text)
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
