package main

import (
	"bytes"
	"os"
	"testing"
)

// TestVectorsAreCurrent: the file is what this command writes, byte by byte.
func TestVectorsAreCurrent(t *testing.T) {
	want, err := vectors()
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Error("it is not: go run ./cmd/vectors")
	}
}
