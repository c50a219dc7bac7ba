package report

import (
	"fmt"
	"math"
)

// A Goal is what a metric of a row has to reach: a limit, or a multiple of another row's same metric in
// the same rounds.
type Goal struct {
	Scenario string
	Row      string
	Metric   string
	AtLeast  bool    // otherwise at most
	Limit    float64 // the multiple, if there is Against
	Against  string  // a row of the same table
}

// A Verdict is what became of a goal.
type Verdict struct {
	Goal    string
	Found   string
	Met     bool
	Unknown bool // something was not measured
}

// String says what has to be reached.
func (g Goal) String() string {
	sign := "≤"
	if g.AtLeast {
		sign = "≥"
	}
	s := fmt.Sprintf("%s, %s: %s %s %s", g.Scenario, g.Row, g.Metric, sign, Format(g.Limit))
	if g.Against != "" {
		s += " × " + g.Against
	}
	return s
}

// Judge returns the verdicts on the goals of the scenarios that ran.
func (r *Report) Judge(goals []Goal) (verdicts []Verdict) {
	for _, g := range goals {
		t := r.Find(g.Scenario)
		if t == nil {
			continue
		}
		metric := t.Row(g.Row).Metric(g.Metric)
		found := metric.Summary()
		if g.Against != "" {
			found = metric.RatioTo(t.Row(g.Against).Metric(g.Metric))
		}
		v := Verdict{Goal: g.String(), Unknown: math.IsNaN(found.Center), Found: Format(found.Center)}
		v.Met = found.Center <= g.Limit
		if g.AtLeast {
			v.Met = found.Center >= g.Limit
		}
		if finite(found.Lo) && finite(found.Hi) {
			v.Found += fmt.Sprintf(" [%s to %s]", Format(found.Lo), Format(found.Hi))
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// String returns "met", "missed" or "unknown", the goal and the numbers.
func (v Verdict) String() string {
	switch {
	case v.Unknown:
		return "unknown  " + v.Goal
	case v.Met:
		return "met      " + v.Goal + ": " + v.Found
	}
	return "missed   " + v.Goal + ": " + v.Found
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
