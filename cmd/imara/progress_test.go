package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressWithoutATerminalIsALineEachTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out, 30e6, 1e6, "MB")
		for range 15 {
			time.Sleep(time.Second)
			p.Write(make([]byte, 1e6))
		}
		p.end()
		if want := "10 of 30 MB · 20s left\n"; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}
