package listener

import (
	"context"
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/dial"
)

// What becomes of the calls to a simServer.

func (s *simServer) lag() time.Duration { return 1 + s.within(latency-1) }

// take decides the fate of a call that has just been made.
func (s *simServer) take(c *simCall) {
	switch c.kind {
	case callProbe:
		s.probes(c)
	case callConnect:
		s.connects(c)
	case callListen:
		s.listens(c)
	default:
		if s.checks.busy != nil && s.checks.busy != c {
			s.checks.queue = append(s.checks.queue, c)
			return
		}
		s.run(c)
	}
}

// refusal is how long a connection attempt takes to fail.
func (s *simServer) refusal() time.Duration {
	if s.chance(0.2) {
		return dial.ConnectTimeout
	}
	return s.lag()
}

// places is how many places the listener's connections take.
func (s *simServer) places() int {
	n := 0
	if s.checks.life > 0 {
		n++
	}
	for _, session := range s.sessions {
		if !session.closed && !session.broken {
			n++
		}
	}
	return n
}

// noRoom is the error of a connection attempt for which there is no place, or nil.
func (s *simServer) noRoom() error {
	if s.crowded && s.places() > 0 {
		return fmt.Errorf("%w: %w", dial.ErrNoRoom, errFull)
	}
	return nil
}

func (s *simServer) connects(c *simCall) {
	if !s.up || s.chance(s.faulty) {
		s.after(s.refusal(), "connect fails", func() { c.answer(simReply{err: errRefused}) })
		return
	}
	s.after(s.lag(), "connects", func() {
		switch err := s.noRoom(); {
		case !s.up:
			c.answer(simReply{err: errRefused})
		case err != nil:
			c.answer(simReply{err: err})
		default:
			session := &simSession{server: s, life: s.db.lives, deaf: s.chance(s.lossy / 4)}
			s.sessions, s.newest = append(s.sessions, session), session
			c.answer(simReply{session: session})
		}
	})
}

func (s *simServer) listens(c *simCall) {
	if s.chance(s.faulty / 4) {
		s.log("listen is not answered")
		s.endsWith(c)
		return
	}
	s.after(s.lag(), "listens", func() {
		c.session.listens, c.session.listensAt = true, time.Now()
		if c.session.broken {
			c.answer(simReply{err: errBroken})
			return
		}
		c.answer(simReply{})
	})
}

// endsWith fails the call when its session is ended from outside.
func (s *simServer) endsWith(c *simCall) {
	s.after(10*time.Millisecond, "", func() {
		if c.session.broken {
			c.answer(simReply{err: errBroken})
		} else if !s.joining {
			s.endsWith(c)
		}
	})
}

// probes is a probe's connection and its NOTIFY.
func (s *simServer) probes(c *simCall) {
	if !s.up || s.chance(s.faulty/2) {
		refusal := min(s.refusal(), time.Until(c.deadline))
		s.after(refusal, "probe fails", func() { c.answer(simReply{err: errRefused}) })
		return
	}
	s.after(s.lag(), "probe", func() {
		switch err := s.noRoom(); {
		case !s.up:
			c.answer(simReply{err: errRefused})
		case err != nil:
			c.answer(simReply{err: err})
		case s.db.heldUp:
			s.after(time.Until(c.deadline), "probe is held up", func() {
				c.answer(simReply{err: fmt.Errorf("%w: %w", errNotSent, context.DeadlineExceeded)})
			})
		default:
			for _, session := range s.sessions {
				s.send(session, probeChannel, c.payload)
			}
			s.after(s.lag(), "", func() { c.answer(simReply{}) })
		}
	})
}

