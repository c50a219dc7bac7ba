package chart

import (
	"encoding/xml"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// element is any SVG element.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

func (e element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (e element) find(name string) (found []element) {
	for _, c := range e.Children {
		if c.XMLName.Local == name {
			found = append(found, c)
		}
		found = append(found, c.find(name)...)
	}
	return found
}

// saved writes the chart to a file and reads it back.
func saved(t *testing.T, c Chart) element {
	t.Helper()
	name := filepath.Join(t.TempDir(), "chart.svg")
	if err := Save(name, c); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var root element
	if err := xml.Unmarshal(b, &root); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	if root.XMLName.Local != "svg" || root.XMLName.Space != "http://www.w3.org/2000/svg" {
		t.Fatalf("the root is %v", root.XMLName)
	}
	if s := string(b); strings.Contains(s, "NaN") || strings.Contains(s, "Inf") {
		t.Errorf("a coordinate is not a number in\n%s", s)
	}
	return root
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Nothing may be drawn outside of the picture.
func inside(t *testing.T, root element) {
	t.Helper()
	width, height := number(t, root.attr("width")), number(t, root.attr("height"))
	for _, name := range []string{"text", "circle"} {
		for _, e := range root.find(name) {
			x, y := e.attr("x")+e.attr("cx"), e.attr("y")+e.attr("cy")
			if v := number(t, x); v < 0 || v > width {
				t.Errorf("%s %q is at x=%s of %v", name, e.Text, x, width)
			}
			if v := number(t, y); v < 0 || v > height {
				t.Errorf("%s %q is at y=%s of %v", name, e.Text, y, height)
			}
		}
	}
}

func TestRangesAreReadBackFromTheirFile(t *testing.T) {
	root := saved(t, Ranges{Title: "A < B & C", Note: "n", Unit: "ms", Rows: []Range{
		{"ours", 0.06, 0.2, true}, {"theirs", 50, 900, false}, {"not measured", math.NaN(), math.NaN(), false},
	}})
	inside(t, root)
	if title := root.find("title")[0].Text; title != "A < B & C" {
		t.Errorf("the title is %q", title)
	}
	dots := root.find("circle")
	if len(dots) != 2 {
		t.Fatalf("there are %d dots, want one for each measured row", len(dots))
	}
	if a, b := number(t, dots[0].attr("cx")), number(t, dots[1].attr("cx")); a >= b {
		t.Errorf("the dot of the smaller value is at %v, that of the larger at %v", a, b)
	}
	if style := root.find("style")[0].Text; !strings.Contains(style, "prefers-color-scheme: dark") {
		t.Error("the chart does not follow a dark colour scheme")
	}
}

func TestLinesAreReadBackFromTheirFile(t *testing.T) {
	c := Lines{Title: "t", XLabel: "producers", Categories: []string{"1", "8", "64"}, Series: []Series{
		{"rising", []float64{100, 1000, 10000}, true},
		{"with a gap", []float64{5, math.NaN(), 7}, false},
		{"zero", []float64{0, 0, 0}, false},
		{"none", []float64{math.NaN(), math.NaN(), math.NaN()}, false},
	}}
	for _, c.Log = range []bool{false, true} {
		root := saved(t, c)
		inside(t, root)
		if n := len(root.find("path")); n != 3 {
			t.Errorf("there are %d lines, want 3: one has no values", n)
		}
		dots := root.find("circle")
		if len(dots) != 8 {
			t.Fatalf("there are %d dots, want one for each value", len(dots))
		}
		if a, b := number(t, dots[0].attr("cy")), number(t, dots[2].attr("cy")); a <= b {
			t.Errorf("a larger value is at y=%v, below the smaller at y=%v", b, a)
		}
	}
}

func TestLabelsDoNotOverlap(t *testing.T) {
	c := Lines{Categories: []string{"1"}}
	for range 11 {
		c.Series = append(c.Series, Series{Name: "s", Values: []float64{0.001}})
	}
	labels := c.labels(newScale([]float64{0, 1}, false, 370, 64))
	seen := map[float64]bool{}
	for _, at := range labels {
		if seen[at] || at < 64 || at > 371 {
			t.Errorf("a label stands at %v", at)
		}
		seen[at] = true
	}
	if len(labels) != 11 {
		t.Errorf("%d of 11 labels", len(labels))
	}
}

func TestScales(t *testing.T) {
	log := newScale([]float64{0.06, 950}, true, 0, 100)
	if log.from != 0.01 || log.to != 1000 {
		t.Errorf("the scale is from %v to %v", log.from, log.to)
	}
	if got := log.at(log.from); got != 0 {
		t.Errorf("its beginning is at %v", got)
	}
	if got := log.at(1000); math.Abs(got-100) > 1e-9 {
		t.Errorf("its end is at %v", got)
	}
	if n := len(log.ticks()); n != 6 {
		t.Errorf("it has %d ticks, want 0.01 to 1000", n)
	}
	if got := newScale([]float64{730}, false, 0, 100).to; got != 1000 {
		t.Errorf("730 is rounded up to %v", got)
	}
	if got := newScale(nil, true, 0, 100).at(0); got != 0 {
		t.Errorf("zero is at %v of a scale of nothing", got)
	}
	for v, want := range map[float64]string{0: "0", 0.01: "0.01", 2000: "2k", 5e6: "5M"} {
		if got := short(v); got != want {
			t.Errorf("short(%v) = %s, want %s", v, got, want)
		}
	}
}
