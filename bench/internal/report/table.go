package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// WriteTables writes the report for people.
func (r *Report) WriteTables(w io.Writer) error {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "PostgreSQL %s (%s), %s, %s/%s, %d CPUs %s\n", m.Postgres, m.Source, m.Go, m.OS, m.Arch, m.CPUs, m.CPU)
	fmt.Fprintf(&b, "%s, took %s\n", r.Started.Format("2006-01-02 15:04"), r.Took.Round(time.Second))
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
	if len(r.Verdicts) > 0 {
		b.WriteString("\ngoals, with the median of the rounds' values or ratios:\n")
	}
	for _, v := range r.Verdicts {
		fmt.Fprintf(&b, "  %s\n", v)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s: %s\n", t.Scenario, t.About)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	metrics := t.metrics()
	fmt.Fprintf(w, "\t%s\t\n", strings.Join(metrics, "\t"))
	for _, row := range t.Rows {
		fmt.Fprintf(w, "%s\t", row.Name)
		for _, name := range metrics {
			s := row.Metric(name).Summary()
			cell := Format(s.Center)
			if finite(s.Lo) && finite(s.Hi) && s.Center != 0 {
				cell += " " + s.PctRangeString()
			}
			fmt.Fprintf(w, "%s\t", cell)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // a Builder takes everything
}

// metrics returns the names of all metrics in the order in which the rows have them.
func (t *Table) metrics() (names []string) {
	for _, row := range t.Rows {
		for _, m := range row.Metrics {
			if !slices.Contains(names, m.Name) {
				names = append(names, m.Name)
			}
		}
	}
	return names
}

// Format writes a number with three significant digits, at least all of its whole ones, "–" for none.
func Format(v float64) string {
	switch a := math.Abs(v); {
	case !finite(v):
		return "–"
	case a >= 100:
		return Thousands(int(math.Round(v)))
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

// Thousands writes a number with commas.
func Thousands(n int) string { return english.Sprint(n) }

var english = message.NewPrinter(language.English)
