package listener

import (
	"errors"
	"slices"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/dial"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// When a wait has to have ended, and how often and for how much may be asked.

// judgeDelays: no wait is lost. Once its outcome can be found, nothing is wrong with the server, and
// the wait has begun, a check under way may miss it (slack), the next is due as pace has it, and
// takes slack in its turn. After an announcement or a session's loss or return it is due at once.
func (s *simulation) judgeDelays() {
	now := time.Now()
	for _, w := range s.live {
		late, all := false, true
		for _, b := range w.barriers {
			if b.decided.IsZero() {
				all = false
				continue
			}
			s.setDeadline(b, now)
			deadline := b.deadline
			if len(w.barriers) > 1 { // one statement has to find all
				deadline = deadline.Add(s.least(s.server.backends) + 2*slack)
			}
			passed := now.After(deadline)
			all = all && passed
			// One that was visible may have been taken into account before it was lost or purged.
			late = late || passed && !b.seen
		}
		if (late || all) && s.server.up && now.After(s.trouble) {
			b := w.barriers[0]
			s.fail("no lost wait: wait %d, begun %v, has not ended at %v though the outcome of barrier %d is certain since %v, all was well from %v, and the next check was due to have answered by %v",
				w.number, w.begun.Sub(s.begun), now.Sub(s.begun), b.number, b.decided.Sub(s.begun), s.trouble.Sub(s.begun), b.deadline.Sub(s.begun))
		}
	}
	for _, q := range s.questions {
		due := latest(q.begun, s.trouble).Add(s.least(s.server.backends) + 2*slack)
		if now.After(due) && s.server.up {
			s.fail("question: %d, asked at %v, is not answered at %v, and all was well from %v", q.number, q.begun.Sub(s.begun), now.Sub(s.begun), s.trouble.Sub(s.begun))
		}
	}
	s.judgeHold()
	s.judgeSession()
	s.prompted = false
}

// least is the least pause between two checks while something is pending and so many sessions are known.
func (s *simulation) least(sessions int) time.Duration {
	return min(max(s.config.MinDelay, time.Duration(sessions)*time.Millisecond/sessionsPerMilli), s.config.MaxDelay)
}

func (s *simulation) setDeadline(b *simBarrier, now time.Time) {
	base := latest(b.decided, b.joined, s.trouble)
	if !base.Equal(b.base) {
		b.base = base
		b.deadline = base.Add(s.pause(base.Add(slack).Sub(b.since)/ageShare) + 2*slack)
	}
	if soon := now.Add(s.least(s.server.backends) + 2*slack); s.prompted && !now.Before(base) && soon.Before(b.deadline) {
		b.deadline = soon
	}
}

// pause bounds d by the configured delays.
func (s *simulation) pause(d time.Duration) time.Duration {
	return min(max(d, s.least(s.server.backends)), s.config.MaxDelay)
}

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// called: checks keep their distance, are made for somebody, and ask only for what is new and what
// may have ended.
func (s *simulation) called(c *simCall) {
	if c.kind != callCheck || c.attempt > 0 {
		return
	}
	asked := make(map[[16]byte]*simBarrier, len(c.tokens))
	for _, w := range s.live {
		for _, b := range w.barriers {
			asked[b.token.ID] = b
		}
	}
	first := c.check != s.check
	if first {
		clear(s.questioned)
		for _, q := range s.questions {
			for _, b := range q.barriers {
				s.questioned[b.token.ID] = true
			}
		}
		s.judgeRate(c)
		s.pending, s.checkAt = len(s.waits.pending), time.Now() // what is to be asked was decided a moment ago
		s.asksAll, s.askAll = s.askAll, false
		clear(s.samples)
		s.snapshots = s.snapshots[:0]
	}
	for _, t := range c.tokens {
		b := asked[t.ID]
		switch {
		case s.questioned[t.ID]:
			continue
		case b == nil:
			// Its wait, or the question, has ended since the check began.
			if first && s.withdrawn == 0 {
				s.fail("size: check %d asks for a token that nobody waits for", c.check)
			}
			continue
		case b.askedIn == c.check:
			s.fail("size: check %d asks twice for barrier %d", c.check, b.number)
		case !b.asked || s.pending <= simFew || s.asksAll || b.seen && b.among:
		case first:
			s.fail("size: check %d asks again for barrier %d, though %d are pending and it is not known to have ended", c.check, b.number, s.pending)
		case s.allSnapshots(func(snapshot wire.Snapshot) bool { return snapshot.Running(t.XID) }):
			s.fail("size: check %d asks for barrier %d, whose transaction %d runs", c.check, b.number, t.XID)
		case s.allSnapshots(func(snapshot wire.Snapshot) bool { return t.XID >= snapshot.Xmax }):
			if s.samples[t.XID]++; s.samples[t.XID] > 1 {
				s.fail("size: check %d asks for several barriers of transaction %d, which the snapshot does not know", c.check, t.XID)
			}
		}
		b.asked, b.askedIn, b.askedAt = b.joined.Before(s.checkAt), c.check, time.Now()
	}
	s.check = c.check
}

// allSnapshots reports whether it is so by all that this check has got.
func (s *simulation) allSnapshots(so func(wire.Snapshot) bool) bool {
	return !slices.ContainsFunc(s.snapshots, func(snapshot wire.Snapshot) bool { return !so(snapshot) })
}

// judgeRate: a check is for somebody, and leaves the server a pause, unless the last has left nothing open.
func (s *simulation) judgeRate(c *simCall) {
	least := time.Duration(0)
	switch {
	case s.failures > 0:
		least = s.config.MinDelay
		for i := 1; i < s.failures && least < s.config.MaxDelay; i++ {
			least *= 2
		}
		least = min(least, s.config.MaxDelay)
	case s.leftOpen():
		least = s.least(s.counted)
	}
	if since := time.Since(s.answerAt); since < least {
		s.fail("rate: check %d begins %v after the last, which must be %v", c.check, since, least)
	}
	if len(s.live) == 0 && len(s.questions) == 0 && s.withdrawn == 0 {
		s.fail("rate: check %d is for nobody", c.check)
	}
	s.withdrawn = 0
}

// answeredCheck takes note of the answer that a statement of a check gets.
func (s *simulation) answeredCheck(tokens []pgbarrier.Token, r simReply) {
	s.answerAt = time.Now()
	if r.err == nil {
		s.snapshots = append(s.snapshots, r.answer.Snapshot)
		for i, outcome := range r.answer.Outcomes {
			if outcome == wire.Aborted && tokens[i].XID >= r.answer.Snapshot.Xmax {
				s.askAll = true // a crash took its transaction
			}
		}
		return
	}
	s.failures++
	s.askAll = true
	if noRoom := errors.Is(r.err, dial.ErrNoRoom); !noRoom {
		s.noRooms = 0
	} else if s.noRooms++; s.noRooms > 1 {
		return // it was for the listener to make room
	}
	pause := s.config.MinDelay
	for i := 1; i < s.failures && pause < s.config.MaxDelay; i++ {
		pause *= 2
	}
	s.troubled(min(pause, s.config.MaxDelay))
}

// checked is called at the end of a check.
func (s *simulation) checked(report Checked) {
	if report.Err == nil {
		s.failures, s.noRooms = 0, 0
	}
}

// leftOpen reports whether something is waited for that a check has asked for.
func (s *simulation) leftOpen() bool {
	return slices.ContainsFunc(s.live, func(w *simWait) bool {
		b := w.barriers[0]
		return len(w.barriers) == 1 && !w.ended() && b.askedIn > 0 && !b.askedAt.Before(w.begun)
	})
}

// judgeHold: the announcing lock is held for a short while, and for somebody.
func (s *simulation) judgeHold() {
	if begun := s.server.checks.begun; !begun.IsZero() && s.server.up {
		if time.Since(latest(begun, s.trouble)) > heldFor+holdIdle+2*slack {
			s.fail("hold: the announcing lock may be held since %v, and all was well from %v", begun.Sub(s.begun), s.trouble.Sub(s.begun))
		}
	}
}

// judgeSession: a session that does not hear is replaced within 1.5 heartbeats, unless none could be probed.
func (s *simulation) judgeSession() {
	now := time.Now()
	if s.server.crowded || s.server.db.heldUp {
		s.excused = now
	}
	session := s.server.newest
	if session == nil || !session.deaf || session.closed || !session.listens {
		return
	}
	since := latest(session.deafAt, session.listensAt, s.excused.Add(s.config.Heartbeat), s.trouble)
	if now.Sub(since) > s.config.Heartbeat*3/2+2*slack {
		s.fail("silent: the session is deaf since %v, listens since %v, and is kept", session.deafAt.Sub(s.begun), session.listensAt.Sub(s.begun))
	}
}

func (s *simulation) receiverTrace() Trace {
	changed := func() {
		s.changed = true
		s.turns.yield()
	}
	return Trace{Connected: changed, Disconnected: func(error) { changed() }}
}
