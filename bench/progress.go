package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// A progress shows what is being measured: a line that updates on a terminal, otherwise a line now and
// then.
type progress struct {
	w       io.Writer
	live    bool
	begun   time.Time
	printed time.Time
}

// quietFor is the pause between two lines where lines cannot be replaced.
const quietFor = 10 * time.Second

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, begun: time.Now()}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			p.live = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return p
}

func (p *progress) say(what string) {
	if !p.live && time.Since(p.printed) < quietFor {
		return
	}
	p.printed = time.Now()
	line := fmt.Sprintf("%6s  %s", time.Since(p.begun).Round(time.Second), what)
	if p.live {
		fmt.Fprint(p.w, "\r\x1b[K"+line)
		return
	}
	fmt.Fprintln(p.w, line)
}

// end takes the line away.
func (p *progress) end() {
	if p.live {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
