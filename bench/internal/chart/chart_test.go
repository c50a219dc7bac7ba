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
func saved(t *testing.T, c Ranges) element {
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
		{"one value", 3, math.NaN(), false},
	}})
	inside(t, root)
	if title := root.find("title")[0].Text; title != "A < B & C" {
		t.Errorf("the title is %q", title)
	}
	dots := root.find("circle")
	if len(dots) != 3 {
		t.Fatalf("there are %d dots, want one for each measured row", len(dots))
	}
	if lines := root.find("g"); len(lines) != 4 || len(lines[0].find("line")) != 1 || len(lines[3].find("line")) != 0 {
		t.Error("want a line to the p99 of a row that has one, and none otherwise")
	}
	if a, b := number(t, dots[0].attr("cx")), number(t, dots[1].attr("cx")); a >= b {
		t.Errorf("the dot of the smaller value is at %v, that of the larger at %v", a, b)
	}
	if style := root.find("style")[0].Text; !strings.Contains(style, "prefers-color-scheme: dark") {
		t.Error("the chart does not follow a dark colour scheme")
	}
}

func TestScales(t *testing.T) {
	log := newScale([]float64{0.06, 950}, 0, 100)
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
	if got := newScale(nil, 0, 100).at(0); got != 0 {
		t.Errorf("zero is at %v of a scale of nothing", got)
	}
	for v, want := range map[float64]string{0: "0", 0.01: "0.01", 2000: "2k", 5e6: "5M"} {
		if got := short(v); got != want {
			t.Errorf("short(%v) = %s, want %s", v, got, want)
		}
	}
}
