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
	t := r.Table("idle", "flush 1 ms", "floor", "ours", "slow")
	for i, v := range []float64{1, 10, 3, 2, 4} {
		t.Row("floor").Add("p50 ms", v)
		t.Row("ours").Add("p50 ms", v*1.05)
		t.Row("slow").Add("p50 ms", v*float64(20+i))
	}
	t.Row("ours").Add("commits/s", 1234567)
	return r
}

func TestTheReportIsReadBackFromItsFile(t *testing.T) {
	want := example()
	want.Verdicts = want.Judge([]Goal{{Scenario: "idle", Row: "ours", Metric: "p50 ms", Limit: 5}})
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
	if v := got.Tables[0].Row("ours").Metric("server CPU").Summary().Center; !math.IsNaN(v) {
		t.Errorf("read back as %v", v)
	}
}

func TestARatioIsTheMedianOfTheRoundsRatios(t *testing.T) {
	table := example().Tables[0]
	got := table.Row("slow").Metric("p50 ms").RatioTo(table.Row("floor").Metric("p50 ms"))
	if got.Center != 22 || got.Lo != 20 || got.Hi != 24 {
		t.Errorf("the ratio is %v, want 22 within 20 and 24", got)
	}
}

// Otherwise a round in which the other took no time would be left out, in our favour.
func TestARatioToZeroMeetsNoGoal(t *testing.T) {
	r := &Report{}
	table := r.Table("idle", "", "floor", "ours")
	for i := range 5 {
		table.Row("floor").Add("p50 ms", 0)
		table.Row("ours").Add("p50 ms", float64(min(i, 1)))
	}
	v := r.Judge([]Goal{{Scenario: "idle", Row: "ours", Metric: "p50 ms", Limit: 2, Against: "floor"}})
	if want := "missed   idle, ours: p50 ms ≤ 2 × floor: 1,000 [1 to 1,000]"; v[0].String() != want {
		t.Errorf("got %s, want %s", v[0], want)
	}
}

func TestGoals(t *testing.T) {
	for name, test := range map[string]struct {
		goal Goal
		want string
	}{
		"a limit that is kept":      {Goal{Limit: 3.2}, "met      idle, ours: p50 ms ≤ 3.2: 3.15 [1.05 to 10.5]"},
		"a limit that is not":       {Goal{Limit: 3}, "missed   idle, ours: p50 ms ≤ 3: 3.15 [1.05 to 10.5]"},
		"a multiple that is kept":   {Goal{Limit: 1.1, Against: "floor"}, "met      idle, ours: p50 ms ≤ 1.1 × floor: 1.05 [1.05 to 1.05]"},
		"a multiple that is not":    {Goal{Limit: 1, Against: "floor"}, "missed   idle, ours: p50 ms ≤ 1 × floor: 1.05 [1.05 to 1.05]"},
		"at least":                  {Goal{AtLeast: true, Limit: 1, Against: "floor"}, "met      idle, ours: p50 ms ≥ 1 × floor: 1.05 [1.05 to 1.05]"},
		"who was left out":          {Goal{Limit: 1, Against: "nobody"}, "unknown  idle, ours: p50 ms ≤ 1 × nobody"},
		"too few rounds for bounds": {Goal{Metric: "commits/s", AtLeast: true, Limit: 1000}, "met      idle, ours: commits/s ≥ 1,000: 1,234,567"},
	} {
		t.Run(name, func(t *testing.T) {
			test.goal.Scenario, test.goal.Row = "idle", "ours"
			if test.goal.Metric == "" {
				test.goal.Metric = "p50 ms"
			}
			if verdicts := example().Judge([]Goal{test.goal}); len(verdicts) != 1 || verdicts[0].String() != test.want {
				t.Errorf("got %v, want %s", verdicts, test.want)
			}
		})
	}
	if v := example().Judge([]Goal{{Scenario: "load", Row: "ours", Metric: "p50 ms"}}); v != nil {
		t.Errorf("a goal of a scenario that did not run was judged: %v", v)
	}
}

func TestTheTable(t *testing.T) {
	r := example()
	r.Verdicts = r.Judge([]Goal{{Scenario: "idle", Row: "ours", Metric: "p50 ms", Limit: 5}})
	var b strings.Builder
	if err := r.WriteTables(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"idle: flush 1 ms\n", "ours", "3.15", "1,234,567", "met      idle, ours: p50 ms ≤ 5: 3.15"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
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
