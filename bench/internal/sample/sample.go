// Package sample reduces measurements to the numbers that are reported.
package sample

import (
	"math"
	"slices"
	"time"
)

// Percentile returns the p-th percentile (0 < p <= 100) by the nearest rank: the least value that at
// least p percent of the values do not exceed. It is always one of the values, NaN if there are none.
// The values must be sorted.
func Percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	// The product is rounded, or 0.99 × 100 would be a little more than 99.
	rank := math.Ceil(math.Round(p*float64(len(sorted))*1e6) / 1e8)
	return sorted[min(max(int(rank), 1), len(sorted))-1]
}

// Median returns the middle value, or the mean of the two in the middle. NaN values, which stand for
// what could not be measured, are left out.
func Median(values []float64) float64 {
	sorted := slices.Clone(values)
	sorted = slices.DeleteFunc(sorted, math.IsNaN)
	if len(sorted) == 0 {
		return math.NaN()
	}
	slices.Sort(sorted)
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Latencies are the percentiles of one round, in milliseconds.
type Latencies struct {
	N        int
	P50, P99 float64
}

// LatenciesOf returns the percentiles of durations.
func LatenciesOf(durations []time.Duration) Latencies {
	ms := make([]float64, len(durations))
	for i, d := range durations {
		ms[i] = Milliseconds(d)
	}
	slices.Sort(ms)
	return Latencies{N: len(ms), P50: Percentile(ms, 50), P99: Percentile(ms, 99)}
}

// Milliseconds returns d in milliseconds.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
