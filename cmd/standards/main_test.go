package main

import (
	"os"
	"strings"
	"testing"
)

// TestEveryRowHasATestOrAReason, the tests are there, no row is missing, and the README
// says how many they are.
func TestEveryRowHasATestOrAReason(t *testing.T) {
	rows, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(rows, "../.."); err != nil {
		t.Error(err)
	}
	count := map[byte]int{}
	for _, r := range rows {
		count[r.id[0]]++
	}
	if count['S'] != 129 || count['R'] != 109 {
		t.Errorf("%d rows of standards, %d of regressions", count['S'], count['R'])
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), summary(rows)) {
		t.Errorf("README.md does not say: %s", summary(rows))
	}
}

func TestRowsThatHoldNothingAreErrors(t *testing.T) {
	for _, text := range []string{"S-001 | x", "S-001 | x | ", "X-001 | x | TestA", "S-001 | x | testA", "S-001 | x | TestA\nS-001 | y | TestB", "S-001 |  | TestA"} {
		if rows, err := parse(text); err == nil {
			t.Errorf("%q: %+v", text, rows)
		}
	}
	for _, text := range []string{"S-001 | x | TestNobodyWroteThis", "S-001 | x | not built: but held by TestNobodyWroteThis."} {
		if rows, err := parse(text); err != nil || check(rows, ".") == nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}