// run executes a statement on the check connection.
func (s *simServer) run(c *simCall) {
	conn := &s.checks
	conn.busy, c.answering = c, false
	c.attempt++
	attempt := c.attempt
	c.reused = conn.life != 0
	if c.reused && (!s.up || conn.life != s.db.lives) {
		s.after(s.lag(), "connection is closed", func() { s.breaks(c) })
		return
	}
	if !s.up {
		refusal := s.refusal()
		s.troubled(refusal)
		s.after(refusal, "statement refused", func() { s.reply(c, simReply{err: errRefused}) })
		return
	}
	if err := s.noRoom(); !c.reused && err != nil {
		s.after(s.lag(), "no room", func() { s.reply(c, simReply{err: err}) })
		return
	}
	conn.life = s.db.lives
	before, after := s.lag(), s.lag()
	fate := "answers"
	if s.chance(s.faulty) {
		switch s.rng.IntN(5) {
		case 0:
			fate = "error"
		case 1:
			before += s.within(5 * time.Second)
			s.troubled(before + after)
		case 2:
			after += s.within(5 * time.Second)
			s.troubled(before + after)
		case 3:
			fate = "breaks"
		case 4:
			fate = "timeout"
			after = queryTimeout - before
			s.troubled(queryTimeout)
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
	var r simReply
	switch c.kind {
	case callCheck:
		r.answer = s.db.check(c.tokens)
	case callHold:
		s.begins()
		r.yes = s.db.announcer == nil
		s.db.shared = s.db.shared || r.yes
	case callRelease:
		s.checks.ends(s.db, s.checks.life)
	case callHolder:
		r.yes = s.db.heldUp
	}
	c.answering = true
	life, attempt := s.db.lives, c.attempt
	r.life = life
	s.after(after, fate, func() {
		switch {
		case c.attempt != attempt: // a crash took it
		case life != s.db.lives: // a crash did not, and it may be on its way for long
			late := s.within(300 * time.Millisecond)
			s.troubled(late)
			s.after(late, fate, func() { s.arrives(c, r, fate) })
		default:
			s.arrives(c, r, fate)
		}
	})
}

func (s *simServer) arrives(c *simCall, r simReply, fate string) {
	switch fate {
	case "breaks":
		s.breaks(c)
	case "timeout":
		s.checks.ends(s.db, 0)
		s.reply(c, simReply{err: errBroken, lost: true})
	case "error":
		s.checks.ends(s.db, s.checks.life) // ROLLBACK
		s.reply(c, simReply{err: errRefused})
	default:
		s.reply(c, r)
	}
}

// breaks ends a call whose connection is gone: checkConn tries once more if it was not a new one.
func (s *simServer) breaks(c *simCall) {
	s.checks.ends(s.db, 0)
	if c.reused {
		s.troubled(0)
		c.answer(simReply{lost: true, again: true}) // and c keeps the connection
		return
	}
	s.reply(c, simReply{err: errBroken, lost: true})
}

func (s *simServer) reply(c *simCall, r simReply) {
	conn := &s.checks
	conn.busy, conn.used = nil, time.Now()
	c.answer(r)
	if len(conn.queue) > 0 {
		next := conn.queue[0]
		conn.queue = conn.queue[1:]
		s.run(next)
	}
}

// begins begins the transaction of hold. The server ends the session if it is idle for a second.
func (s *simServer) begins() {
	if s.checks.begun.IsZero() {
		s.checks.begun = time.Now()
		s.idles(s.checks.begun)
	}
}

func (s *simServer) idles(begun time.Time) {
	s.after(time.Second, "", func() {
		switch conn := &s.checks; {
		case !conn.begun.Equal(begun):
		case conn.busy == nil && time.Since(conn.used) >= time.Second:
			s.log("the server ends an idle session")
			conn.ends(s.db, -1)
		default:
			s.idles(begun)
		}
	})
}

func (s *simSession) deafens() {
	if !s.deaf {
		s.deaf, s.deafAt = true, time.Now()
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
	s.checks.begun = time.Time{}
	s.breakSessions()
	if c := s.checks.busy; c != nil && s.checks.life == s.db.lives-1 && (!c.answering || s.chance(0.5)) {
		c.attempt++
		s.after(s.lag(), "connection reset", func() { s.breaks(c) })
	}
}

func (s *simServer) breakSessions() {
	for _, session := range s.sessions {
		if s.chance(0.1) {
			session.deafens() // half-open
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
