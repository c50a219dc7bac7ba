package demo

import (
	"slices"
	"strings"
	"testing"
)

func TestHistogram(t *testing.T) {
	counts := func(buckets ...int) Counts {
		return Counts{Latency: Latency{Buckets: append(buckets, make([]int, len(bucketBounds)+1-len(buckets))...)}}
	}
	left, right := counts(1000, 500, 1), counts(0, 0, 250, 3)
	for _, test := range []struct {
		name string
		terminal
		want []string
	}{
		{"plain", terminal{}, []string{
			" under 0.5 ms  ############# 1,000    0",
			"   under 1 ms  ###### 500             0",
			"   under 2 ms  # 1                   ### 250",
			"   under 4 ms   0                    # 3",
		}},
		{"fancy", terminal{fancy: true}, []string{
			" under 0.5 ms  █████████████ 1,000    0",
			"   under 1 ms  ██████▌ 500            0",
			"   under 2 ms  ▏ 1                   ███▎ 250",
			"   under 4 ms   0                    ▏ 3",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := test.histogram([]Counts{left, right}, 20)
			for i := range got {
				got[i] = strings.NewReplacer("\x1b[32m", "", "\x1b[0m", "").Replace(got[i])
			}
			if slices.Equal(got, test.want) {
				return
			}
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		})
	}
}

func TestHistogramOfNothing(t *testing.T) {
	empty := Counts{Latency: Latency{Buckets: make([]int, len(bucketBounds)+1)}}
	got := terminal{}.histogram([]Counts{empty}, 20)
	if len(got) != 1 || strings.Contains(got[0], "#") {
		t.Errorf("got %q", got)
	}
}

func TestTheLastBucketIsOpen(t *testing.T) {
	c := Counts{Latency: Latency{Buckets: make([]int, len(bucketBounds)+1)}}
	c.Latency.Buckets[len(bucketBounds)] = 7
	got := terminal{}.histogram([]Counts{c}, 20)
	if last := got[len(got)-1]; !strings.Contains(last, "64 ms and up") || !strings.HasSuffix(last, " 7") {
		t.Errorf("the last line is %q", last)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestWhatPgbarrierPromisesDecidesTheVerdict(t *testing.T) {
	good := Counts{barrier: true, Committed: 10, OK: 10}
	for name, test := range map[string]struct {
		change func(*Counts)
		kept   bool
	}{
		"nothing wrong":    {func(*Counts) {}, true},
		"too early":        {func(c *Counts) { c.TooEarly = 1 }, false},
		"for nothing":      {func(c *Counts) { c.ForNothing = 1 }, false},
		"lost":             {func(c *Counts) { c.Lost = 1 }, false},
		"twice":            {func(c *Counts) { c.Twice = 1 }, false},
		"dropped wrongly":  {func(c *Counts) { c.WronglyDropped = 1 }, false},
		"nothing happened": {func(c *Counts) { c.Committed, c.OK = 0, 0 }, false},
		"no barrier":       {func(c *Counts) { c.barrier = false }, false},
	} {
		bad := good
		test.change(&bad)
		var report strings.Builder
		result := Result{Approaches: []Counts{bad}}
		result.Report(&report)
		if result.Kept() != test.kept || strings.Contains(report.String(), "FAILED") == test.kept {
			t.Errorf("%s: kept is %v, the report says\n%s", name, result.Kept(), report.String())
		}
	}
}
