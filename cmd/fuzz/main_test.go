package main

import "testing"

func TestTheEndOfTheTimeIsNoFinding(t *testing.T) {
	const ran = "fuzz: elapsed: 1s, execs: 4854 (4515/sec)\n"
	for output, want := range map[string]bool{
		ran + "--- FAIL: FuzzListQuery (1.08s)\n    context deadline exceeded\nFAIL\n": true,
		ran + "PASS\n": false,
		ran + "--- FAIL: FuzzListQuery (0.08s)\n    --- FAIL: FuzzListQuery (0.00s)\n        cursor.go:3: lost\n\n" +
			"    Failing input written to testdata/fuzz/FuzzListQuery/1\nFAIL\n": false,
		ran + "--- FAIL: FuzzListQuery (1.08s)\n    context deadline exceeded\n" +
			"    Failing input written to testdata/fuzz/FuzzListQuery/1\nFAIL\n": false,
		ran + "--- FAIL: FuzzListQuery (1.08s)\n    fuzzing process hung or terminated unexpectedly: exit status 2\nFAIL\n": false,
	} {
		if got := outOfTime.MatchString(output); got != want {
			t.Errorf("taken for the end of the time: %v, want %v, of\n%s", got, want, output)
		}
	}
}
