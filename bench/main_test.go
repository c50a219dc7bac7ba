package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	"github.com/pgbarrier/pgbarrier/bench/internal/scenario"
)

func TestMain(m *testing.M) {
	if scenario.IsListenerProcess() { // the fleet's processes are this program, here the test's
		if err := scenario.ListenerProcess(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// A short run against a real server: every scenario measures, and what it measured is in the table, in the
// JSON and in the charts.
func TestAShortRun(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bench.json")
	var stdout bytes.Buffer
	err := run(t.Context(), []string{"-quick", "-duration", "20ms", "-contender", "pgbarrier,LISTEN,lock wait,barrier row",
		"-json", file, "-charts", dir}, &stdout, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := report.ReadJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range r.Tables {
		if strings.HasPrefix(table.Case, "a transaction of two statements") {
			for i, want := range []float64{4, 5, 3, 3, 3} { // BEGIN and COMMIT are two of them
				row := table.Rows[i]
				if got := row.Metric("round trips").Median(); got != want {
					t.Errorf("%s: %v round trips, want %v", row.Name, got, want)
				}
			}
		}
	}
	verdicts := map[string]int{}
	for _, table := range r.Tables {
		for _, row := range table.Rows {
			if len(row.Metrics) == 0 {
				t.Errorf("%s, %s: nothing was measured for %s", table.Scenario, table.Case, row.Name)
			}
			for _, m := range row.Metrics {
				if len(m.Rounds) != 1 {
					t.Errorf("%s, %s, %s: %s was measured %d times, want once a round", table.Scenario, table.Case, row.Name, m.Name, len(m.Rounds))
				}
			}
			verdicts[table.Scenario] += len(row.Verdicts)
		}
		if !strings.Contains(stdout.String(), table.Scenario+": "+table.Case+"\n") {
			t.Errorf("the table does not show %s, %s", table.Scenario, table.Case)
		}
	}
	for _, s := range scenario.All {
		if verdicts[s.Title()] == 0 && s.Name != "fleet" { // which has no goal: where it bends is to be stated
			t.Errorf("no goal of scenario %s was judged", s.Title())
		}
	}
	charts, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"idle-", "load-commits-", "load-latency-", "load-64-", "abort", "waiters-", "fleet-", "growth-"} {
		found := false
		for _, name := range charts {
			found = found || strings.HasPrefix(filepath.Base(name), want)
		}
		if !found {
			t.Errorf("there is no chart %s*.svg, only %v", want, charts)
		}
	}
}

func TestTheCommandLine(t *testing.T) {
	for args, want := range map[string]string{
		"-scenario 9":       "no scenario is named",
		"-rounds -1":        "cannot be negative",
		"extra":             "unexpected argument",
		"-no-such-flag":     "not defined",
		"-scenario idle,,2": "no scenario is named",
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", args, err, want)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-list"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1 idle", "7 growth", "pgbarrier", "River tuned", "v0.51.1", "v4.0.0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("-list does not tell of %s", want)
		}
	}
}

// An interrupted run still tells what it measured, and leaves nothing behind.
func TestAnInterruptedRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := run(ctx, []string{"-quick", "-scenario", "1"}, &out, io.Discard); err == nil {
		t.Error("it succeeded")
	}
	if !strings.Contains(out.String(), "the run did not finish") {
		t.Errorf("it says %s", out.String())
	}
}
