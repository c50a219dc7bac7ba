// Package report collects what was measured, judges it by the goals, and writes it as tables and as JSON.
package report

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"golang.org/x/perf/benchmath"
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
	Verdicts []Verdict
}

// Machine says where it ran.
type Machine struct {
	OS, Arch string
	CPUs     int
	CPU      string
	Go       string
	Postgres string // server_version
	Source   string // where the server came from
}

// A Table is one scenario: rows that were measured side by side, in turns.
type Table struct {
	Scenario string
	About    string // what was the same for all
	Rows     []*Row
}

// A Row is one contender, or one size.
type Row struct {
	Name    string
	Metrics []*Metric
}

// A Metric is one thing measured, once a round.
type Metric struct {
	Name   string // "p50 ms"
	Rounds []Number
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

// Table begins the scenario's table, with its rows in that order.
func (r *Report) Table(scenario, about string, rows ...string) *Table {
	t := &Table{Scenario: scenario, About: about}
	for _, name := range rows {
		t.Rows = append(t.Rows, &Row{Name: name})
	}
	r.Tables = append(r.Tables, t)
	return t
}

// Find returns the scenario's table or nil.
func (r *Report) Find(scenario string) *Table {
	i := slices.IndexFunc(r.Tables, func(t *Table) bool { return t.Scenario == scenario })
	if i < 0 {
		return nil
	}
	return r.Tables[i]
}

// Row returns the row of that name or nil.
func (t *Table) Row(name string) *Row {
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

// confidence is what five rounds can give: the median is then within their least and greatest value with 94 %.
const confidence = 0.9

// Summary returns the median of the rounds and its confidence interval, NaN if nothing could be measured.
func (m *Metric) Summary() benchmath.Summary {
	if m == nil {
		return summaryOf(nil)
	}
	return summaryOf(m.Rounds)
}

// RatioTo summarizes the rounds' ratios to the same rounds of base: what slows the machine for a while
// slows both. Two zeros are equal; anything else is a thousand times zero, because benchmath knows no infinity
// and the round must not be left out in our favour.
func (m *Metric) RatioTo(base *Metric) benchmath.Summary {
	var ratios []Number
	if m != nil && base != nil {
		for i := range min(len(m.Rounds), len(base.Rounds)) {
			ratio := m.Rounds[i] / base.Rounds[i]
			switch {
			case m.Rounds[i] == 0 && base.Rounds[i] == 0:
				ratio = 1
			case base.Rounds[i] == 0 && m.Rounds[i] > 0:
				ratio = 1000
			}
			ratios = append(ratios, ratio)
		}
	}
	return summaryOf(ratios)
}

func summaryOf(rounds []Number) benchmath.Summary {
	var values []float64
	for _, n := range rounds {
		if v := float64(n); finite(v) {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return benchmath.Summary{Center: math.NaN(), Lo: math.NaN(), Hi: math.NaN()}
	}
	return benchmath.AssumeNothing.Summary(benchmath.NewSample(values, &benchmath.DefaultThresholds), confidence)
}
