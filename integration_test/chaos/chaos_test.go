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

// TestChaosForAFewSeconds meets each kind of fault about once. CHAOS_SEED chooses another seed than 1.
func TestChaosForAFewSeconds(t *testing.T) {
	o := defaultOptions()
	o.duration, o.pause, o.retention = 8*time.Second, 250*time.Millisecond, 3*time.Second
	o.reap = 2 * time.Second // only a longer run can wait until listeners find out by themselves
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
		t.Errorf("%d wrong, %d lost, with CHAOS_SEED=%d", s.Wrong, s.Lost, o.seed)
	}
	if s.Verified != int(s.Barriers) {
		t.Errorf("%d of %d barriers were compared", s.Verified, s.Barriers)
	}
	if s.Barriers < 200 || s.Committed == 0 || s.Outcomes["aborted"] == 0 || s.FaultsInjected < 5 {
		t.Errorf("too little happened: %d barriers, %d committed, %d aborts, %d faults",
			s.Barriers, s.Committed, s.Outcomes["aborted"], s.FaultsInjected)
	}
}
