package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// progress is a bar with the time that is left, on a terminal only.
type progress struct {
	w     io.Writer // nil: not a terminal
	total int
	begun time.Time

	mu    sync.Mutex
	done  int
	drawn time.Time
}

func newProgress(w io.Writer, total int) *progress {
	p := &progress{total: total, begun: time.Now()}
	if terminal(w) {
		p.w = w
	}
	return p
}

// terminal tells whether a file is one.
func terminal(file any) bool {
	f, ok := file.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// step says that one more is done.
func (p *progress) step() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if p.w == nil || p.done < p.total && time.Since(p.drawn) < 100*time.Millisecond {
		return
	}
	p.drawn = time.Now()
	left := time.Duration(float64(time.Since(p.begun)) / float64(p.done) * float64(max(0, p.total-p.done))).Round(time.Second)
	const width = 30
	full := min(p.done, p.total) * width / p.total
	fmt.Fprintf(p.w, "\r[%s%s] %d of %d · %v left   ", strings.Repeat("#", full), strings.Repeat(".", width-full), p.done, p.total, left)
}

// end clears the bar.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\033[K")
	}
}
