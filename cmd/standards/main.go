// Command standards prints what the standards ask of Imara, and what went wrong elsewhere,
// row by row, with the tests that hold each or why there is none. It is run in the root of
// the repository, and exits with 1 if rows.txt is not well formed or names a test that is
// not there.
package main

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed rows.txt
var text string

func main() {
	rows, err := parse(text)
	if err == nil {
		err = check(rows, ".")
	}
	if err == nil {
		err = write(os.Stdout, rows)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A row is one requirement: S of a standard, R of somebody's failure.
type row struct {
	id, asks string
	tests    []string
	// reason is "not built: …" or "not applicable: …"; such a row may be without tests.
	reason string
}

const (
	notBuilt      = "not built: "
	notApplicable = "not applicable: "
)

var (
	id   = regexp.MustCompile(`^[SR]-[0-9]{3}[a-d]?$`)
	name = regexp.MustCompile(`^(Test|Fuzz)[A-Z]\w*$`)
)

// parse reads rows.txt: id | what is asked | tests or a reason.
func parse(text string) (rows []row, err error) {
	seen := make(map[string]bool)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 3 || !id.MatchString(parts[0]) || seen[parts[0]] || parts[1] == "" {
			return nil, fmt.Errorf("not a row, or one that repeats: %s", line)
		}
		r := row{id: parts[0], asks: parts[1]}
		seen[r.id] = true
		if strings.HasPrefix(parts[2], notBuilt) || strings.HasPrefix(parts[2], notApplicable) {
			r.reason = parts[2]
		} else if r.tests = strings.Fields(parts[2]); len(r.tests) == 0 {
			return nil, fmt.Errorf("%s has neither a test nor a reason", r.id)
		}
		for _, test := range r.tests {
			if !name.MatchString(test) {
				return nil, fmt.Errorf("%s: %q is no test", r.id, test)
			}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

var declared = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(\w+ \*testing\.[TF]\)`)

// check finds every test that rows name, also within a reason, below a directory.
func check(rows []row, root string) error {
	there := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range declared.FindAllSubmatch(text, -1) {
			there[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range rows {
		for _, word := range append(strings.FieldsFunc(r.reason, unnamed), r.tests...) {
			if name.MatchString(word) && !there[word] {
				return fmt.Errorf("%s: there is no %s", r.id, word)
			}
		}
	}
	return nil
}

// unnamed tells whether a character is in no name of a test.
func unnamed(c rune) bool {
	return c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
}

func write(w io.Writer, rows []row) error {
	for _, r := range rows {
		holds := r.reason
		if holds == "" {
			holds = strings.Join(r.tests, ", ")
		}
		if _, err := fmt.Fprintf(w, "%-6s  %s: %s\n", r.id, r.asks, holds); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, summary(rows))
	return err
}

// summary is the last line, which the README quotes.
func summary(rows []row) string {
	held, missing, elsewhere := 0, 0, 0
	for _, r := range rows {
		switch {
		case r.reason == "":
			held++
		case strings.HasPrefix(r.reason, notBuilt):
			missing++
		default:
			elsewhere++
		}
	}
	return fmt.Sprintf("%d requirements: %d held by tests, %d not built, %d not applicable",
		len(rows), held, missing, elsewhere)
}
