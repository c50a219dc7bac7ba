package scenario

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pgbarrier/pgbarrier/bench/internal/chart"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
)

// SaveCharts draws the scenarios that ran into files of a directory.
func SaveCharts(r *report.Report, dir string) (err error) {
	const ms = "ms, p50 (dot) to p99"
	for _, c := range []struct{ file, scenario, title, unit, dot, end string }{
		{"idle", "idle", "Idle: COMMIT returned → handler running", ms, "p50 ms", "p99 ms"},
		{"load-latency", "load", "64 producers: COMMIT sent → handler running", ms, "sent→run p50 ms", "sent→run p99 ms"},
		{"abort", "abort", "ROLLBACK returned → waiting goroutine knows", ms, "p50 ms", "p99 ms"},
		{"fleet-commits", "fleet", "Commits per second by the number of listening processes", "commits/s", "commits/s", ""},
		{"asynq-tasks", "asynq", "An asynq worker whose queue is full: tasks per second", metricTasks, metricTasks, ""},
		{"jetstream-latency", "jetstream", "Through JetStream: COMMIT returned → handler running", ms, "p50 ms", "p99 ms"},
	} {
		t := r.Find(c.scenario)
		if t == nil {
			continue
		}
		version, _, _ := strings.Cut(r.Machine.Postgres, " ") // without the packager's
		drawn := chart.Ranges{Title: c.title, Note: fmt.Sprintf("%s; PostgreSQL %s, %d CPUs, medians", t.About, version, r.Machine.CPUs), Unit: c.unit}
		for _, row := range t.Rows {
			if m := row.Metric(c.dot); m != nil {
				drawn.Rows = append(drawn.Rows, chart.Range{
					Name: row.Name, P50: m.Summary().Center, P99: row.Metric(c.end).Summary().Center,
					Main: row.Name == contender.NamePgbarrier,
				})
			}
		}
		err = errors.Join(err, chart.Save(filepath.Join(dir, c.file+".svg"), drawn))
	}
	return err
}
