package listener

import (
	"container/heap"
	"fmt"
	"hash/maphash"
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
	s.digest = maphash.Comparable(digestSeed, digest{s.digest, what, time.Since(s.begun)})
	for _, n := range numbers {
		s.digest = s.digest*1_000_003 + n
	}
	if s.verbose {
		s.trace = append(s.trace, fmt.Sprintf("%14v  %s %v", time.Since(s.begun), what, numbers))
	}
}

type digest struct {
	before uint64
	what   string
	at     time.Duration
}

var digestSeed = maphash.MakeSeed()

func (s *simulation) fail(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
		s.log("FAILED: " + s.failure)
	}
}
