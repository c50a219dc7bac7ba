package main

import "sync"

// spans are stretches of the run in which something was so. The zero spans is ready for use.
type spans struct {
	mu   sync.Mutex
	list []span // guarded by mu
}

type span struct{ from, to moment } // to is zero while it lasts

// begin begins a span and returns what ends it.
func (s *spans) begin(now moment) (end func(now moment)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.list)
	s.list = append(s.list, span{from: now})
	return func(now moment) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.list[n].to = now
	}
}

// overlap reports whether one of them was at any time from a to b.
func (s *spans) overlap(a, b moment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.list {
		if x.from <= b && (x.to == 0 || x.to >= a) {
			return true
		}
	}
	return false
}
