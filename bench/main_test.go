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
	err := run(t.Context(), []string{"-quick", "-duration", "20ms", "-json", file, "-charts", dir}, &stdout, t.Output())
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
	for _, s := range scenario.All {
		table := r.Find(s.Name)
		if table == nil {
			t.Errorf("there is no table of %s", s.Name)
			continue
		}
		for _, row := range table.Rows {
			if len(row.Metrics) == 0 {
				t.Errorf("%s: nothing was measured for %s", s.Name, row.Name)
			}
			for _, m := range row.Metrics {
				if len(m.Rounds) != 1 {
					t.Errorf("%s, %s: %s was measured %d times, want once a round", s.Name, row.Name, m.Name, len(m.Rounds))
				}
			}
		}
		if !strings.Contains(stdout.String(), s.Name+": "+table.About+"\n") {
			t.Errorf("the table does not show %s", s.Name)
		}
	}
	if len(r.Verdicts) != len(scenario.Goals) {
		t.Errorf("%d verdicts on %d goals", len(r.Verdicts), len(scenario.Goals))
	}
	for _, v := range r.Verdicts {
		if v.Unknown && !strings.Contains(v.Goal, "CPU") { // /proc is not everywhere
			t.Errorf("nothing was measured for a goal: %s", v)
		}
	}
	for _, name := range []string{"idle.svg", "load-latency.svg", "abort.svg", "fleet-commits.svg", "asynq-tasks.svg", "jetstream-latency.svg"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestTheCommandLine(t *testing.T) {
	for args, want := range map[string]string{
		"-scenario growth":     "no scenario is named",
		"-rounds -1":           "cannot be negative",
		"extra":                "unexpected argument",
		"-no-such-flag":        "not defined",
		"-scenario idle,,load": "no scenario is named",
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", args, err, want)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-list"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"idle", "waits", "pgbarrier", "River tuned", "v0.51.2", "v4.1.2", "gue"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("-list does not show %s", want)
		}
	}
}

// An interrupted run still tells what it measured, and leaves nothing behind.
func TestAnInterruptedRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := run(ctx, []string{"-quick", "-scenario", "idle"}, &out, io.Discard); err == nil {
		t.Error("it succeeded")
	}
	if !strings.Contains(out.String(), "the run did not finish") {
		t.Errorf("it says %s", out.String())
	}
}
