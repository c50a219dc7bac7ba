package listener

import (
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// What becomes of the calls to a simServer.

func (s *simServer) lag() time.Duration { return 1 + s.within(latency-1) }

// take decides the fate of a call that has just been made.
func (s *simServer) take(c *simCall) {
	switch c.kind {
	case callJudge, callNotify, callWatch:
		if c.conn.busy != nil && c.conn.busy != c {
			c.conn.queue = append(c.conn.queue, c)
			return
		}
		s.run(c)
	case callListen:
		switch {
		case !s.up || s.chance(s.faulty):
			s.after(s.refusal(), "listen fails", func() { c.answer(simReply{err: errRefused}) })
		default:
			s.after(s.lag(), "listens", func() {
				if !s.up {
					c.answer(simReply{err: errRefused})
					return
				}
				session := &simSession{server: s, pulse: c.channel, life: s.db.lives, deaf: s.chance(s.lossy / 4)}
				s.sessions, s.newest = append(s.sessions, session), session
				c.answer(simReply{session: session})
			})
		}
	case callPing:
		s.after(s.lag(), "ping", func() {
			r := simReply{}
			if c.session.broken {
				r.err = errBroken
			}
			c.answer(r)
		})
	}
}

// refusal is how long a connection attempt takes to fail.
func (s *simServer) refusal() time.Duration {
	if s.chance(0.2) {
		return connectTimeout
	}
	return s.lag()
}

// run executes a statement.
func (s *simServer) run(c *simCall) {
	c.conn.busy, c.answering = c, false
	c.attempt++
	attempt := c.attempt
	c.reused = c.conn.life != 0
	if c.reused && (!s.up || c.conn.life != s.db.lives) {
		s.after(s.lag(), "connection is closed", func() { s.breaks(c) })
		return
	}
	if !s.up {
		refusal := s.refusal()
		s.delays(c, refusal)
		s.after(refusal, "statement refused", func() { s.answer(c, simReply{err: errRefused}) })
		return
	}
	c.conn.life = s.db.lives
	before, after := s.lag(), s.lag()
	fate := "answers"
	if s.chance(s.faulty) {
		switch s.rng.IntN(5) {
		case 0:
			fate = "error"
		case 1:
			before += s.within(5 * time.Second)
			s.delays(c, before+after)
		case 2:
			after += s.within(5 * time.Second)
			s.delays(c, before+after)
		case 3:
			fate = "breaks"
		case 4:
			fate = "timeout"
			after = queryTimeout - before
			s.delays(c, queryTimeout)
		}
	}
	s.after(before, "snapshot", func() {
		if c.attempt == attempt {
			s.execute(c, after, fate)
		}
	})
}

// execute is the moment of a statement's snapshot. A statement may run and its answer be lost.
func (s *simServer) execute(c *simCall, after time.Duration, fate string) {
	switch c.kind {
	case callJudge:
		s.finishes(c, simReply{judgement: s.db.judge(c.tokens)}, after, fate)
	case callWatch:
		s.beginWatch(c, func() { s.finishes(c, simReply{judgement: s.db.judge(c.tokens)}, after, fate) })
	default:
		for _, session := range s.sessions {
			if session.pulse == c.channel {
				s.send(session, c.channel, c.payload)
			}
		}
		s.finishes(c, simReply{}, after, fate)
	}
}

// finishes answers r after a while, unless fate has it otherwise.
func (s *simServer) finishes(c *simCall, r simReply, after time.Duration, fate string) {
	c.answering = true
	life, attempt := s.db.lives, c.attempt
	r.life = life
	s.after(after, fate, func() {
		switch {
		case c.attempt != attempt: // a crash took it
		case life != s.db.lives: // a crash did not, and it may be on its way for long
			late := s.within(300 * time.Millisecond)
			s.delays(c, late)
			s.after(late, fate, func() { s.arrives(c, r, fate) })
		default:
			s.arrives(c, r, fate)
		}
	})
}

func (s *simServer) arrives(c *simCall, r simReply, fate string) {
	switch {
	case fate == "breaks":
		s.breaks(c)
	case fate == "timeout":
		c.conn.life = 0
		s.answer(c, simReply{err: errBroken, lost: true})
	case fate == "error" && c.kind == callWatch && s.chance(0.2):
		s.answer(c, simReply{err: errDenied})
	case fate == "error":
		s.answer(c, simReply{err: errRefused})
	default:
		s.answer(c, r)
	}
}

// breaks ends a call whose connection is gone: queryConn tries once more if it was not a new one.
func (s *simServer) breaks(c *simCall) {
	c.conn.life = 0
	if c.reused {
		s.delays(c, 0)
		c.answer(simReply{lost: true, again: true}) // and c keeps the connection
		return
	}
	s.answer(c, simReply{err: errBroken, lost: true})
}

func (s *simServer) answer(c *simCall, r simReply) {
	c.conn.busy = nil
	c.answer(r)
	if len(c.conn.queue) > 0 {
		next := c.conn.queue[0]
		c.conn.queue = c.conn.queue[1:]
		s.run(next)
	}
}

// send delivers a notification to one session: perhaps late, before an earlier one, twice, or never.
func (s *simServer) send(session *simSession, channel, payload string) {
	for copies := 1; copies > 0; copies-- {
		if s.chance(s.lossy) {
			if s.chance(0.5) {
				continue
			}
			copies++
		}
		late := s.lag()
		if s.chance(s.lossy) {
			late += s.within(100 * time.Millisecond)
		}
		s.after(late, "notification", func() { session.deliver(channel, payload) })
	}
}

func (s *simServer) announce(tx *simTransaction) {
	for _, b := range tx.told {
		if s.fed && !s.chance(s.lossy) {
			s.after(s.lag(), "the application is notified", func() { s.feeds(b.token) })
		}
		for _, session := range s.sessions {
			s.send(session, Channel, b.token.String())
		}
	}
}

// feeds is Listener.HandleNotification.
func (s *simServer) feeds(t pgbarrier.Token) {
	_ = s.waits.hear(t.String())
	s.heard = append(s.heard, t.String())
}

// stop takes the server down. In a crash an answer that is on its way may still arrive.
func (s *simServer) stop(crash bool) {
	s.up = false
	if crash {
		s.log("server crashes")
	} else {
		s.log("server stops")
	}
	s.db.restart(crash)
	s.breakSessions()
	s.watching = nil
	for _, conn := range []*simConn{&s.checks, &s.watches} {
		if c := conn.busy; c != nil && conn.life == s.db.lives-1 && (!c.answering || s.chance(0.5)) {
			c.attempt++
			s.after(s.lag(), "connection reset", func() { s.breaks(c) })
		}
	}
}

func (s *simServer) breakSessions() {
	for _, session := range s.sessions {
		if s.chance(0.1) {
			session.deaf = true // half-open
			continue
		}
		s.after(s.lag(), "session breaks", session.fail)
	}
	s.sessions = nil
}

func (s *simServer) start() {
	s.up = true
	s.troubled(0)
	s.log("server is up, life", uint64(s.db.lives))
}

// knownLife is the last life of the database that the listener must know of: it has had an answer,
// and has noticed that sessions from before have ended.
func (s *simServer) knownLife() int {
	if s.newest != nil && !s.newest.closed {
		return min(s.contact, s.newest.life)
	}
	return s.contact
}

func (k callKind) String() string {
	return [...]string{"judge", "notify", "watch", "listen", "ping"}[k]
}
