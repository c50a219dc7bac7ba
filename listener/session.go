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

// settled: what a new session hears earlier may have come with the answer to LISTEN, through a pooler that
// will deliver nothing else.
const settled = time.Second

// A session is what is known of one LISTEN connection.
type session struct {
	end   func() // makes its loop give it up; may be called from anywhere
	close func() // returns when nothing is left of it

	connected time.Time
	missing   int       // channels that it does not listen on yet
	listens   time.Time // since when it listens on all; zero: not yet
	proved    time.Time // when it was first heard; zero: not yet
	heardAt   time.Time // last
	nextProbe time.Time // when it has to be probed if nothing is heard until then
	probedAt  time.Time // when a probe was sent that has not been heard; zero: none
	payload   string    // of the last probe
	excuse    string    // why it could not be probed the last time
	reason    error     // why it is ended; nil: it is not
}

// next returns until when the session need not be cared for; zero: there is nothing to be done. Then it has to
// be probed, or replaced if there is a reason: it must be heard within half a heartbeat of a probe.
func (s *session) next(heartbeat time.Duration) (at time.Time, reason error) {
	switch {
	case s == nil || s.reason != nil:
		return time.Time{}, nil
	case s.listens.IsZero():
		return s.connected.Add(queryTimeout), errNoListen
	case s.probedAt.IsZero():
		return s.nextProbe, nil
	case s.proved.IsZero():
		return s.probedAt.Add(heartbeat / 2), errDeaf
	}
	return s.probedAt.Add(heartbeat / 2), errSilent // breakage: silent session replaced
}

// hears takes note of a notification, after which no probe is needed until then. It reports whether it is the
// first that proves that the session hears: its own probe, or anything later.
func (s *session) hears(payload string, now, until time.Time) (first bool) {
	first = s.proved.IsZero()
	if first && payload != s.payload && now.Sub(s.listens) < settled { // breakage: LISTEN believed without proof
		return false
	}
	if first {
		s.proved = now
	}
	s.heardAt, s.probedAt, s.nextProbe, s.excuse = now, time.Time{}, until, ""
	return first
}

// replace ends the session.
func (s *session) replace(reason error) {
	if s.reason == nil {
		s.reason = reason
		s.end()
	}
}
