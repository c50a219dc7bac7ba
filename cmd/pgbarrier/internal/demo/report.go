package demo

import (
	"fmt"
	"io"
	"strings"
)

// columnWidth is that of a histogram's column: with its labels two of them fit into 80 cells.
const columnWidth = 31

// Report writes the result for people.
func (r Result) Report(w io.Writer) {
	t := newTerminal(w)
	fmt.Fprintln(t)
	r.table(t)
	r.latencies(t)
	r.verdict(t)
	fmt.Fprint(t, `
Next:  go get github.com/pgbarrier/pgbarrier
       go run github.com/pgbarrier/pgbarrier/cmd/pgbarrier@latest migrate -d URL
       https://github.com/pgbarrier/pgbarrier#readme
`)
}

func (r Result) table(t terminal) {
	fmt.Fprintln(t, t.paint(dim, fmt.Sprintf("%-23s%10s%31s%16s", "", "orders", "worker's runs         ", "COMMIT→run, ms")))
	fmt.Fprintln(t, t.paint(bold, fmt.Sprintf("%-23s%10s%7s%10s%9s%6s%7s%8s",
		"", "committed", "right", "too early", "no order", "lost", "p50", "p99")))
	for _, c := range r.Approaches {
		fmt.Fprintf(t, "%-23s%10s%7s%s%s%s%s\n", c.title, thousands(c.Committed), thousands(c.OK),
			t.judge(c.TooEarly, fmt.Sprintf("%10s", thousands(c.TooEarly))),
			t.judge(c.ForNothing, fmt.Sprintf("%9s", thousands(c.ForNothing))),
			t.judge(c.Lost, fmt.Sprintf("%6s", thousands(c.Lost))),
			latency(c))
	}
	fmt.Fprintln(t, t.paint(dim, `
too early: the row was not there yet   lost: committed, but never enqueued
no order: its transaction was declined, or died with its process`))
}

// latency writes two columns, empty where few runs came after their COMMIT: those say nothing.
func latency(c Counts) string {
	if c.TooEarly > 0 {
		return fmt.Sprintf("%7s%8s", "-", "-")
	}
	return fmt.Sprintf("%7.1f%8.1f", c.Latency.P50, c.Latency.P99)
}

// latencies draws what a barrier costs in time.
func (r Result) latencies(t terminal) {
	var drawn []Counts
	for _, c := range r.Approaches {
		if c.barrier {
			drawn = append(drawn, c)
		}
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, t.paint(bold, "From COMMIT returned to worker running"))
	header := strings.Repeat(" ", 13)
	for _, c := range drawn {
		header += fmt.Sprintf("  %-*s", columnWidth, c.title)
	}
	fmt.Fprintln(t, strings.TrimRight(header, " "))
	for _, line := range t.histogram(drawn, columnWidth) {
		fmt.Fprintln(t, line)
	}
}

// verdict says in a sentence whether pgbarrier has kept its promise.
func (r Result) verdict(t terminal) {
	var sum Counts
	for _, c := range r.Approaches {
		if !c.barrier {
			continue
		}
		sum.Committed += c.Committed
		sum.OK += c.OK
		sum.TooEarly += c.TooEarly
		sum.ForNothing += c.ForNothing
		sum.Dropped += c.Dropped
		sum.WronglyDropped += c.WronglyDropped
		sum.Lost += c.Lost
		sum.Twice += c.Twice
		sum.ProducersKilled += c.ProducersKilled
		sum.ListenKilled += c.ListenKilled
	}
	fmt.Fprintln(t)
	if !r.Kept() {
		fmt.Fprintln(t, t.paint(red, wrap(fmt.Sprintf(
			"pgbarrier FAILED: of %s orders %d ran too early, %d messages ran without an order, "+
				"%d were dropped wrongly, %d orders were lost, %d ran twice. Please report this.",
			thousands(sum.Committed), sum.TooEarly, sum.ForNothing, sum.WronglyDropped, sum.Lost, sum.Twice))))
		return
	}
	fmt.Fprintln(t, t.paint(green, wrap(fmt.Sprintf(
		"With pgbarrier each of %s committed orders was handled, once and not too early, and the %s "+
			"messages of aborted transactions were dropped, while %d producers and %d LISTEN connections were killed.",
		thousands(sum.OK), thousands(sum.Dropped), sum.ProducersKilled, sum.ListenKilled))))
	fmt.Fprintln(t, "Every number is a query over the demo's tables.")
}

// wrap breaks text into lines of at most 80 characters.
func wrap(text string) string {
	var b strings.Builder
	length := 0
	for _, word := range strings.Fields(text) {
		switch {
		case length == 0:
		case length+1+len(word) > 80:
			b.WriteByte('\n')
			length = 0
		default:
			b.WriteByte(' ')
			length++
		}
		b.WriteString(word)
		length += len(word)
	}
	return b.String()
}
