package sample

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func upTo(n int) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = float64(i + 1)
	}
	return values
}

func TestAPercentileIsTheNearestRank(t *testing.T) {
	for _, test := range []struct {
		n    int
		p    float64
		want float64
	}{
		{1, 50, 1}, {1, 99, 1}, {2, 50, 1}, {3, 50, 2}, {4, 50, 2},
		{100, 99, 99}, {100, 100, 100}, {100, 50, 50}, {101, 99, 100}, {1000, 99, 990}, {1000, 99.9, 999},
	} {
		if got := Percentile(upTo(test.n), test.p); got != test.want {
			t.Errorf("p%v of 1…%d is %v, want %v", test.p, test.n, got, test.want)
		}
	}
}

// The definition, counted.
func TestAtLeastPPercentDoNotExceedThePercentile(t *testing.T) {
	for range 500 {
		values := make([]float64, 1+rand.IntN(300))
		for i := range values {
			values[i] = float64(rand.IntN(50))
		}
		slices.Sort(values)
		p := float64(1 + rand.IntN(100))
		got := Percentile(values, p)
		notAbove, below := 0, 0
		for _, v := range values {
			if v <= got {
				notAbove++
			}
			if v < got {
				below++
			}
		}
		if need := p * float64(len(values)) / 100; float64(notAbove) < need || float64(below) >= need {
			t.Fatalf("p%v of %d values is %v: %d are not above it, %d below", p, len(values), got, notAbove, below)
		}
	}
}

func TestNothingMeasuredIsNotANumber(t *testing.T) {
	if got := Percentile(nil, 50); !math.IsNaN(got) {
		t.Errorf("the percentile of nothing is %v", got)
	}
	if got := Median([]float64{math.NaN()}); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestMedianLeavesOutWhatCouldNotBeMeasured(t *testing.T) {
	values := []float64{9, math.NaN(), 1, 2, 3}
	if got := Median(values); got != 2.5 {
		t.Errorf("the median is %v, want 2.5", got)
	}
	if values[0] != 9 {
		t.Error("Median sorted its argument")
	}
}

func TestLatenciesAreInMilliseconds(t *testing.T) {
	got := LatenciesOf([]time.Duration{3 * time.Millisecond, 1500 * time.Microsecond, time.Second})
	if want := (Latencies{N: 3, P50: 3, P99: 1000}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
