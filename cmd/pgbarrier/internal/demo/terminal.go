package demo

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/pgbarrier/pgbarrier/cmd/pgbarrier/internal/statusline"
)

// A terminal is a writer, and what may be written to it besides plain text.
type terminal struct {
	io.Writer
	fancy bool // colours and blocks
}

// newTerminal looks at what w is. https://no-color.org
func newTerminal(w io.Writer) terminal {
	file, ok := w.(*os.File)
	fancy := ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" && os.Getenv("NO_COLOR") == ""
	return terminal{w, fancy}
}

// The SGR codes of the few colours there are.
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

// paint returns text in a colour, where there are colours.
func (t terminal) paint(colour, text string) string {
	if !t.fancy {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// judge paints a count of what should not be: red, or green if there is none.
func (t terminal) judge(n int, text string) string {
	if n > 0 {
		return t.paint(red, text)
	}
	return t.paint(green, text)
}

// thousands writes n with commas.
func thousands(n int) string { return statusline.English.Sprint(n) }
