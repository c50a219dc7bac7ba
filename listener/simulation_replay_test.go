package listener

import "testing"

// Two runs of a seed observe the same at the same times, whatever the machine is busy with.
func TestASimulationIsReplayedByItsSeed(t *testing.T) {
	for seed := uint64(1); seed <= 200; seed++ {
		a, b := simulate(t, seed, true), simulate(t, seed, true)
		if a.digest == b.digest {
			continue
		}
		t.Errorf("seed %d: %d and %d lines", seed, len(a.trace), len(b.trace))
		for i := range min(len(a.trace), len(b.trace)) {
			if a.trace[i] != b.trace[i] {
				t.Logf("line %d:\n%s\n%s", i, a.trace[i], b.trace[i])
				break
			}
		}
	}
}
