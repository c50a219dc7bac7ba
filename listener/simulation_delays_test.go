package listener

import "time"

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
			if len(w.barriers) > 1 { // a check may have to find all at once
				deadline = deadline.Add(s.config.MinDelay + 2*slack)
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
	s.prompted = false
}

func (s *simulation) setDeadline(b *simBarrier, now time.Time) {
	base := latest(b.decided, b.joined, s.trouble)
	if !base.Equal(b.base) {
		calm, late := latest(b.since, s.heardAt), time.Duration(0)
		if s.watches { // a check may have left it to a watch that did not see it, and answered nothing
			calm, late = b.since, maxPatience+2*watchedDelay
		}
		b.base = base
		b.deadline = base.Add(late + s.pause(base.Add(slack).Sub(calm)/ageShare) + 2*slack)
	}
	if soon := now.Add(s.config.MinDelay + 2*slack); s.prompted && !now.Before(base) && soon.Before(b.deadline) {
		b.deadline = soon
	}
}

// pause bounds d by the configured delays.
func (s *simulation) pause(d time.Duration) time.Duration {
	return min(max(d, s.config.MinDelay), s.config.MaxDelay)
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
	if c.kind == callWatch && c.attempt == 0 {
		s.watchBegins(c)
	}
	if c.kind != callJudge || c.attempt > 0 {
		return
	}
	pending := len(s.waits.pending)
	asked := make(map[[16]byte]*simBarrier, len(c.tokens))
	for _, w := range s.live {
		for _, b := range w.barriers {
			asked[b.token.ID] = b
		}
	}
	if c.check != s.check {
		least := s.config.MinDelay
		for i := 1; i < s.failures && least < s.config.MaxDelay; i++ {
			least *= 2
		}
		least = min(least, s.config.MaxDelay)
		if since := time.Since(s.answerAt); since < least {
			s.fail("rate: check %d begins %v after the last, which must be %v", c.check, since, least)
		}
		if len(s.live) == 0 {
			s.fail("rate: check %d is for nobody", c.check)
		}
	}
	for _, t := range c.tokens {
		b := asked[t.ID]
		switch {
		case b == nil:
			// Its wait has ended since the check began.
			if c.check != s.check {
				s.fail("size: check %d asks for a token that nobody waits for", c.check)
			}
			continue
		case b.askedIn == c.check:
			s.fail("size: check %d asks twice for barrier %d", c.check, b.number)
		case c.check != s.check && b.asked && pending > fewTokens && !s.askAll && !(b.seen && b.among):
			s.fail("size: check %d asks again for barrier %d, though %d are pending and it is not known to have ended", c.check, b.number, pending)
		case c.check == s.check && s.snapshot.Running(t.XID):
			s.fail("size: check %d asks for barrier %d, whose transaction %d runs", c.check, b.number, t.XID)
		}
		b.asked, b.askedIn = true, c.check
	}
	if c.check != s.check {
		s.check, s.askAll = c.check, false
	}
}

// answered takes note of the answer that a statement of a check gets.
func (s *simulation) answered(r simReply) {
	s.answerAt = time.Now()
	if r.err == nil {
		s.failures, s.snapshot = 0, r.judgement.Snapshot
		return
	}
	s.failures++
	s.askAll = true
	pause := s.config.MinDelay
	for i := 1; i < s.failures && pause < s.config.MaxDelay; i++ {
		pause *= 2
	}
	s.troubled(min(pause, s.config.MaxDelay))
}

func (s *simulation) receiverTrace() Trace {
	changed := func() {
		s.changed = true
		s.turns.yield()
	}
	return Trace{Connected: changed, Disconnected: func(error) { changed() }}
}
