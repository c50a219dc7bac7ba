package listener

import "cmp"

// Stats is a moment's view of a listener. Counters count since [New].
type Stats struct {
	Waiting       int    // waits that have not ended
	Pending       int    // barriers that they wait for
	Connected     bool   // whether the LISTEN connection is up and hears; false with Config.PollOnly
	LastErr       error  // why Run returned, the LISTEN connection was last lost, or the last check failed; nil when all is well again
	Connections   uint64 // LISTEN connections that were up
	Announcements uint64 // heard
	Malformed     uint64 // notifications on the channel that were not announcements
	Checks        uint64 // also the failed
	FailedChecks  uint64
	// Barriers by what ended their waits.
	ResolvedByAnnouncement, ResolvedByCheck, ResolvedByMemory uint64
}

// stats is what a waitSet counts, and is told of the connections.
type stats struct {
	Stats
	checkErr, listenErr error
	runErr              error // why Run returned, if not because of its context
}

// note changes the stats.
func (s *waitSet) note(f func(*stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

// Stats returns the current numbers.
func (l *Listener) Stats() Stats {
	l.waits.mu.Lock()
	defer l.waits.mu.Unlock()
	s := l.waits.stats
	s.Pending = len(l.waits.pending)
	s.LastErr = cmp.Or(s.runErr, s.listenErr, s.checkErr)
	return s.Stats
}
