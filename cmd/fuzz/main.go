// Command fuzz runs every fuzz target of the packages below the working directory, each
// for as long as -time says, and prints how many executions that were. It exits with 1
// when one has found something, and go test has written the input to testdata/fuzz then.
//
//	go run ./cmd/fuzz -time 1s
//	go run ./cmd/fuzz -time 10m -keep 8
//
// Go fuzzes one target a run. So each package is compiled once, and its targets run one
// after the other. What -keep says is how many inputs a target's testdata/fuzz gets in all,
// the shortest of those that reached new code first. With -guided packages are instrumented,
// so that inputs are drawn from those that reached new code: to compile all that is below
// them so takes minutes, which is for long runs.
package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	each := flag.Duration("time", time.Second, "how long each target runs")
	only := flag.String("run", ".", "run the targets that match this `expression`")
	keep := flag.Int("keep", 0, "fill testdata/fuzz of each target up to so many `inputs`")
	guided := flag.Bool("guided", false, "instrument every package")
	flag.Parse()
	if err := run(*each, *only, *keep, *guided); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A target is a function FuzzXxx of the package in a directory.
type target struct{ dir, name string }

func run(each time.Duration, only string, keep int, guided bool) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	found, err := targets(".")
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(t target) bool { return !wanted.MatchString(t.name) })
	work, err := os.MkdirTemp("", "fuzz")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	total, failed, begun := 0, 0, time.Now()
	for i, t := range found {
		binary := filepath.Join(work, strings.ReplaceAll(t.dir, string(filepath.Separator), "_")+".test")
		if i == 0 || t.dir != found[i-1].dir {
			if err := compile(t.dir, binary, guided); err != nil {
				return err
			}
		}
		corpus := filepath.Join(work, "corpus", t.dir)
		executions, output, err := fuzz(t, binary, corpus, each)
		if err == nil && executions == 0 { // a busy machine was still running the seeds
			executions, output, err = fuzz(t, binary, corpus, 10*each)
		}
		if err == nil && executions == 0 {
			err = fmt.Errorf("it was not executed")
		}
		total += executions
		if err != nil {
			failed++
			fmt.Printf("%s\nFAIL %s %s: %v\n", output, t.dir, t.name, err)
			continue
		}
		fmt.Printf("%10d  %s %s\n", executions, t.dir, t.name)
		if err := fill(t, corpus, keep); err != nil {
			return err
		}
	}
	fmt.Printf("%10d executions of %d targets, %v each, in %v; %d failed\n", total, len(found), each,
		time.Since(begun).Round(time.Second), failed)
	if failed > 0 || len(found) == 0 {
		return fmt.Errorf("%d of %d targets failed", failed, len(found))
	}
	return nil
}

var declared = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)

// targets are those below a directory, package by package.
func targets(root string) (found []target, err error) {
	err = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata"):
			return filepath.SkipDir
		case !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, match := range declared.FindAllSubmatch(text, -1) {
			found = append(found, target{filepath.Dir(path), string(match[1])})
		}
		return err
	})
	slices.SortFunc(found, func(a, b target) int {
		return cmp.Or(strings.Compare(a.dir, b.dir), strings.Compare(a.name, b.name))
	})
	return found, err
}

// compile builds the test binary of a package.
func compile(dir, binary string, guided bool) error {
	arguments := []string{"test", "-c", "-o", binary}
	if guided {
		arguments = append(arguments, "-fuzz=.")
	}
	c := exec.Command("go", append(arguments, "./"+filepath.ToSlash(dir))...)
	c.Stderr, c.Stdout = os.Stderr, os.Stderr
	return c.Run()
}

// outOfTime is how a run may end in which nothing was found: the end of -fuzztime reaches the
// coordinator before its workers, and is told as an error (go.dev/issue/75804). What was
// found names its input below the same line.
var outOfTime = regexp.MustCompile(`--- FAIL: \w+ \([\d.]+s\)\n    context deadline exceeded\nFAIL\n$`)

var progress = regexp.MustCompile(`execs: (\d+)`)

// fuzz runs one target. An input that is found is made smaller in a few executions only:
// that would take a minute otherwise, in which nothing is tried.
func fuzz(t target, binary, corpus string, each time.Duration) (executions int, output []byte, err error) {
	c := exec.Command(binary, "-test.run=^$", "-test.fuzz=^"+t.name+"$", "-test.fuzzcachedir="+corpus,
		"-test.fuzztime="+each.String(), "-test.fuzzminimizetime=10x", "-test.timeout="+(each+10*time.Minute).String())
	c.Dir = t.dir
	output, err = c.CombinedOutput()
	if outOfTime.Match(output) {
		err = nil
	}
	for _, match := range progress.FindAllSubmatch(output, -1) {
		executions, _ = strconv.Atoi(string(match[1]))
	}
	return executions, output, err
}

// fill copies inputs that reached new code, the shortest first, until there are so many.
func fill(t target, corpus string, keep int) error {
	home := filepath.Join(t.dir, "testdata", "fuzz", t.name)
	have, err := os.ReadDir(home)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(corpus, t.name, "*"))
	if err != nil || keep <= len(have) || len(paths) == 0 {
		return err
	}
	inputs := make(map[string][]byte)
	for _, path := range paths {
		if inputs[path], err = os.ReadFile(path); err != nil {
			return err
		}
	}
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(len(inputs[a])-len(inputs[b]), bytes.Compare(inputs[a], inputs[b]))
	})
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	for _, path := range paths[:min(len(paths), keep-len(have))] {
		if err := os.WriteFile(filepath.Join(home, filepath.Base(path)), inputs[path], 0o644); err != nil {
			return err
		}
	}
	return nil
}
