package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Goal is what a metric has to reach: a limit, or a multiple of another row's same metric in the
// same rounds.
type Goal struct {
	Scenario string
	// Cases are parts of a case's name that must all be in it. None: every case.
	Cases  []string
	Row    string
	Metric string
	// AtLeast turns the comparison round: the metric must not be below.
	AtLeast bool
	Limit   float64  // unless Against is set
	Times   float64  // the multiple
	Against []string // rows; each has to be beaten
	// From is the case whose row Against is in, if it is another one of the same scenario.
	From string
}

// String says what has to be reached.
func (g Goal) String() string {
	sign := "≤"
	if g.AtLeast {
		sign = "≥"
	}
	if len(g.Against) == 0 {
		return fmt.Sprintf("%s %s %s", g.Metric, sign, Format(g.Limit))
	}
	of := strings.Join(g.Against, ", ")
	if len(g.Against) > 2 {
		of = fmt.Sprintf("the best of %d others", len(g.Against))
	}
	if g.From != "" {
		of += " at " + g.From
	}
	return fmt.Sprintf("%s %s %s× %s", g.Metric, sign, Format(g.Times), of)
}

// Judge adds the verdicts of all goals to the rows they are about, and notes the goals of the scenarios that ran
// for which there was no row. Judging again begins anew.
func (r *Report) Judge(goals []Goal) {
	for _, t := range r.Tables {
		for _, row := range t.Rows {
			row.Verdicts = nil
		}
	}
	r.Unjudged = nil
	for _, g := range goals {
		ran, judged := false, false
		for _, t := range r.Tables {
			ran = ran || t.Scenario == g.Scenario
			if row := t.Find(g.Row); g.covers(t, row) {
				row.Verdicts = append(row.Verdicts, g.judge(r, t, row))
				judged = true
			}
		}
		if ran && !judged {
			r.Unjudged = append(r.Unjudged, strings.Join(append([]string{g.Scenario, g.Row, g.String()}, g.Cases...), ", "))
		}
	}
}

// covers tells whether the goal is about that row of that table.
func (g Goal) covers(t *Table, row *Row) bool {
	if row.Metric(g.Metric) == nil || g.From == t.Case && slices.Contains(g.Against, row.Name) {
		return false // not measured there, or itself what others are compared with
	}
	return t.Scenario == g.Scenario && !slices.ContainsFunc(g.Cases, func(part string) bool { return !strings.Contains(t.Case, part) })
}

func (g Goal) judge(r *Report, t *Table, row *Row) Verdict {
	v := Verdict{Goal: g.String(), Met: true}
	metric := row.Metric(g.Metric)
	holds := func(value, limit float64) bool {
		if g.AtLeast {
			return value >= limit
		}
		return value <= limit
	}
	if len(g.Against) == 0 {
		value := metric.Median()
		v.Unknown, v.Met, v.Found = math.IsNaN(value), holds(value, g.Limit), Format(value)
		return v
	}
	other := t
	if g.From != "" {
		other = r.caseOf(t.Scenario, g.From)
	}
	// The one that is beaten by least decides.
	worst := math.NaN()
	var name string
	for _, against := range g.Against {
		ratio := metric.RatioTo(other.Find(against).Metric(g.Metric))
		if math.IsNaN(ratio) {
			continue
		}
		if math.IsNaN(worst) || g.AtLeast == (ratio < worst) {
			worst, name = ratio, against
		}
	}
	v.Unknown, v.Met = math.IsNaN(worst), holds(worst, g.Times)
	v.Found = fmt.Sprintf("%s×", Format(worst))
	if len(g.Against) > 1 && name != "" {
		v.Found += " " + name
	}
	return v
}

func (r *Report) caseOf(scenario, name string) *Table {
	for _, t := range r.Tables {
		if t.Scenario == scenario && t.Case == name {
			return t
		}
	}
	return nil
}

// String returns "met", "missed" or "unknown", the goal and the numbers.
func (v Verdict) String() string {
	word := "missed"
	switch {
	case v.Unknown:
		return "unknown: " + v.Goal + " (not measured)"
	case v.Met:
		word = "met"
	}
	return fmt.Sprintf("%s: %s (%s)", word, v.Goal, v.Found)
}
