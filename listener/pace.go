package listener

import "time"

// pace decides when the next check is due. It is a pure function of what is pending and of how
// the last check went.
type pace struct {
	minDelay, maxDelay time.Duration
}

// ageShare: what has been pending for an age is asked for again after a quarter of it, so that a
// wait which only a check can end (an abort, a commit that nobody announced) is late by a quarter of
// its length at most, and costs a number of checks that grows with the logarithm of its length.
const ageShare = 4

// watchedDelay is the least pause between two checks for the same while a watch is at work.
const watchedDelay = 5 * time.Millisecond

// due returns when the next check may start, and the zero time if none is needed. started and ended are
// the times of the last check, zero before the first; failures counts the checks that failed in a row.
func (p pace) due(d demand, started, ended time.Time, failures int) time.Time {
	watched := d.watched.After(ended)
	switch {
	case d.pending == 0:
		return time.Time{}
	case failures > 0:
		// Not sooner for anything: the database is out, and hammering it would not bring it back.
		return ended.Add(p.afterFailures(failures))
	case d.unasked, !watched && d.heardAt.After(started):
		// At once, but leave the database a pause between two checks.
		return ended.Add(p.minDelay)
	case watched:
		// The watch sees what has been announced, and sees ends sooner. Only what it has not begun to
		// watch yet needs this.
		return ended.Add(min(max(ended.Sub(d.youngest)/ageShare, watchedDelay, p.minDelay), p.maxDelay))
	default:
		calm := d.youngest
		if d.heardAt.After(calm) {
			calm = d.heardAt
		}
		return ended.Add(min(max(ended.Sub(calm)/ageShare, p.minDelay), p.maxDelay))
	}
}

// afterFailures is the pause after so many failures in a row.
func (p pace) afterFailures(failures int) time.Duration {
	delay := p.minDelay
	for i := 1; i < failures && delay < p.maxDelay; i++ {
		delay *= 2
	}
	return min(delay, p.maxDelay)
}
