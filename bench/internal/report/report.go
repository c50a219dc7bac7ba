// Package report collects what was measured, judges it by the goals, and writes it as a table and as
// JSON.
package report

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/pgbarrier/pgbarrier/bench/internal/sample"
)

// A Report is one run.
type Report struct {
	Started  time.Time
	Took     time.Duration
	Command  string
	Machine  Machine
	Settings map[string]string // of the server, those that matter
	Notes    []string
	Tables   []*Table
	Unjudged []string // goals whose case was not measured
}

// Machine tells where it ran.
type Machine struct {
	OS, Arch string
	CPUs     int
	CPU      string
	Go       string
	Postgres string // server_version
	Source   string // where the server came from
}

// A Table compares rows that were measured side by side, in turns.
type Table struct {
	Scenario string // its number and name: "2 load"
	Case     string // what was the same for all: "64 producers, think 1 ms, flush 1 ms"
	Baseline string // the row that ratios refer to
	Ratio    string // the metric that the ratio column is of
	Rows     []*Row
	Params   map[string]float64 // the case as numbers, for charts
}

// A Row is one contender.
type Row struct {
	Name     string
	Metrics  []*Metric
	Verdicts []Verdict
}

// A Metric is one thing measured, once a round.
type Metric struct {
	Name   string // "p50 ms"
	Rounds []Number
}

// A Verdict is what became of a goal.
type Verdict struct {
	Goal string
	Met  bool
	// Unknown: there was nothing to judge by, such as a contender that was left out.
	Unknown bool
	Found   string // the numbers
}

// A Number is a float64 that JSON has as null when it is not one.
type Number float64

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *Number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	return json.Unmarshal(b, (*float64)(n))
}

// Table returns the table of that scenario and case, new or known.
func (r *Report) Table(scenario, name string) *Table {
	for _, t := range r.Tables {
		if t.Scenario == scenario && t.Case == name {
			return t
		}
	}
	t := &Table{Scenario: scenario, Case: name, Params: map[string]float64{}}
	r.Tables = append(r.Tables, t)
	return t
}

// Row returns the row of that name, new or known.
func (t *Table) Row(name string) *Row {
	if row := t.Find(name); row != nil {
		return row
	}
	row := &Row{Name: name}
	t.Rows = append(t.Rows, row)
	return row
}

// Find returns the row of that name or nil.
func (t *Table) Find(name string) *Row {
	if t == nil {
		return nil
	}
	i := slices.IndexFunc(t.Rows, func(r *Row) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return t.Rows[i]
}

// Add adds one round's value of a metric.
func (r *Row) Add(metric string, value float64) {
	m := r.Metric(metric)
	if m == nil {
		m = &Metric{Name: metric}
		r.Metrics = append(r.Metrics, m)
	}
	m.Rounds = append(m.Rounds, Number(value))
}

// Metric returns the metric of that name or nil.
func (r *Row) Metric(name string) *Metric {
	if r == nil {
		return nil
	}
	i := slices.IndexFunc(r.Metrics, func(m *Metric) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return r.Metrics[i]
}

// Median returns the median of the rounds, NaN if there are none.
func (m *Metric) Median() float64 {
	if m == nil {
		return math.NaN()
	}
	return sample.Median(floats(m.Rounds))
}

// RatioTo returns the median of the rounds' ratios to the same rounds of base: what slows the machine
// for a while slows both.
func (m *Metric) RatioTo(base *Metric) float64 {
	if m == nil || base == nil {
		return math.NaN()
	}
	var ratios []float64
	for i := range min(len(m.Rounds), len(base.Rounds)) {
		if base.Rounds[i] != 0 {
			ratios = append(ratios, float64(m.Rounds[i]/base.Rounds[i]))
		}
	}
	return sample.Median(ratios)
}

func floats(numbers []Number) []float64 {
	out := make([]float64, len(numbers))
	for i, n := range numbers {
		out[i] = float64(n)
	}
	return out
}
