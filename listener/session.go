package listener

import (
	"errors"
	"time"
)

// Why a LISTEN connection is replaced.
var (
	errNoListen = errors.New("LISTEN was not answered in time")
	// errDeaf: LISTEN was accepted, the connection works, and nothing was ever heard.
	errDeaf = errors.New("the LISTEN connection does not hear what is sent to it: it may go through a pooler " +
		"in transaction mode or to another database; set Config.ListenConnString to a direct connection")
	errSilent    = errors.New("the LISTEN connection went silent")
	errNoProbe   = errors.New("cannot send a notification to the LISTEN connection")
	errGivenBack = errors.New("the LISTEN connection was given back: the server has no room for it and for checks")
)

// A session is what is known of one LISTEN connection.
type session struct {
	end   func() // makes its loop give it up; may be called from anywhere
	close func() // returns when nothing is left of it

	missing int       // channels that it does not listen on yet
	proved  time.Time // since when it is known to hear; zero: not yet
	heardAt time.Time // last
	due     time.Time // until when nothing has to be done about it; then it has to be probed,
	overdue error     // or replaced, if this is not nil
	payload string    // of the last probe
	excuse  string    // why it could not be probed the last time
	ended   error     // why it is being replaced; nil: it is not
}

// hears takes note of a notification, after which nothing has to be done until then. It reports whether it is
// the session's own probe, heard for the first time. Nothing else proves anything before that: it may have come
// with the answer to LISTEN, through a pooler that will deliver nothing more.
func (s *session) hears(payload string, now, until time.Time) (first bool) {
	first = s.proved.IsZero()
	if first && payload != s.payload { // breakage: LISTEN believed without proof
		return false
	}
	if first {
		s.proved = now
	}
	s.heardAt, s.due, s.overdue, s.excuse = now, until, nil, ""
	return first
}

// replace ends the session.
func (s *session) replace(reason error) {
	if s.ended == nil {
		s.ended = reason
		s.end()
	}
}
