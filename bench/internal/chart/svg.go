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
	series                 [11]string
}

// The series colours are told apart with the usual kinds of colour blindness, have enough contrast to the
// page for text, and are the same hues in both schemes. Every line is also labelled.
var (
	light = scheme{"#24292f", "#57606a", "#d0d7de", "#ffffff", [11]string{
		"#0550ae", "#b35900", "#1a7f37", "#8250df", "#bf3989", "#6e5494", "#57606a", "#0f7b86", "#a40e26", "#7d6a00", "#24292f"}}
	dark = scheme{"#e6edf3", "#9198a1", "#30363d", "#0d1117", [11]string{
		"#79c0ff", "#ffa657", "#56d364", "#d2a8ff", "#ff9bce", "#b8a0e0", "#9198a1", "#56d4dd", "#ff7b72", "#e3b341", "#e6edf3"}}
)

func (s scheme) css() string {
	var b strings.Builder
	fmt.Fprintf(&b, "text{fill:%s} .note,.tick{fill:%s} .grid{stroke:%s} .page{fill:%s}\n", s.text, s.note, s.grid, s.page)
	for i, c := range s.series {
		fmt.Fprintf(&b, ".c%d .line,.c%d .range{stroke:%s} .c%d .dot,.c%d .label{fill:%s}\n", i, i, c, i, i, c)
	}
	return b.String()
}

// style follows the reader's colour scheme, also where the chart is an image on a page, whose style it does
// not inherit. Without custom properties, which not every program that shows SVG knows.
func style() string {
	return `
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.title{font-size:15px;font-weight:600}
.line{fill:none;stroke-width:1.5} .range{stroke-width:3;stroke-linecap:round;opacity:.45} .grid{stroke-width:1}
.main .line{stroke-width:3} .main .label,.main .name{font-weight:700}
` + light.css() + "@media (prefers-color-scheme: dark){\n" + dark.css() + "}\n"
}

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

// group opens a group for a series and returns what closes it.
func (d *drawing) group(i int, main bool) func() {
	class := fmt.Sprintf("c%d", i%len(light.series))
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
