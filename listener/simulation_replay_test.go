package listener

import "testing"

// A seed decides everything: two runs decide and observe the same, at the same times.
func TestASimulationIsReplayedByItsSeed(t *testing.T) {
	for seed := uint64(1); seed <= 50; seed++ {
		a, b := simulate(t, seed, true), simulate(t, seed, true)
		if a.digest == b.digest {
			continue
		}
		for i := range min(len(a.trace), len(b.trace)) {
			if a.trace[i] != b.trace[i] {
				t.Fatalf("seed %d, line %d of %d and %d:\n%s\n%s", seed, i, len(a.trace), len(b.trace), a.trace[i], b.trace[i])
			}
		}
		t.Fatalf("seed %d: %d and %d lines", seed, len(a.trace), len(b.trace))
	}
}
