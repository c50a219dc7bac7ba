// Package chart draws charts as SVG: small, without scripts and fonts of their own, readable on light
// and on dark pages.
package chart

import (
	"encoding/xml"
	"fmt"
	"math"
	"os"
	"strings"
)

// style follows the reader's colour scheme, also in an image on a page: it does not inherit the page's.
// Series colours are distinguishable with the usual kinds of colour blindness; every line is also labelled.
const style = `
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.note, .tick { fill: #57606a }
.grid { stroke: #d0d7de; stroke-width: 1 }
.page { fill: #ffffff }
.c0 { --c: #0550ae } .c1 { --c: #b35900 } .c2 { --c: #1a7f37 } .c3 { --c: #8250df } .c4 { --c: #bf3989 }
.c5 { --c: #6e5494 } .c6 { --c: #57606a } .c7 { --c: #0f7b86 } .c8 { --c: #a40e26 } .c9 { --c: #7d6a00 }
.line { stroke: var(--c); fill: none; stroke-width: 1.5 }
.dot { fill: var(--c) }
.range { stroke: var(--c); stroke-width: 3; stroke-linecap: round; opacity: .45 }
.label { fill: var(--c) }
.main .line { stroke-width: 3 }
.main .label, .main .name { font-weight: 700 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.note, .tick { fill: #9198a1 }
.grid { stroke: #30363d }
.page { fill: #0d1117 }
.c0 { --c: #79c0ff } .c1 { --c: #ffa657 } .c2 { --c: #56d364 } .c3 { --c: #d2a8ff } .c4 { --c: #ff9bce }
.c5 { --c: #b8a0e0 } .c6 { --c: #9198a1 } .c7 { --c: #56d4dd } .c8 { --c: #ff7b72 } .c9 { --c: #e3b341 }
}
`

const colours = 10

// A Chart is drawn to an SVG document.
type Chart interface{ SVG() string }

// Save writes the chart to a file.
func Save(name string, c Chart) error { return os.WriteFile(name, []byte(c.SVG()), 0o644) }

// A drawing is an SVG document in the making.
type drawing struct {
	strings.Builder
	width, height float64
}

func newDrawing(width, height float64, title, note string) *drawing {
	d := &drawing{width: width, height: height}
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" role="img">`, width, height, width, height)
	fmt.Fprintf(d, "\n<title>%s</title>\n<style>%s</style>\n", escape(title), style)
	fmt.Fprintf(d, `<rect class="page" width="%g" height="%g" rx="6"/>`+"\n", width, height)
	d.text(16, 26, "start", "title", title)
	d.text(16, 44, "start", "note", note)
	return d
}

func (d *drawing) text(x, y float64, anchor, class, s string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`+"\n", x, y, anchor, class, escape(s))
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(d, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
}

func (d *drawing) dot(x, y, r float64, title string) {
	fmt.Fprintf(d, `<circle class="dot" cx="%.1f" cy="%.1f" r="%g"><title>%s</title></circle>`+"\n", x, y, r, escape(title))
}

// group opens a group for a series and returns what closes it.
func (d *drawing) group(i int, main bool) func() {
	class := fmt.Sprintf("c%d", i%colours)
	if main {
		class += " main"
	}
	fmt.Fprintf(d, `<g class="%s">`+"\n", class)
	return func() { d.WriteString("</g>\n") }
}

func (d *drawing) end() string {
	d.WriteString("</svg>\n")
	return d.String()
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
