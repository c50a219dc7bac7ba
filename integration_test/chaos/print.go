package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
)

// tellProgress prints a line now and then until ctx ends.
func (c *chaos) tellProgress(ctx context.Context) {
	if c.opts.progress <= 0 {
		return
	}
	made, at := int64(0), c.now()
	for sleep(ctx, c.opts.progress) {
		now, total := c.now(), c.ledger.made.Load()
		state := "up"
		if _, up := c.outages.back(); !up {
			state = "DOWN"
		}
		c.verdict.mu.Lock()
		found := c.verdict.found
		c.verdict.mu.Unlock()
		c.out.Printf("%s  %6.0f barriers/s  %9d barriers  %5d waits open  %4d faults  server %-4s  %d wrong  %d lost  %d refused\n",
			clock(now)[:5], float64(total-made)/(now-at).Seconds(), total, len(c.ledger.openWaits()), c.faultsInjected(), state,
			found[wrong], found[lost], found[refused])
		made, at = total, now
	}
}

// print writes the summary for people.
func (s *summary) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(format string, args ...any) { fmt.Fprintf(t, format+"\t\n", args...) }
	row("\nbarriers\t%d\t%.0f/s in %.0f s", s.Barriers, s.BarriersPerSecond, s.Seconds)
	row("compared with the rows\t%d\t%d committed", s.Verified, s.Committed)

	row("\ntransactions\t")
	for _, e := range endings {
		row("%s\t%d", e.name, s.Transactions[e.name])
	}
	row("broken by a fault before that\t%d", s.Broken)
	for _, t := range timeoutKinds {
		row("with a %s\t%d", t.name, s.Timeouts[t.name])
	}
	row("COMMITs that failed because of us\t%d\t%d waited for a NOTIFY", s.Refused, s.Delayed)

	row("\noutcomes\t")
	for _, name := range []string{"committed", "aborted", "expired", "wrong database", "invalid"} {
		row("%s\t%d", name, s.Outcomes[name])
	}
	row("waits canceled\t%d", s.Canceled)
	row("messages delivered again\t%d", s.Redelivered)
	row("waits ended by their listener's stop, and waited again\t%d", s.ClosedWaits)
	row("committed, and read at once\t%d", s.Reads)
	row("asynchronous commits that a crash took back\t%d\tallowed", s.AsyncTakenBack)
	row("outcomes that told of one before that crash\t%d\tallowed", s.CommittedThenTaken)

	row("\nfaults\t")
	for _, f := range faults {
		row("%s\t%d", f.name, s.Faults[f.name])
	}
	row("all faults\t%d\tserver down %.0f s", s.FaultsInjected, s.DownSeconds)
	_ = t.Flush() // w is a terminal or a test's log

	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row("\nms from\tCOMMIT\t\t\tROLLBACK\t\t\tlongest\tended by\t\t")
	row("listener\tp50\tp99\tmax\tp50\tp99\tmax\tafter a fault\tannouncement\tcheck\tmemory")
	for _, l := range s.Listeners {
		row("%s\t%.1f\t%.1f\t%.0f\t%.1f\t%.1f\t%.0f\t%.1f s\t%d\t%d\t%d", l.Name, l.Commits.P50, l.Commits.P99, l.Commits.Max,
			l.Aborts.P50, l.Aborts.P99, l.Aborts.Max, l.LongestS,
			l.Stats.ResolvedByAnnouncement, l.Stats.ResolvedByCheck, l.Stats.ResolvedByMemory)
	}
	_ = t.Flush()

	fmt.Fprintf(w, "\nlongest wait after its transaction ended and all was back: %.1f s, %.0f s are allowed\n", s.LongestSeconds, s.BoundSeconds)
	if !s.Passed {
		fmt.Fprintf(w, "FAILED with seed %d on PostgreSQL %d: %d wrong, %d lost, %d COMMITs failed because of us\n",
			s.Seed, s.PostgreSQL, s.Wrong, s.Lost, s.Refused)
		return
	}
	fmt.Fprintf(w, "%d barriers, %d faults: 0 wrong, 0 lost, 0 COMMITs failed because of us\n", s.Barriers, s.FaultsInjected)
}
