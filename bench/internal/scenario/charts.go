package scenario

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pgbarrier/pgbarrier/bench/internal/chart"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
)

// SaveCharts draws what was measured into files of a directory, and returns their names.
func SaveCharts(r *report.Report, dir string) (names []string, err error) {
	for _, c := range charts(r) {
		name := filepath.Join(dir, c.file+".svg")
		if err := chart.Save(name, c.chart); err != nil {
			return names, err
		}
		names = append(names, name)
	}
	return names, nil
}

type namedChart struct {
	file  string
	chart chart.Chart
}

func charts(r *report.Report) (out []namedChart) {
	version, _, _ := strings.Cut(r.Machine.Postgres, " ") // without the packager's
	note := fmt.Sprintf("PostgreSQL %s, %d CPUs, medians of %s", version, r.Machine.CPUs, countOf(rounds(r), "round"))
	for _, f := range flushes {
		slug := "flush-machine"
		if f.delay > 0 {
			slug = fmt.Sprintf("flush-%gms", float64(f.delay)/1000)
		}
		if t := tableOf(r, "1 idle", f.name); t != nil {
			out = append(out, namedChart{"idle-" + slug, rangesOf(t, "Idle: COMMIT returned → handler running", f.name+", "+note, "")})
		}
		for _, think := range []float64{1, 10} {
			cases := slices.DeleteFunc(tablesOf(r, "2 load", "producers"), func(t *report.Table) bool {
				return t.Params["think ms"] != think || t.Params["commit_delay"] != float64(f.delay)
			})
			if len(cases) == 0 {
				continue
			}
			name := fmt.Sprintf("-think-%gms-%s", think, slug)
			subtitle := fmt.Sprintf("%g ms inside each transaction, %s, %s", think, f.name, note)
			out = append(out,
				namedChart{"load-commits" + name, linesOf(cases, "producers", "commits/s", "Commits per second", subtitle, true)},
				namedChart{"load-latency" + name, linesOf(cases, "producers", "sent→run p50 ms", "COMMIT sent → handler running, p50 in ms", subtitle, true)})
			for _, t := range cases {
				if t.Params["producers"] == 64 {
					out = append(out, namedChart{"load-64" + name,
						rangesOf(t, "64 producers: COMMIT sent → handler running", subtitle, "sent→run ")})
				}
			}
		}
	}
	out = append(out, aborts(r, note)...)
	if cases := tablesOf(r, "5 waiters", "waits"); len(cases) > 1 {
		out = append(out, namedChart{"waiters-check", linesOf(cases, "waits", "check server ms", "Server time of a check, in ms", note, false)})
	}
	if cases := tablesOf(r, "7 growth", "rows"); len(cases) > 1 {
		out = append(out,
			namedChart{"growth-transaction", linesOf(cases, "rows", "tx p50 ms", "A transaction with a barrier, p50 in ms", note, false)},
			namedChart{"growth-check", linesOf(cases, "rows", "check of 100 p50 ms", "A check of 100 tokens, p50 in ms", note, false)})
	}
	return append(out, fleet(r, note)...)
}

func rangesOf(t *report.Table, title, note, prefix string) chart.Ranges {
	c := chart.Ranges{Title: title, Note: note, Unit: "ms"}
	for _, row := range t.Rows {
		if m := row.Metric(prefix + "p50 ms"); m != nil {
			c.Rows = append(c.Rows, chart.Range{Name: row.Name, P50: m.Median(), P99: row.Metric(prefix + "p99 ms").Median(), Main: row.Name == contender.NamePgbarrier})
		}
	}
	return c
}

// linesOf draws one metric of every contender over the cases.
func linesOf(cases []*report.Table, param, metric, title, note string, log bool) chart.Lines {
	c := chart.Lines{Title: title, Note: note, XLabel: param, Log: log}
	for _, t := range cases {
		c.Categories = append(c.Categories, category(t.Params[param]))
	}
	for _, row := range cases[0].Rows {
		if row.Metric(metric) == nil {
			continue
		}
		s := chart.Series{Name: row.Name, Main: row.Name == contender.NamePgbarrier}
		for _, t := range cases {
			s.Values = append(s.Values, t.Find(row.Name).Metric(metric).Median())
		}
		c.Series = append(c.Series, s)
	}
	return c
}

func aborts(r *report.Report, note string) []namedChart {
	c := chart.Ranges{Title: "ROLLBACK returned, or producer killed → waiting goroutine knows", Note: note, Unit: "ms"}
	for _, t := range r.Tables {
		for _, row := range t.Rows {
			if m := row.Metric("p50 ms"); t.Scenario == "4 abort" && m != nil && row.Name == contender.NamePgbarrier {
				c.Rows = append(c.Rows, chart.Range{Name: t.Case, P50: m.Median(), P99: row.Metric("p99 ms").Median(), Main: true})
			}
		}
	}
	if len(c.Rows) == 0 {
		return nil
	}
	return []namedChart{{"abort", c}}
}

func fleet(r *report.Report, note string) (out []namedChart) {
	for _, t := range r.Tables {
		if t.Scenario != "6 fleet" {
			continue
		}
		for file, metric := range map[string]string{"commits": "commits/s", "latency": "sent→run p50 ms", "checks": "checks/s"} {
			c := chart.Lines{Title: "Listening processes: " + metric, Note: t.Case + ", " + note, XLabel: "listening processes"}
			s := chart.Series{Name: metric, Main: true}
			for _, row := range t.Rows {
				var n int
				_, _ = fmt.Sscan(row.Name, &n) // rowOfFleet begins with it
				c.Categories = append(c.Categories, strconv.Itoa(n))
				s.Values = append(s.Values, row.Metric(metric).Median())
			}
			c.Series = []chart.Series{s}
			out = append(out, namedChart{"fleet-" + file, c})
		}
	}
	slices.SortFunc(out, func(a, b namedChart) int { return cmp.Compare(a.file, b.file) })
	return out
}

func tableOf(r *report.Report, scenario, name string) *report.Table {
	for _, t := range r.Tables {
		if t.Scenario == scenario && t.Case == name {
			return t
		}
	}
	return nil
}

// tablesOf returns the scenario's cases that have that parameter, in its order.
func tablesOf(r *report.Report, scenario, param string) (out []*report.Table) {
	for _, t := range r.Tables {
		if _, ok := t.Params[param]; ok && t.Scenario == scenario {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b *report.Table) int { return cmp.Compare(a.Params[param], b.Params[param]) })
	return out
}

func category(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%gk", v/1e3)
	}
	return fmt.Sprintf("%g", v)
}

// rounds returns how many rounds were run.
func rounds(r *report.Report) (n int) {
	for _, t := range r.Tables {
		for _, row := range t.Rows {
			for _, m := range row.Metrics {
				n = max(n, len(m.Rounds))
			}
		}
	}
	return n
}
