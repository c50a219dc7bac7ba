package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "PostgreSQL %s (%s), %s, %s/%s, %d CPUs %s\n", m.Postgres, m.Source, m.Go, m.OS, m.Arch, m.CPUs, m.CPU)
	fmt.Fprintf(&b, "%s, took %s\n", r.Started.Format("2006-01-02 15:04"), r.Took.Round(1e9))
	fmt.Fprintf(&b, "%s\n", r.Command)
	for _, name := range slices.Sorted(maps.Keys(r.Settings)) {
		fmt.Fprintf(&b, "  %s: %s\n", name, r.Settings[name])
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	for _, t := range r.Tables {
		t.write(&b)
	}
	for i, g := range r.Unjudged {
		if i == 0 {
			b.WriteString("\ngoals whose case was not measured:\n")
		}
		fmt.Fprintf(&b, "  %s\n", g)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s: %s\n", t.Scenario, t.Case)
	header := []string{""}
	metrics := t.metrics()
	header = append(header, metrics...)
	if t.Baseline != "" {
		header = append(header, "ratio")
	}
	header = append(header, "goals")
	lines := [][]string{header}
	for _, row := range t.Rows {
		line := []string{row.Name}
		for _, m := range metrics {
			line = append(line, Format(row.Metric(m).Median()))
		}
		if t.Baseline != "" {
			ratio := ""
			if row.Name != t.Baseline {
				if q := row.Metric(t.Ratio).RatioTo(t.Find(t.Baseline).Metric(t.Ratio)); !math.IsNaN(q) {
					ratio = Format(q) + "×"
				}
			} else {
				ratio = "1×"
			}
			line = append(line, ratio)
		}
		var verdicts []string
		for _, v := range row.Verdicts {
			verdicts = append(verdicts, v.String())
		}
		if len(verdicts) == 0 {
			lines = append(lines, append(line, ""))
			continue
		}
		// The first verdict stands in the row, the others below it.
		lines = append(lines, append(line, verdicts[0]))
		for _, v := range verdicts[1:] {
			below := make([]string, len(line))
			lines = append(lines, append(below, v))
		}
	}
	writeColumns(b, lines)
	if t.Baseline != "" {
		fmt.Fprintf(b, "  ratio: %s to %s, median of the rounds' ratios\n", t.Ratio, t.Baseline)
	}
}

// metrics returns the names of all metrics in the order in which the rows have them.
func (t *Table) metrics() []string {
	var names []string
	seen := map[string]bool{}
	for _, row := range t.Rows {
		for _, m := range row.Metrics {
			if !seen[m.Name] {
				seen[m.Name] = true
				names = append(names, m.Name)
			}
		}
	}
	return names
}

// writeColumns aligns the first and the last column left and the numbers between right.
func writeColumns(b *strings.Builder, lines [][]string) {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range lines {
		var out strings.Builder
		for i, cell := range line {
			fill := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case i == 0:
				out.WriteString("  " + cell + fill)
			case i == len(line)-1:
				out.WriteString("  " + cell)
			default:
				out.WriteString("  " + fill + cell)
			}
		}
		b.WriteString(strings.TrimRight(out.String(), " ") + "\n")
	}
}

// Format writes a number with three significant digits, at least all of its whole ones, "–" for none.
func Format(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case a >= 100:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case a == 0:
		return "0"
	default:
		digits := 2 - int(math.Floor(math.Log10(a)))
		s := strconv.FormatFloat(v, 'f', min(digits, 6), 64)
		if strings.Contains(s, ".") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return s
	}
}

func thousands(digits string) string {
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
