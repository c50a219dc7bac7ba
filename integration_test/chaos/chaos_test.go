package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestChaosForAFewSeconds meets each kind of fault about once, however long that takes. CHAOS_SEED chooses
// another seed than 1.
func TestChaosForAFewSeconds(t *testing.T) {
	o := defaultOptions()
	o.duration, o.barriers, o.faults = 8*time.Second, 500, int64(len(faults))
	o.pause, o.retention = 250*time.Millisecond, 3*time.Second
	o.reap = 2 * time.Second  // only a longer run can wait until listeners find out by themselves
	o.bound = 5 * time.Minute // no machine is so busy
	o.producers, o.workers, o.progress = 4, 1000, time.Second
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		o.seed = seed
	}
	var out strings.Builder
	s, err := run(t.Context(), o, &out)
	if err != nil {
		t.Fatal(err)
	}
	s.print(&out)
	t.Log(out.String())
	if !s.Passed {
		t.Errorf("%d wrong, %d lost, %d COMMITs failed because of us, with CHAOS_SEED=%d", s.Wrong, s.Lost, s.Refused, o.seed)
	}
	if s.Verified != int(s.Barriers) {
		t.Errorf("%d of %d barriers were compared", s.Verified, s.Barriers)
	}
	// Some come too early or too late to hit anything, or are hit by another.
	if s.Committed == 0 || s.Outcomes["aborted"] == 0 || s.FaultsInjected < len(faults)/2 {
		t.Errorf("too little happened: %d committed, %d aborts, %d faults", s.Committed, s.Outcomes["aborted"], s.FaultsInjected)
	}
}
