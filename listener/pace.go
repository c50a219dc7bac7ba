package listener

import (
	"math"
	"time"
)

const (
	// ageShare: what has been pending for an age is asked for again after this share of it, so that a wait
	// which only a check can end is late by that, and costs checks that grow with the logarithm of its length.
	ageShare = 32
	// riderShare is the same for the time since an announcement: a rider may become visible just after it.
	riderShare = 4
	// sessionsPerMilli: with every so many sessions on the server the least pause grows by a millisecond, so
	// that all listeners together cost a bounded share of it.
	sessionsPerMilli = 16
)

// pace decides when the next check is due, by what is pending and how the last checks went alone.
type pace struct {
	minDelay, maxDelay time.Duration
}

// A past is what pace needs to know of the checks so far.
type past struct {
	started, ended time.Time // of the last check; zero before the first
	failures       int       // checks that failed in a row
	sessions       int       // on the server; 0: not known
}

// due returns when the next check may start, and the zero time if none is needed.
func (p pace) due(d demand, last past) time.Time {
	least := p.least(last.sessions)
	switch {
	case !d.wanted:
		return time.Time{}
	case last.failures > 0: // breakage: failures
		// Not sooner for anything: the database is out, and hammering it would not bring it back.
		return last.ended.Add(p.afterFailures(last.failures))
	case d.unasked && !d.left:
		return last.ended // at once: a worker that takes one message at a time would wait for nothing
	case d.unasked, d.heardAt.After(last.started):
		return last.ended.Add(least) // breakage: least pause
	default:
		delay := min(last.ended.Sub(d.youngest)/ageShare, last.ended.Sub(d.heardAt)/riderShare)
		return last.ended.Add(min(max(delay, least), p.maxDelay))
	}
}

// least is the least pause between two checks while something is pending.
func (p pace) least(sessions int) time.Duration {
	return min(max(p.minDelay, time.Duration(sessions)*time.Millisecond/sessionsPerMilli), p.maxDelay)
}

// afterFailures is the pause after so many failures in a row: it doubles with each.
func (p pace) afterFailures(n int) time.Duration {
	return time.Duration(min(math.Ldexp(float64(p.minDelay), n-1), float64(p.maxDelay)))
}
