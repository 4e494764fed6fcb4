package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestScanWithoutGitSaysSo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out, talk bytes.Buffer
	if code := run(t.Context(), []string{"scan", "--git"}, nil, &out, &talk); code != exitError || !strings.Contains(talk.String(), `--git needs git`) {
		t.Errorf("code %d, %s", code, talk.String())
	}
}

// TestScanEndsWithItsContext: in the midst of a text without end.
func TestScanEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &scan{talk: io.Discard, bar: &progress{}}
	endless := readFunc(func(b []byte) (int, error) {
		cancel()
		return len(b), nil
	})
	if err := s.paths(ctx, endless, "-"); !errors.Is(err, context.Canceled) || s.unread > 0 {
		t.Errorf("got %v, %d not read", err, s.unread)
	}
}
