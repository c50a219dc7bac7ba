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

// A scheme is what a chart's elements look like on a light or on a dark page.
type scheme struct {
	text, note, grid, page string
	main, other            string
}

// Both colours have enough contrast to the page for text.
var (
	light = scheme{"#24292f", "#57606a", "#d0d7de", "#ffffff", "#0550ae", "#57606a"}
	dark  = scheme{"#e6edf3", "#9198a1", "#30363d", "#0d1117", "#79c0ff", "#9198a1"}
)

func (s scheme) css() string {
	var b strings.Builder
	fmt.Fprintf(&b, "text{fill:%s} .note,.tick{fill:%s} .grid{stroke:%s} .page{fill:%s}\n", s.text, s.note, s.grid, s.page)
	for _, row := range [][2]string{{"main", s.main}, {"other", s.other}} {
		fmt.Fprintf(&b, ".%[1]s .range{stroke:%[2]s} .%[1]s .dot,.%[1]s .label{fill:%[2]s}\n", row[0], row[1])
	}
	return b.String()
}

// style follows the reader's colour scheme, also where the chart is an image on a page, whose style it does
// not inherit. Without custom properties, which not every program that shows SVG knows.
func style() string {
	return `
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.title{font-size:15px;font-weight:600}
.range{stroke-width:3;stroke-linecap:round;opacity:.45} .grid{stroke-width:1}
.main .label,.main .name{font-weight:700}
` + light.css() + "@media (prefers-color-scheme: dark){\n" + dark.css() + "}\n"
}

// Save writes the chart to a file.
func Save(name string, c Ranges) error { return os.WriteFile(name, []byte(c.SVG()), 0o644) }

// A drawing is an SVG document in the making.
type drawing struct {
	strings.Builder
	width, height float64
}

func newDrawing(width, height float64, title, note string) *drawing {
	d := &drawing{width: width, height: height}
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" role="img">`, width, height, width, height)
	fmt.Fprintf(d, "\n<title>%s</title>\n<style>%s</style>\n", escape(title), style())
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

// group opens a group for a row and returns what closes it.
func (d *drawing) group(class string) func() {
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
