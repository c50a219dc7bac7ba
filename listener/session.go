package listener

import (
	"errors"
	"math/rand/v2"
	"time"
)

var (
	// errNoListen: LISTEN was not answered.
	errNoListen = errors.New("LISTEN was not answered in time")
	// errDeaf: LISTEN was accepted, the connection works, and nothing is heard.
	errDeaf = errors.New("the LISTEN connection does not hear what is sent to it: it may go through a pooler " +
		"in transaction mode or to another database; set Config.ListenConnString to a direct connection")
	// errSilent: a session that did hear hears nothing any more.
	errSilent = errors.New("the LISTEN connection went silent")
	// errNoProbe: nothing could be sent to a session, which says nothing about it.
	errNoProbe = errors.New("cannot send a notification to the LISTEN connection")
	// errGivenBack: the check connection had no room.
	errGivenBack = errors.New("the LISTEN connection was given back: the server has no room for it and for checks")
)

// settled: what a session hears earlier may have come with the answer to LISTEN, through a pooler that will
// deliver nothing else.
const settled = time.Second

// A session is what is known of one LISTEN connection.
type session struct {
	end func() // makes the loop that has it give it up; may be called from anywhere

	connected time.Time
	listens   time.Time // since when it listens; zero: not yet
	proved    time.Time // when it was first heard; zero: not yet
	heardAt   time.Time // last
	probedAt  time.Time // when a probe was sent that has not been heard; zero: none
	nextProbe time.Time // when it has to be probed if nothing is heard until then
	interval  time.Duration
	payload   string // of the last probe
	reason    error  // why it is ended; nil: it is not
}

// A step is what has to be done about a session.
type step uint8

const (
	stepNone    step = iota
	stepProbe        // send a probe
	stepReplace      // end it
)

// next returns what has to be done, when, and for what reason a session is replaced. It is a pure
// function of what is known: a session is ended if it cannot be heard within half a heartbeat of a probe.
func (s *session) next(heartbeat time.Duration) (do step, at time.Time, reason error) {
	switch {
	case s.reason != nil:
		return stepNone, time.Time{}, nil
	case s.listens.IsZero():
		return stepReplace, s.connected.Add(queryTimeout), errNoListen
	case s.probedAt.IsZero():
		return stepProbe, s.nextProbe, nil
	case s.proved.IsZero():
		return stepReplace, s.probedAt.Add(heartbeat / 2), errDeaf
	default:
		return stepReplace, s.probedAt.Add(heartbeat / 2), errSilent // breakage: silent session replaced
	}
}

// hears takes note of a notification, and reports whether it is the first that proves that the session
// hears: the probe that was sent to it, or whatever comes later.
func (s *session) hears(probed bool, payload string, now time.Time) (proved bool) {
	first := s.proved.IsZero()
	if first && !(probed && payload == s.payload) && now.Sub(s.listens) < settled {
		return false
	}
	if first {
		s.proved = now
	}
	s.heardAt, s.probedAt, s.nextProbe = now, time.Time{}, now.Add(s.interval)
	return first
}

// draw draws after what silence the session is probed. Every probe is heard by all sessions of the
// database, so that the first to be impatient spares the others theirs.
func (s *session) draw(heartbeat time.Duration, random func(time.Duration) time.Duration) {
	s.interval = heartbeat*3/4 + random(max(heartbeat/4, 1))
}

// jitter returns a random pause: processes that lost the same server do not return to it at once.
func jitter(mean time.Duration, random func(time.Duration) time.Duration) time.Duration {
	return mean/2 + random(mean)
}

func random(n time.Duration) time.Duration { return rand.N(n) }
