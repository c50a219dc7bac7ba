package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier/devpg"
)

func TestMemoryAndGoroutinesStayFlatUnderChurn(t *testing.T) {
	server := devpg.ForTest(t, devpg.Config{Settings: map[string]string{"fsync": "off"}})
	report, err := Run(t.Context(), Config{URL: server.URL(), Waits: 10_000, Rate: 5_000, Duration: 5 * time.Second, MaxGrowth: 0.25, Out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	// With what is remembered of 8,192 announcements, which is spread over few waits here.
	if report.HeapPerWait > 1200 {
		t.Errorf("a wait takes %d bytes of heap", report.HeapPerWait)
	}
}

func TestWhatGrowsIsReported(t *testing.T) {
	var r Report
	if err := r.verdict(0.1); err == nil {
		t.Error("no samples are no proof")
	}
	r.Counts = Counts{Committed: 1, Aborted: 1, Cancelled: 1}
	for range 9 {
		r.Samples = append(r.Samples, Sample{Goroutines: 100, Heap: 1000})
	}
	if err := r.verdict(0.1); err != nil {
		t.Error(err)
	}
	for i := range r.Samples {
		r.Samples[i].Goroutines += 2 * i
		r.Samples[i].Heap += uint64(30 * i)
	}
	if err := r.verdict(0.1); err == nil || !strings.Contains(err.Error(), "goroutines grew") || !strings.Contains(err.Error(), "heap and stack grew") {
		t.Errorf("reported: %v", err)
	}
}
