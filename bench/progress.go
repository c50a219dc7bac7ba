package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A progress shows what is being measured: a line that updates on a terminal, otherwise a line now and
// then.
type progress struct {
	w       io.Writer
	live    *progressbar.ProgressBar // or nil
	begun   time.Time
	printed time.Time
}

// quietFor is the pause between two lines where lines cannot be replaced.
const quietFor = 10 * time.Second

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, begun: time.Now()}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		// No goroutine turns the spinner while others are measured.
		p.live = progressbar.NewOptions(-1, progressbar.OptionSetWriter(w), progressbar.OptionUseANSICodes(true), progressbar.OptionSetSpinnerChangeInterval(0))
	}
	return p
}

func (p *progress) say(what string) {
	switch {
	case p.live != nil:
		p.live.Describe(what)
	case time.Since(p.printed) >= quietFor:
		p.printed = time.Now()
		fmt.Fprintf(p.w, "%6s  %s\n", time.Since(p.begun).Round(time.Second), what)
	}
}

// end takes the line away.
func (p *progress) end() {
	if p.live != nil {
		_ = p.live.Clear() // of a terminal that is gone
	}
}
