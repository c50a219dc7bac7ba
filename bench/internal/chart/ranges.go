package chart

import "fmt"

// Ranges draws for each row a dot at its median and a line from it to the 99th percentile, if it has one, on a
// logarithmic scale.
type Ranges struct {
	Title, Note string
	Unit        string // "ms, p50 (dot) to p99"
	Rows        []Range
}

// A Range is one row. Main rows stand out. A P99 that is not a number is left out.
type Range struct {
	Name     string
	P50, P99 float64
	Main     bool
}

// SVG returns the document.
func (c Ranges) SVG() string {
	const width, row, top, left, right = 760.0, 26.0, 64.0, 210.0, 130.0
	bottom := top + row*float64(len(c.Rows))
	d := newDrawing(width, bottom+44, c.Title, c.Note)
	var values []float64
	for _, r := range c.Rows {
		values = append(values, r.P50, r.P99)
	}
	s := newScale(values, left, width-right)
	for _, v := range s.ticks() {
		d.line("grid", s.at(v), top, s.at(v), bottom)
		d.text(s.at(v), bottom+16, "middle", "tick", short(v))
	}
	d.text((left+width-right)/2, bottom+34, "middle", "note", c.Unit+", logarithmic")
	for i, r := range c.Rows {
		y := top + row*(float64(i)+0.5)
		class := "other"
		if r.Main {
			class = "main"
		}
		end := d.group(class)
		d.text(left-12, y+4, "end", "name", r.Name)
		if finite(r.P50) {
			label, to := three(r.P50), r.P50
			if finite(r.P99) {
				label, to = label+" / "+three(r.P99), r.P99
				d.line("range", s.at(r.P50), y, s.at(r.P99), y)
			}
			d.dot(s.at(r.P50), y, 5, r.Name+": "+label)
			d.text(s.at(to)+10, y+4, "start", "label", label)
		}
		end()
	}
	return d.end()
}

func three(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
