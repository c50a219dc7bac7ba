// Package statusline shows what a command is doing: a line that updates on a terminal, and nothing elsewhere.
package statusline

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// English writes numbers with commas.
var English = message.NewPrinter(language.English)

// A Line is not safe for concurrent use.
type Line struct {
	bar  *progressbar.ProgressBar
	Live bool // the line can be overwritten
}

// New returns a line on w, which shows it if it is a terminal.
func New(w io.Writer) Line {
	file, ok := w.(*os.File)
	live := ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"
	if live { // a line that does not fit is broken into two, of which only the second could be overwritten
		columns, _, err := term.GetSize(int(file.Fd()))
		live = err != nil || columns >= 80
	}
	return Line{progressbar.NewOptions(-1,
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(live), progressbar.OptionUseANSICodes(true),
		progressbar.OptionSpinnerCustom([]string{"·", " "}), progressbar.OptionSetSpinnerChangeInterval(0), // turned by Say
		progressbar.OptionSetWidth(0), progressbar.OptionSetElapsedTime(false), progressbar.OptionThrottle(50*time.Millisecond),
	), live}
}

// Say replaces what the line says.
func (l Line) Say(text string) { l.bar.Describe(text) }

// End takes the line away.
func (l Line) End() {
	if l.Live {
		_ = l.bar.Clear() // of a terminal that is gone
	}
}
