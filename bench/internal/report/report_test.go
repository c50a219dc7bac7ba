package report

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func example() *Report {
	r := &Report{
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Took: 90 * time.Second, Command: "go run ./bench",
		Machine:  Machine{OS: "linux", Arch: "amd64", CPUs: 2, Go: "go1.26", Postgres: "15.1", Source: "local"},
		Settings: map[string]string{"fsync": "on"},
	}
	t := r.Table("1 idle", "flush 1 ms")
	t.Baseline, t.Ratio = "floor", "p50 ms"
	t.Params["flush"] = 1
	for i, v := range []float64{1, 10, 3} {
		t.Row("floor").Add("p50 ms", v)
		t.Row("ours").Add("p50 ms", v*1.05)
		t.Row("slow").Add("p50 ms", v*float64(20+i))
		t.Row("slower").Add("p50 ms", v*100)
	}
	t.Row("ours").Add("commits/s", 1234567)
	for _, v := range []float64{2, 20, 6} {
		r.Table("1 idle", "flush 2 ms").Row("floor").Add("p50 ms", v)
	}
	return r
}

func TestTheReportIsReadBackFromItsFile(t *testing.T) {
	want := example()
	want.Judge([]Goal{{Scenario: "1 idle", Row: "ours", Metric: "p50 ms", Limit: 5}})
	name := filepath.Join(t.TempDir(), "report.json")
	if err := want.SaveJSON(name); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := ReadJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v\nwant\n%+v", got, want)
	}
}

func TestWhatCouldNotBeMeasuredIsNullInJSON(t *testing.T) {
	r := example()
	r.Tables[0].Row("ours").Add("server CPU", math.NaN())
	var b strings.Builder
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "null") {
		t.Fatal(b.String())
	}
	got, err := ReadJSON(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if v := got.Tables[0].Row("ours").Metric("server CPU").Median(); !math.IsNaN(v) {
		t.Errorf("read back as %v", v)
	}
}

func TestARatioIsTheMedianOfTheRoundsRatios(t *testing.T) {
	table := example().Tables[0]
	if got := table.Find("slow").Metric("p50 ms").RatioTo(table.Find("floor").Metric("p50 ms")); got != 21 {
		t.Errorf("the ratio is %v, want 21: the median of 20, 21 and 22", got)
	}
}

func TestGoals(t *testing.T) {
	for name, test := range map[string]struct {
		goal Goal
		want string
	}{
		"a limit that is kept":      {Goal{Limit: 3.2}, "met: p50 ms ≤ 3.2 (3.15)"},
		"a limit that is not":       {Goal{Limit: 3}, "missed: p50 ms ≤ 3 (3.15)"},
		"a multiple that is kept":   {Goal{Times: 1.1, Against: []string{"floor"}}, "met: p50 ms ≤ 1.1× floor (1.05×)"},
		"a multiple that is not":    {Goal{Times: 1, Against: []string{"floor"}}, "missed: p50 ms ≤ 1× floor (1.05×)"},
		"each has to be beaten":     {Goal{Times: 0.1, Against: []string{"slower", "slow"}}, "met: p50 ms ≤ 0.1× slower, slow (0.05× slow)"},
		"the closest decides":       {Goal{Times: 0.02, Against: []string{"slower", "slow"}}, "missed: p50 ms ≤ 0.02× slower, slow (0.05× slow)"},
		"at least":                  {Goal{AtLeast: true, Times: 1, Against: []string{"floor"}}, "met: p50 ms ≥ 1× floor (1.05×)"},
		"who was left out":          {Goal{Times: 1, Against: []string{"nobody"}}, "unknown: p50 ms ≤ 1× nobody (not measured)"},
		"another case":              {Goal{Times: 1.1, Against: []string{"floor"}, From: "flush 2 ms"}, "met: p50 ms ≤ 1.1× floor at flush 2 ms (0.525×)"},
		"another case, not there":   {Goal{Times: 1.1, Against: []string{"floor"}, From: "?"}, "unknown: p50 ms ≤ 1.1× floor at ? (not measured)"},
		"of this case, by its name": {Goal{Cases: []string{"1 ms"}, Limit: 9}, "met: p50 ms ≤ 9 (3.15)"},
	} {
		t.Run(name, func(t *testing.T) {
			r := example()
			test.goal.Scenario, test.goal.Row, test.goal.Metric = "1 idle", "ours", "p50 ms"
			r.Judge([]Goal{test.goal})
			verdicts := r.Tables[0].Find("ours").Verdicts
			if len(verdicts) != 1 || verdicts[0].String() != test.want {
				t.Errorf("got %v, want %s", verdicts, test.want)
			}
		})
	}
	r := example()
	r.Judge([]Goal{{Scenario: "1 idle", Cases: []string{"flush 1 ms", "64 producers"}, Row: "ours", Metric: "p50 ms"}})
	if v := r.Tables[0].Find("ours").Verdicts; v != nil {
		t.Errorf("a goal of another case was judged: %v", v)
	}
	if want := []string{"1 idle, ours, p50 ms ≤ 0, flush 1 ms, 64 producers"}; !reflect.DeepEqual(r.Unjudged, want) {
		t.Errorf("the goals that were not judged are %q, want %q", r.Unjudged, want)
	}
}

func TestTheTable(t *testing.T) {
	r := example()
	r.Judge([]Goal{
		{Scenario: "1 idle", Row: "ours", Metric: "p50 ms", Limit: 5},
		{Scenario: "1 idle", Row: "ours", Metric: "p50 ms", Times: 1, Against: []string{"floor"}},
	})
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `
1 idle: flush 1 ms
          p50 ms  commits/s  ratio  goals
  floor        3          –     1×
  ours      3.15  1,234,567  1.05×  met: p50 ms ≤ 5 (3.15)
                                    missed: p50 ms ≤ 1× floor (1.05×)
  slow        66          –    21×
  slower     300          –   100×
  ratio: p50 ms to floor, median of the rounds' ratios

1 idle: flush 2 ms
         p50 ms  goals
  floor       6
`
	if !strings.HasSuffix(b.String(), want) {
		t.Errorf("got\n%s\nwant it to end\n%s", b.String(), want)
	}
}

func TestNumbersHaveThreeSignificantDigits(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.06: "0.06", 0.0612345: "0.0612", 1: "1", 12.345: "12.3", 123.6: "124", 1234567: "1,234,567", -1234: "-1,234", 999: "999",
	} {
		if got := Format(v); got != want {
			t.Errorf("Format(%v) = %s, want %s", v, got, want)
		}
	}
}
