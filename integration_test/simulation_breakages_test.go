package integration_test

import (
	"fmt"
	"strings"
	"testing"
)

// A simulated breakage is one that the listener's simulation has to notice: it fails with the words, within
// so many schedules. Zero: it is known not to notice, and why.
type simulatedBreakage struct {
	what, file, from, to string
	words                string
	within               int
}

var simulatedBreakages = []simulatedBreakage{
	{"a wait is not registered for the next check", "waits.go",
		"s.fresh.push(&b.place)", "", "no lost wait", 100},
	{"no recheck after a reconnect", "receiver.go",
		"r.waits.hearing(true)\n	r.waits.recheck()", "r.waits.hearing(true)", "no lost wait", 2000},
	{"no recheck after a loss", "receiver.go",
		"			r.waits.recheck()\n			if time.Since", "			if time.Since", "no lost wait", 2000},
	{"a failed check forgets what it asked for", "checker.go",
		"		c.waits.recheck()\n		return", "		return", "no lost wait", 50000},
	{"an announcement wakes no check", "outcomes.go",
		"riders := len(s.pending) > 0", "riders := len(s.pending) < 0", "no lost wait", 2000},
	{"the oldest of a transaction sets the pace", "asking.go",
		"if b.since.After(tx.newest) {", "if tx.newest.IsZero() || b.since.Before(tx.newest) {", "no lost wait", 5000},
	{"an outcome ends one of its waits only", "outcomes.go",
		"	s.remove(b)\n	for b.waits.first != nil {", "	s.remove(b)\n	if b.waits.first != nil {", "no lost wait", 100},
	{"outcomes are never forgotten", "asking.go",
		"	s.recent.forget()\n", "", "memory", 5000},
	{"a lost query connection forgets nothing", "simulation_server_test.go",
		"if r.lost {", "if r.lost && r.err == errStopped {", "memory", 400000},
	{"commits of two epochs are added up", "outcomes.go",
		"case sub.epoch != epoch:", "case sub.epoch > epoch:", "memory", 100000},
	{"any announcement ends all waits", "outcomes.go",
		"	reports := s.resolve(t, nil, ByAnnouncement, nil)", "	var reports []Resolved\n	for p := range s.pending {\n		reports = s.resolve(p, nil, ByAnnouncement, reports)\n	}", "outcome", 100},
	{"failures do not slow checks down", "pace.go",
		"case failures > 0:", "case failures > 1000:", "rate", 100},
	{"every check asks for everything", "asking.go",
		"all := s.checkAll || len(s.pending) <= few && !enough", "all := s.checkAll || len(s.pending) >= 0", "size", 1000},
	{"a canceled wait leaves its barrier", "waits.go",
		"if seat.barrier != nil && seat.barrier.waits.size == 0 {", "if seat.barrier != nil && seat.barrier.waits.size < 0 {", "size", 100},
	{"a watch's answer is used though in doubt", "outcomes.go",
		"if by == ByWatch && s.asked.watch != s.epoch {", "if by == ByWatch && s.asked.watch == 0 {", "memory", 400000},
	{"a watch's answers are ignored", "watcher.go",
		"useful := w.waits.judged(tokens, judgement.Statuses, ByWatch) > 0", "useful := len(judgement.Statuses) < 0", "at once", 1000},
	{"an end that the watch saw makes no check due", "asking.go",
		"	s.seenEnded = true\n", "", "no lost wait", 5000},
	{"a watch counts as at work for an hour", "watcher.go",
		"begun.Add(maxPatience + watchedDelay)", "begun.Add(time.Hour)", "no lost wait", 300000},
	{"watches follow each other without a pause", "watcher.go",
		"w.rest.sleep(ctx, w.pace.minDelay-took)", "w.rest.sleep(ctx, took-took)", "rate", 1000},
	{"failures do not slow the watch down", "watcher.go",
		"delay := w.pace.afterFailures(w.failures)", "delay := w.pace.afterFailures(1)", "rate", 1000},
	// Not in 400,000 schedules: too much has to happen in the second for which a commit is remembered. Tests on
	// real servers notice the first.
	{"what a check learns when tried again counts for the time before the loss", "asking.go",
		"	s.recheck()\n	s.asking()\n", "	s.recheck()\n", "", 0},
	{"a check's commits count for the time of its answer", "outcomes.go",
		"epoch = s.asked.check", "epoch = s.epoch", "", 0},
	// The outcome of an xid at xmax or above is decided by a crash only, and after one everything is asked for.
	{"a transaction above the snapshot counts as running", "asking.go",
		"if !snapshot.Running(tx.xid) {", "if snapshot.Ended(tx.xid) {", "", 0},
	// One check, and 55 ms, which are allowed.
	{"checks rely on a watch that has ended", "asking.go",
		"time.Now().Before(s.watched)", "!s.watched.IsZero()", "", 0},
	{"a failed watch counts as at work", "watcher.go",
		"			w.waits.watchedUntil(time.Time{})\n", "", "", 0},
}

// Like TestABreakageOfEachPromiseIsNoticed, for the simulation of the listener in fake time.
func TestTheSimulationNoticesBreakages(t *testing.T) {
	for _, s := range simulatedBreakages {
		b := breakage{s.what, "listener/" + s.file, s.from, s.to, "TestSimulation"}
		b.broken(t)
		if s.within == 0 || !b.isTried() {
			continue
		}
		out, noticed := b.run(t, "../listener", "-v", "-sim.seed", "1", "-sim.schedules", fmt.Sprint(s.within))
		if !noticed || !strings.Contains(out, " "+s.words+": ") {
			t.Errorf("%s: %s", s.what, out)
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, s.words+": ") || strings.Contains(line, " schedules (") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}
