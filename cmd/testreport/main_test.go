package main

import (
	"strings"
	"testing"
)

// TestVerdict: only a run in which something passed and nothing failed is good.
func TestVerdict(t *testing.T) {
	const pass = `{"Action":"pass","Package":"p","Test":"TestA","Elapsed":2}` + "\n" + `{"Action":"pass","Package":"p","Elapsed":2}` + "\n"
	for name, row := range map[string]struct {
		in, want string
		code     int
	}{
		"nothing":      {"", "0 passed, 0 failed, 0 skipped", 1},
		"passed":       {pass, "1 passed, 0 failed, 0 skipped", 0},
		"failed":       {pass + `{"Action":"output","Package":"p","Test":"TestB","Output":"why\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestB"}`, "why", 1},
		"not built":    {pass + `{"Action":"build-output","ImportPath":"q","Output":"undefined: x\n"}` + "\n" + `{"Action":"build-fail","ImportPath":"q"}`, "undefined: x", 1},
		"skipped":      {pass + `{"Action":"skip","Package":"p","Test":"TestC"}`, "1 passed, 0 failed, 1 skipped", 0},
		"other output": {"go: cannot find main module\n", "cannot find main module", 1},
		"longest":      {pass, "2.0 s  TestA  p", 0},
	} {
		var out strings.Builder
		if code := report(strings.NewReader(row.in), &out); code != row.code || !strings.Contains(out.String(), row.want) {
			t.Errorf("%s: code %d\n%s", name, code, out.String())
		}
	}
}
