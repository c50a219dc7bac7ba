package integration_test

import (
	"fmt"
	"strings"
	"testing"
)

// A simulated breakage is one that the listener's simulation has to notice: it fails with the words, within
// so many schedules. Zero: it is known not to notice, and why.
type simulatedBreakage struct {
	what, file, at, from, to string
	words                    string
	within                   int
}

var simulatedBreakages = []simulatedBreakage{
	{"a wait is not registered for the next check", "waits.go", "fresh", "", "", "no lost wait", 500},
	{"no recheck after a reconnect", "receiver.go", "listens", "", "", "no lost wait", 20000},
	{"no recheck after a loss", "receiver.go", "lost", "", "", "", 20000},
	{"a failed check forgets what it asked for", "checker.go", "a check failed", "", "", "no lost wait", 20000},
	{"an announcement wakes no check", "outcomes.go", "riders", "> 0", "< 0", "no lost wait", 20000},
	{"an outcome ends one of its waits only", "outcomes.go", "outcome ends all waits for it",
		"for b.waits.first != nil", "if b.waits.first != nil", "no lost wait", 500},
	{"several statements add up", "outcomes.go", "several by one statement",
		"sub.foundBy != statement", "sub.foundBy == statement && false", "memory", 100000},
	{"any announcement ends all waits", "outcomes.go", "announcement ends only its own token",
		"s.resolve(t, nil, ByAnnouncement, 0, &n)", "for t := range s.pending { s.resolve(t, nil, ByAnnouncement, 0, &n) }", "outcome", 500},
	{"pending ends waits", "outcomes.go", "pending stays",
		"if outcome == wire.Pending", "if outcome > wire.Invalid", "outcome", 500},
	{"failures do not slow checks down", "pace.go", "failures", "> 0", "> 1000", "rate", 500},
	{"checks follow each other without a pause", "pace.go", "least pause", "Add(least)", "Add(least - least)", "rate", 500},
	{"every check asks for everything", "asking.go", "few", "<= few", ">= 0", "size", 5000},
	{"a canceled wait leaves its barrier", "waits.go", "nothing left", "== 0", "< 0", "", 500},
}

// Like TestABreakageOfEachPromiseIsNoticed, for the simulation of the listener in fake time.
func TestTheSimulationNoticesBreakages(t *testing.T) {
	for _, s := range simulatedBreakages {
		b := breakage{s.what, "listener/" + s.file, s.at, s.from, s.to, "TestSimulation"}
		b.broken(t)
		if s.within == 0 || !b.isTried() {
			continue
		}
		out, noticed := b.run(t, "../listener", "-v", "-sim.seed", "1", "-sim.schedules", fmt.Sprint(s.within))
		if !noticed || s.words != "" && !strings.Contains(out, " "+s.words+": ") {
			t.Errorf("%s: %s", s.what, out)
		}
		for line := range strings.Lines(out) {
			if s.words != "" && strings.Contains(line, s.words+": ") || strings.Contains(line, " schedules (") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}
