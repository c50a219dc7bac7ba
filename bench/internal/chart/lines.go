package chart

import (
	"fmt"
	"slices"
	"strings"
)

// Lines draws series over categories at equal distances: 1, 8, 64, 256 producers.
type Lines struct {
	Title, Note string
	XLabel      string
	Categories  []string
	Log         bool // of the values
	Series      []Series
}

// A Series is one line. A value that is not a number leaves a gap. Main series stand out.
type Series struct {
	Name   string
	Values []float64
	Main   bool
}

// SVG implements Chart.
func (c Lines) SVG() string {
	const width, height, top, left, right, bottom = 760.0, 420.0, 64.0, 64.0, 190.0, 50.0
	d := newDrawing(width, height, c.Title, c.Note)
	var values []float64
	for _, s := range c.Series {
		values = append(values, s.Values...)
	}
	y := newScale(values, c.Log, height-bottom, top)
	x := func(i int) float64 {
		if len(c.Categories) == 1 {
			return (left + width - right) / 2
		}
		return left + 14 + float64(i)*(width-right-left-28)/float64(len(c.Categories)-1)
	}
	for _, v := range y.ticks() {
		d.line("grid", left, y.at(v), width-right, y.at(v))
		d.text(left-8, y.at(v)+4, "end", "tick", short(v))
	}
	for i, name := range c.Categories {
		d.text(x(i), height-bottom+18, "middle", "tick", name)
	}
	d.text((left+width-right)/2, height-12, "middle", "note", c.XLabel)
	labels := c.labels(y)
	for i, s := range c.Series {
		end := d.group(i, s.Main)
		d.WriteString(path(s, x, y))
		for j, v := range s.Values {
			if finite(v) {
				d.dot(x(j), y.at(v), 3.5, fmt.Sprintf("%s, %s: %s", s.Name, c.Categories[j], three(v)))
			}
		}
		if at, ok := labels[i]; ok {
			d.text(x(len(c.Categories)-1)+14, at+4, "start", "label", s.Name)
		}
		end()
	}
	return d.end()
}

// path draws one line, in pieces where values are missing.
func path(s Series, x func(int) float64, y scale) string {
	var b strings.Builder
	move := "M"
	for i, v := range s.Values {
		if !finite(v) {
			move = "M"
			continue
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", move, x(i), y.at(v))
		move = "L"
	}
	if b.Len() == 0 {
		return ""
	}
	return `<path class="line" d="` + b.String() + `"/>` + "\n"
}

// labels returns where the series' names stand: at the end of their lines, moved apart where those meet.
func (c Lines) labels(y scale) map[int]float64 {
	const apart = 15.0
	type label struct {
		series int
		at     float64
	}
	var all []label
	for i, s := range c.Series {
		for _, v := range slices.Backward(s.Values) {
			if finite(v) {
				all = append(all, label{i, y.at(v)})
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b label) int {
		if a.at < b.at {
			return -1
		}
		return 1
	})
	// Down from the top, then up from the bottom, whose labels may have left the picture.
	for i := 1; i < len(all); i++ {
		all[i].at = max(all[i].at, all[i-1].at+apart)
	}
	limit := y.start
	for i := len(all) - 1; i >= 0; i-- {
		all[i].at = min(all[i].at, limit)
		limit = all[i].at - apart
	}
	out := map[int]float64{}
	for _, l := range all {
		out[l.series] = l.at
	}
	return out
}
