package main

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
)

// plainValue is one that means itself to a shell, and to every other reader of such
// files: docker --env-file, kubectl --from-env-file and systemd's EnvironmentFile keep
// quotes or treat them each in its own way. All of ours are plain but an issuer with an
// unusual path.
var plainValue = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)

// envLine sets a variable; only a value that needs it is quoted.
func envLine(name, value string) string {
	if !plainValue.MatchString(value) {
		value = "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
	}
	return name + "=" + value + "\n"
}

// writeEnv writes a file for a shell to source.
func writeEnv(path string, values [][2]string) error {
	var b strings.Builder
	for _, v := range values {
		b.WriteString(envLine(v[0], v[1]))
	}
	return writeFile(path, []byte(b.String()))
}

// setEnv puts values into such a file, in place of lines that set them; the other
// lines stay.
func setEnv(path string, values [][2]string) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if !slices.ContainsFunc(values, func(v [2]string) bool { return v[0] == name }) {
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	for _, v := range values {
		b.WriteString(envLine(v[0], v[1]))
	}
	return writeFile(path, []byte(b.String()))
}

// readEnv reads what writeEnv wrote, now or in an earlier version; nothing if it is not
// there.
func readEnv(path string) map[string]string {
	values := make(map[string]string)
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		if inner, quoted := strings.CutPrefix(value, "'"); quoted {
			value = strings.ReplaceAll(strings.TrimSuffix(inner, "'"), `'\''`, "'")
		}
		values[name] = value
	}
	return values
}
