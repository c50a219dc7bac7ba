package scenario

import (
	"math"
	"slices"
	"time"

	"github.com/pgbarrier/pgbarrier/bench/internal/report"
)

// addLatencies adds one round's p50 and p99.
func addLatencies(row *report.Row, prefix string, durations []time.Duration) {
	slices.Sort(durations)
	row.Add(prefix+"p50 ms", milliseconds(percentile(durations, 50)))
	row.Add(prefix+"p99 ms", milliseconds(percentile(durations, 99)))
}

// percentile returns one by the nearest rank: the least value that at least p percent of the values do not
// exceed, so with few values the 99th is the greatest. It returns -1 if there are none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return -1
	}
	return sorted[(len(sorted)*p+99)/100-1]
}

func milliseconds(d time.Duration) float64 {
	if d < 0 {
		return math.NaN()
	}
	return float64(d) / float64(time.Millisecond)
}
