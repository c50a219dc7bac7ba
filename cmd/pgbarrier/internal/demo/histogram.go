package demo

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// eighths are the block characters from one to eight eighths of a cell.
var eighths = []rune("▏▎▍▌▋▊▉█")

// bar draws n of most in at most width cells. What is not nothing is drawn, however small.
func (t terminal) bar(n, most, width int) string {
	if n <= 0 || most <= 0 {
		return ""
	}
	if !t.fancy {
		return strings.Repeat("#", max(1, n*width/most))
	}
	cells := max(1, n*width*len(eighths)/most)
	full, part := cells/len(eighths), cells%len(eighths)
	drawn := strings.Repeat("█", full)
	if part > 0 {
		drawn += string(eighths[part-1])
	}
	return drawn
}

// histogram draws the latencies of several approaches side by side, a line for each bucket. The bars
// of all are to one scale. Buckets above the last that is used are left out.
func (t terminal) histogram(approaches []Counts, width int) []string {
	most, last := 0, 0
	for _, a := range approaches {
		for i, n := range a.Latency.Buckets {
			most = max(most, n)
			if n > 0 {
				last = max(last, i)
			}
		}
	}
	var lines []string
	for i := 0; i <= last; i++ {
		var b strings.Builder
		fmt.Fprintf(&b, "%13s", bucketLabel(i))
		for _, a := range approaches {
			n := 0
			if i < len(a.Latency.Buckets) {
				n = a.Latency.Buckets[i]
			}
			// The number stands right after the bar: the column is filled up with spaces.
			bar := t.bar(n, most, width-7)
			number := " " + thousands(n)
			fill := width - utf8.RuneCountInString(bar) - len(number)
			b.WriteString("  " + t.paint(green, bar) + number + strings.Repeat(" ", max(0, fill)))
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}

// bucketLabel names a bucket by its bound.
func bucketLabel(i int) string {
	if i == len(bucketBounds) {
		return fmt.Sprintf("%g ms and up", float64(bucketBounds[i-1])/1000)
	}
	return fmt.Sprintf("under %g ms", float64(bucketBounds[i])/1000)
}
