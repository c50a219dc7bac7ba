package listener

import "testing"

// A seed decides everything but the order in which goroutines that the runtime wakes at the same
// instant take their turn. That seldom shows: about one schedule in a thousand on a busy machine. So
// two runs observe the same at the same times, in all but a few of many schedules.
func TestASimulationIsReplayedByItsSeed(t *testing.T) {
	const schedules, few = 2000, 0
	different := 0
	for seed := uint64(1); seed <= schedules; seed++ {
		a, b := simulate(t, seed, true), simulate(t, seed, true)
		if a.digest == b.digest {
			continue
		}
		different++
		t.Logf("seed %d: %d and %d lines", seed, len(a.trace), len(b.trace))
		for i := range min(len(a.trace), len(b.trace)) {
			if a.trace[i] != b.trace[i] {
				t.Logf("line %d:\n%s\n%s", i, a.trace[i], b.trace[i])
				break
			}
		}
	}
	if different > few {
		t.Errorf("%d of %d schedules were not replayed", different, schedules)
	}
}
