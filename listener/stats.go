package listener

import (
	"cmp"
	"sync"
)

// Stats is a moment's view of a listener. Counters count since [New].
type Stats struct {
	Waiting   int   // waits that have not ended
	Pending   int   // barriers that they wait for
	Connected bool  // whether the LISTEN connection is up and hears; false with Config.PollOnly
	LastErr   error // why Run returned, the LISTEN connection was last lost, or the last check failed; nil when all is well again

	Connections   uint64 // LISTEN connections that were up
	Announcements uint64 // heard
	Malformed     uint64 // notifications on the channel that were not announcements
	Checks        uint64 // also the failed
	FailedChecks  uint64

	// Barriers by what ended their waits.
	ResolvedByAnnouncement, ResolvedByCheck, ResolvedByMemory uint64
}

// status is what Stats says of the connections.
type status struct {
	mu                         sync.Mutex
	up                         bool
	connections, checks, fails uint64
	checkErr, listenErr        error
	runErr                     error // why Run returned, if not because of its context
}

func (s *status) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *status) connected() {
	s.change(func() { s.up, s.listenErr, s.connections = true, nil, s.connections+1 })
}

func (s *status) disconnected(err error) { s.change(func() { s.up, s.listenErr = false, err }) }

// stopped is told why Run returned; nil: because its context ended.
func (s *status) stopped(err error) { s.change(func() { s.up, s.runErr = false, err }) }

func (s *status) checked(err error) {
	s.change(func() {
		if s.checks, s.checkErr = s.checks+1, err; err != nil {
			s.fails++
		}
	})
}

// Stats returns the current numbers.
func (l *Listener) Stats() Stats {
	l.waits.mu.Lock()
	stats := Stats{
		Waiting:                l.waits.waiting,
		Pending:                len(l.waits.pending),
		Announcements:          l.waits.counts.announcements,
		Malformed:              l.waits.counts.malformed,
		ResolvedByAnnouncement: l.waits.counts.byAnnouncement,
		ResolvedByCheck:        l.waits.counts.byCheck,
		ResolvedByMemory:       l.waits.counts.byMemory,
	}
	l.waits.mu.Unlock()

	l.status.mu.Lock()
	defer l.status.mu.Unlock()
	stats.Connected = l.status.up
	stats.LastErr = cmp.Or(l.status.runErr, l.status.listenErr, l.status.checkErr)
	stats.Connections = l.status.connections
	stats.Checks, stats.FailedChecks = l.status.checks, l.status.fails
	return stats
}
