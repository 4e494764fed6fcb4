// Command testreport reads the output of go test -json and prints what people
// want to know: what failed, with its output; how many passed; what took longest.
// It exits with 1 if anything failed or nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is one line of go test -json (see go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

func main() {
	os.Exit(report(os.Stdin, os.Stdout))
}

func report(in io.Reader, out io.Writer) int {
	output := make(map[string]*strings.Builder)
	var done []event
	var passed, failed, skipped int
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(out, lines.Text())
			continue
		}
		name := e.Package + e.ImportPath + " " + e.Test
		if output[name] == nil {
			output[name] = &strings.Builder{}
		}
		switch e.Action {
		case "output", "build-output":
			output[name].WriteString(e.Output)
		case "fail", "build-fail":
			failed++
			fmt.Fprintf(out, "FAIL %s (%.1f s)\n%s", name, e.Elapsed, output[name])
		case "pass":
			if e.Test == "" {
				fmt.Fprintf(out, "ok   %s (%.1f s)\n", e.Package, e.Elapsed)
				break
			}
			passed++
			if !strings.Contains(e.Test, "/") {
				done = append(done, e)
			}
		case "skip":
			if e.Test != "" {
				skipped++
				fmt.Fprintf(out, "SKIP %s\n%s", name, output[name])
			}
		}
	}
	slices.SortFunc(done, func(a, b event) int { return int(1000 * (b.Elapsed - a.Elapsed)) })
	fmt.Fprintln(out, "\nWhat took longest:")
	for _, e := range done[:min(10, len(done))] {
		fmt.Fprintf(out, "  %6.1f s  %s  %s\n", e.Elapsed, e.Test, e.Package)
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 || passed == 0 || lines.Err() != nil {
		return 1
	}
	return 0
}
