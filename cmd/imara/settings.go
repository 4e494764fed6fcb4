package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// A setting that is given is used or refused by its name, never ignored: a server that
// goes on without its database's URL is another server.

// readSettings fills in the flags of a command from the environment, and refuses what
// would be ignored. What needs no server has no settings.
func readSettings(cmd *cobra.Command) error {
	if err := checkFlags(cmd); err != nil {
		return err
	}
	if cmd.Flags().Lookup("issuer") != nil {
		if err := checkNames(cmd.Root(), os.Environ()); err != nil {
			return err
		}
	}
	return fromEnvironment(cmd)
}

// fileText is the text of a setting's file, or of standard input: without a byte-order
// mark and the white space around it, which editors and shells leave, and with nothing
// else that they may have put there. name is what the error calls it.
func fileText(name string, data []byte) (string, error) {
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) || bytes.IndexByte(data, 0) >= 0 {
		return "", usage("%s: it is UTF-16: save it as UTF-8", name)
	}
	data = bytes.TrimPrefix(bytes.TrimSpace(data), []byte("\ufeff"))
	text := string(bytes.TrimSpace(data))
	return text, checkText(name, text)
}

// checkText refuses what no setting is: nothing, quotes around it, white space at an end,
// what a terminal does not show.
func checkText(name, text string) error {
	if text == "" {
		return usage("%s is empty: give it a value, or leave it out", name)
	}
	if !utf8.ValidString(text) {
		return usage("%s: it is not UTF-8", name)
	}
	for i, c := range text {
		place := "has"
		switch i {
		case 0:
			place = "begins with"
		case len(text) - utf8.RuneLen(c):
			place = "ends in"
		}
		list := c == '\n' || c == '\r' || c == '\t' // between items
		if unicode.IsControl(c) && (!list || place != "has") || c == '\ufeff' || unicode.Is(unicode.Cf, c) {
			return usage("%s %s %U, which cannot be seen: take it out", name, place, c)
		}
	}
	for _, quote := range []string{`"`, `'`, "“", "”", "‘", "’", "`"} {
		if strings.HasPrefix(text, quote) || strings.HasSuffix(text, quote) {
			return usage("%s has a quote around it (%s): take it out", name, quote)
		}
	}
	if strings.TrimSpace(text) != text {
		return usage("%s has white space around it: take it out", name)
	}
	return nil
}

// readSetting reads a file that a setting names.
func readSetting(name, path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", usage("%s: %v", name, err)
	}
	return fileText(name+": "+path, data)
}

// environmentName is the variable of a flag.
func environmentName(flag string) string {
	return "IMARA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// settingName is where the value of a flag came from, as an error calls it.
func settingName(flag, value string) string {
	if name := environmentName(flag); value != "" && os.Getenv(name) == value {
		return name
	}
	return "--" + flag
}

// checkIdentifier refuses what is no issuer, by the name of where it came from. It quotes
// no password.
func checkIdentifier(flag, value string) error {
	name := settingName(flag, value)
	if strings.Contains(value, "@") {
		return usage("%s has a user or a password in it: leave it out", name)
	}
	if err := tokens.CheckIdentifier(value); err != nil {
		return usage("%s: %v", name, err)
	}
	return nil
}

// neverEmpty are the flags that say nothing when they are empty, as $UNSET is.
var neverEmpty = []string{"issuer", "url", "client-id", "context", "org", "database-url", "redis-url", "harm-redis",
	"gateway", "master-key-file", "secret-file", "sso", "github-keys", "data", "listen", "metrics-listen", "write-env"}

// checkFlags refuses empty settings of the command line.
func checkFlags(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.String() == "" && slices.Contains(neverEmpty, f.Name) {
			err = usage("--%s is empty: give it a value, or leave it out", f.Name)
		}
	})
	return err
}

// otherNames are the variables that are no flags: of secrets, of where a demo must not
// run, and of this repository's own tests.
var otherNames = []string{"IMARA_CLIENT_SECRET", "IMARA_CLIENT_SECRET_FILE", "IMARA_ENV", "IMARA_SCREENSHOTS",
	"IMARA_WORLDS", "IMARA_TEST_KILLED_MIGRATION"}

// injected are the names that Kubernetes puts into every container of a namespace in which
// a service is called imara, or imara- and more; its IMARA_PORT is a URL.
var injected = regexp.MustCompile(`^IMARA(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?` +
	`|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=|^IMARA(_[A-Z0-9_]+)?_PORT=[a-z]+://`)

// checkNames refuses variables that begin with IMARA_ and are no settings of any command:
// what was meant by one would be ignored. It names the nearest that is one.
func checkNames(root *cobra.Command, environment []string) error {
	known := slices.Clone(otherNames)
	var collect func(*cobra.Command)
	collect = func(cmd *cobra.Command) {
		add := func(f *pflag.Flag) {
			known = append(known, environmentName(f.Name))
			if secrets[f.Name] {
				known = append(known, environmentName(f.Name)+"_FILE")
			}
		}
		cmd.Flags().VisitAll(add)
		cmd.PersistentFlags().VisitAll(add)
		for _, sub := range cmd.Commands() {
			collect(sub)
		}
	}
	collect(root)
	for _, line := range environment {
		name, _, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, "IMARA_") || slices.Contains(known, name) || injected.MatchString(line) {
			continue
		}
		return usage("%s is no setting: do you mean %s? Otherwise unset it", name, nearest(name, known))
	}
	return nil
}

// nearest is the name that takes the fewest changes of a letter.
func nearest(name string, list []string) string {
	best, fewest := "", len(name)+1
	for _, candidate := range slices.Sorted(slices.Values(list)) {
		if n := web.EditDistance(name, candidate); n < fewest {
			best, fewest = candidate, n
		}
	}
	return best
}

// checkSecret refuses what is no client secret, by its form and checksum: no server needs
// to be asked. The error does not quote it.
func checkSecret(name, text string) error {
	if _, err := keys.ParseSecret(text); err == nil {
		return nil
	}
	if !strings.HasPrefix(text, "imara_cs_") {
		return usage("%s is no client secret: one begins with imara_cs_live_", name)
	}
	return usage("%s is no client secret: it is cut off, too long or mistyped (its checksum is wrong)", name)
}
