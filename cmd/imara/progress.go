package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

// progress is a bar with the time that is left; without a terminal, a line each ten
// seconds. The zero value shows nothing.
type progress struct {
	w           io.Writer // nil: nobody looks
	terminal    bool
	total, unit int    // total 0: not known
	name        string // of a unit
	begun       time.Time

	mu    sync.Mutex
	done  int
	drawn time.Time
}

func newProgress(w io.Writer, total, unit int, name string) *progress {
	now := time.Now()
	return &progress{w: w, terminal: terminal(w), total: total, unit: unit, name: name, begun: now, drawn: now}
}

// terminal tells whether a file is one.
func terminal(file any) bool {
	f, ok := file.(*os.File)
	if !ok {
		return false
	}
	return isatty.IsTerminal(f.Fd())
}

// step says that one more is done.
func (p *progress) step() { p.add(1) }

// Write says that these bytes are done.
func (p *progress) Write(b []byte) (int, error) {
	p.add(len(b))
	return len(b), nil
}

// add says that n more are done.
func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	pause := 10 * time.Second
	if p.terminal {
		pause = 100 * time.Millisecond
	}
	if p.w == nil || time.Since(p.drawn) < pause {
		return
	}
	p.drawn = time.Now()
	text := fmt.Sprintf("%d %s", p.done/p.unit, p.name)
	if p.total > 0 {
		left := time.Duration(float64(time.Since(p.begun)) / float64(p.done) * float64(max(0, p.total-p.done))).Round(time.Second)
		text = fmt.Sprintf("%d of %d %s · %v left", p.done/p.unit, p.total/p.unit, p.name, left)
	}
	if !p.terminal {
		fmt.Fprintln(p.w, text)
		return
	}
	const width = 30
	full := min(p.done, p.total) * width / max(1, p.total)
	fmt.Fprintf(p.w, "\r[%s%s] %s   ", strings.Repeat("#", full), strings.Repeat(".", width-full), text)
}

// end clears the bar.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\033[K")
	}
}
