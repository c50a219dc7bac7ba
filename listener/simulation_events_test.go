package listener

import (
	"container/heap"
	"fmt"
	"time"
)

type simEvent struct {
	at     time.Time
	number int // earlier first at the same time
	name   string
	do     func()
}

type simEvents []simEvent

func (e simEvents) Len() int      { return len(e) }
func (e simEvents) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e simEvents) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].number < e[j].number
}
func (e *simEvents) Push(x any) { *e = append(*e, x.(simEvent)) }
func (e *simEvents) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (s *simulation) after(d time.Duration, name string, do func()) {
	s.numbered++
	heap.Push(&s.events, simEvent{time.Now().Add(d), s.numbered, name, do})
}

func (s *simulation) chance(p float64) bool { return s.rng.Float64() < p }

// within returns a random time below d. Nanoseconds, so that no two things coincide.
func (s *simulation) within(d time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(d)))
}

// log notes what was decided or observed. Two runs of a seed have the same digest.
func (s *simulation) log(what string, numbers ...uint64) {
	at := time.Since(s.begun)
	s.mix(uint64(at))
	for i := range len(what) {
		s.mix(uint64(what[i]))
	}
	for _, n := range numbers {
		s.mix(n)
	}
	if s.verbose {
		s.trace = append(s.trace, fmt.Sprintf("%14v  %s %v", at, what, numbers))
	}
}

// mix is a step of FNV-1a.
func (s *simulation) mix(n uint64) { s.digest = (s.digest ^ n) * 1099511628211 }

func (s *simulation) fail(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
		s.log("FAILED: " + s.failure)
	}
}
