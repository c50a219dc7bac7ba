package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier/listener"
)

// A Sample is what the process uses while every wait is open. Bytes.
type Sample struct {
	At          time.Duration
	Waiting     int // waits
	Goroutines  int
	Heap, Stack uint64
	Total       uint64 // obtained from the operating system
}

func measure(l *listener.Listener) Sample {
	runtime.GC()
	runtime.GC() // what the first found to be finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Sample{
		Waiting:    l.Stats().Waiting,
		Goroutines: runtime.NumGoroutine(),
		Heap:       m.HeapAlloc,
		Stack:      m.StackInuse,
		Total:      m.Sys - m.HeapReleased,
	}
}

func perWait(after, before uint64, waits int) int { return int(int64(after-before) / int64(waits)) }

// Report is what a soak has found.
type Report struct {
	HeapPerWait                   int // bytes of a subscription
	HeapPerWaiter, StackPerWaiter int // bytes of a goroutine in Wait, for a token that is waited for already
	Samples                       []Sample

	mu     sync.Mutex
	Counts Counts
}

func (r *Report) count(c Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Counts.Committed += c.Committed
	r.Counts.Aborted += c.Aborted
	r.Counts.Cancelled += c.Cancelled
	r.Counts.Wrong += c.Wrong
}

func (r *Report) header(out io.Writer) {
	fmt.Fprintf(out, "%8s %9s %11s %10s %10s %10s %12s\n", "seconds", "waits", "goroutines", "heap MB", "stack MB", "total MB", "ended")
}

func (r *Report) add(out io.Writer, s Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Samples = append(r.Samples, s)
	fmt.Fprintf(out, "%8.1f %9d %11d %10.1f %10.1f %10.1f %12d\n", s.At.Seconds(), s.Waiting, s.Goroutines,
		mb(s.Heap), mb(s.Stack), mb(s.Total), r.Counts.total())
}

func (c Counts) total() int { return c.Committed + c.Aborted + c.Cancelled }

func (r *Report) ended() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Counts.total()
}

func mb(bytes uint64) float64 { return float64(bytes) / 1e6 }

func (r *Report) print(out io.Writer) {
	fmt.Fprintf(out, "\na wait takes %d bytes of heap; a goroutine in Wait %d of heap and %d of stack\n", r.HeapPerWait, r.HeapPerWaiter, r.StackPerWaiter)
	fmt.Fprintf(out, "ended: %d committed, %d aborted, %d cancelled, %d wrong\n", r.Counts.Committed, r.Counts.Aborted, r.Counts.Cancelled, r.Counts.Wrong)
	for _, u := range usages {
		first, last := r.floors(u.of)
		fmt.Fprintf(out, "%s: at least %.0f in the first third, %.0f in the last (%+.1f %%)\n", u.name, first, last, 100*(last/first-1))
	}
}

var usages = []struct {
	name string
	of   func(Sample) float64
}{
	{"goroutines", func(s Sample) float64 { return float64(s.Goroutines) }},
	{"heap and stack", func(s Sample) float64 { return float64(s.Heap + s.Stack) }},
}

// floors returns the least of the first third of the samples and of the last.
// What leaks stays, so it raises the floor; what is above the floor is work that was in flight.
func (r *Report) floors(of func(Sample) float64) (first, last float64) {
	n := max(len(r.Samples)/3, 1)
	first, last = math.Inf(1), math.Inf(1)
	for i := range n {
		first = min(first, of(r.Samples[i]))
		last = min(last, of(r.Samples[len(r.Samples)-1-i]))
	}
	return first, last
}

// verdict is an error if something grew by more than the share, or if too little was seen to tell.
func (r *Report) verdict(maxGrowth float64) error {
	if len(r.Samples) < minSamples || r.Counts.Committed == 0 || r.Counts.Aborted == 0 || r.Counts.Cancelled == 0 {
		return fmt.Errorf("too short to tell: %d samples, %+v", len(r.Samples), r.Counts)
	}
	var grown []error
	for _, u := range usages {
		if first, last := r.floors(u.of); last > first*(1+maxGrowth) {
			grown = append(grown, fmt.Errorf("%s grew from %.0f to %.0f, by more than %.0f %%", u.name, first, last, 100*maxGrowth))
		}
	}
	return errors.Join(grown...)
}
