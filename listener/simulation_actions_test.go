package listener

import (
	"slices"
	"time"
)

// act makes something happen and arranges for the next.
func (s *simulation) act() {
	if s.actions == 0 {
		s.finish()
		return
	}
	s.actions--
	s.choose()
	var gap time.Duration
	switch p := s.rng.Float64(); {
	case p < 0.5:
		gap = s.within(3 * time.Millisecond)
	case p < 0.8:
		gap = s.within(100 * time.Millisecond)
	case p < 0.97:
		gap = s.within(2 * time.Second)
	default:
		gap = s.within(30 * time.Second)
	}
	s.after(gap, "", s.act)
}

func (s *simulation) choose() {
	switch p := s.rng.IntN(100); {
	case p < 18:
		s.begin()
	case p < 40:
		if tx := s.pick(); tx != nil {
			s.move(tx)
		}
	case p < 61:
		s.wait()
	case p < 64:
		s.question()
	case p < 66:
		s.burst()
	case p < 72:
		if len(s.live) > 0 && s.chance(0.8) {
			w := s.live[s.rng.IntN(len(s.live))]
			w.canceled = true
			s.log("cancel wait", w.number)
			w.cancel()
		} else if len(s.questions) > 0 {
			q := s.questions[s.rng.IntN(len(s.questions))]
			q.canceled = true
			q.cancel()
		}
	case p < 77:
		// Anybody can send there: malformed, or a token that no barrier has.
		payload := "pgb1.nonsense"
		if s.chance(0.7) {
			payload = s.server.db.newToken(s.server.db.next, simOrigin).String()
		}
		for _, session := range s.server.sessions {
			s.server.send(session, Channel, payload)
		}
	case p < 82:
		s.log("sessions break")
		s.server.breakSessions()
	case p < 84:
		if conn := &s.server.checks; conn.life > 0 && conn.busy == nil {
			conn.ends(s.server.db, -1)
			s.log("the check connection breaks")
		}
	case p < 87:
		for _, session := range s.server.sessions {
			session.deafens()
		}
		s.log("deaf")
	case p < 92:
		if s.server.up {
			s.server.stop(s.chance(0.8))
			down := 2*time.Millisecond + s.within(50*time.Millisecond)
			if s.chance(0.2) {
				down = s.within(40 * time.Second)
			}
			s.after(down, "", s.server.start)
		}
	case p < 94:
		if s.server.up {
			s.server.db.purge(time.Now().Add(-s.within(20 * time.Second)))
			s.log("purge")
		}
	case p < 95:
		s.server.crowded = !s.server.crowded
		s.log("crowded or not")
	case p < 96:
		s.server.db.heldUp = !s.server.db.heldUp
		s.log("notifications are held up or not")
	case p < 98:
		s.server.faulty = max(0, s.rng.Float64()-0.5)
	default:
		s.server.lossy = max(0, s.rng.Float64()-0.5)
	}
}

func (s *simulation) pick() *simTransaction {
	s.open = slices.DeleteFunc(s.open, func(tx *simTransaction) bool { return tx.state >= txFlushing })
	if len(s.open) == 0 {
		return nil
	}
	return s.open[s.rng.IntN(len(s.open))]
}

func (s *simulation) begin() {
	if !s.server.up {
		return
	}
	tx := s.server.db.begin()
	tx.async, tx.quiet = s.chance(0.4), s.chance(0.2)
	s.open = append(s.open, tx)
	s.log("begin", tx.xid)
	for range 1 + s.rng.IntN(3) {
		s.create(tx)
	}
}

func (s *simulation) create(tx *simTransaction) *simBarrier {
	return s.known(s.server.db.create(tx))
}

func (s *simulation) known(b *simBarrier) *simBarrier {
	b.number = uint64(len(s.barriers))
	s.barriers = append(s.barriers, b)
	s.log("barrier of transaction", b.number, b.token.XID)
	return b
}

// burst begins many transactions, with a wait for each, and ends them within a tenth of a second.
func (s *simulation) burst() {
	if !s.server.up {
		return
	}
	for range 24 {
		tx := s.server.db.begin()
		tx.async = s.chance(0.4)
		s.subscribe([]*simBarrier{s.create(tx)})
		s.after(s.within(100*time.Millisecond), "", func() {
			if s.server.up && tx.state == txRunning {
				s.commit(tx)
			}
		})
	}
}

// move takes a transaction one step further.
func (s *simulation) move(tx *simTransaction) {
	if !s.server.up {
		return
	}
	p := s.rng.IntN(10)
	switch {
	case tx.stays && !s.finishing:
	case tx.state == txPrepared && p < 5:
		s.log("commit prepared", tx.xid)
		s.server.db.flush()
		s.commits(tx)
	case tx.state == txPrepared, p == 0, p == 1:
		s.log("abort", tx.xid)
		s.server.db.finish(tx, txAborted)
	case p == 2 && !s.finishing:
		s.create(tx)
	case p == 3 && !s.finishing:
		tx.barriers[s.rng.IntN(len(tx.barriers))].rolledBack = true
		s.log("rolls back to a savepoint", tx.xid)
	case p == 4 && tx.quiet:
		s.log("prepare", tx.xid)
		s.server.db.flush()
		tx.state = txPrepared
	default:
		s.commit(tx)
	}
}

func (s *simulation) commit(tx *simTransaction) {
	s.log("commit", tx.xid)
	s.server.db.precommit(tx)
	if tx.async {
		s.commits(tx)
		return
	}
	life := s.server.db.lives
	s.after(s.within(4*time.Millisecond), "flush", func() {
		if s.server.db.lives != life {
			return
		}
		s.server.db.flush()
		tx.state = txFlushed
		s.after(s.within(100*time.Microsecond), "visible", func() {
			if s.server.db.lives == life {
				s.commits(tx)
			}
		})
	})
}

func (s *simulation) commits(tx *simTransaction) {
	s.server.db.finish(tx, txCommitted)
	s.server.announce(tx)
}

// finish makes everything well again and ends what runs, so that all waits have to end. One schedule
// in ten stops in the middle instead.
func (s *simulation) finish() {
	if !s.finishing && s.chance(0.1) {
		s.stopped = true
		return
	}
	s.finishing = true
	s.server.faulty, s.server.lossy, s.server.db.heldUp = 0, 0, false
	if !s.server.up { // it comes back first
		s.after(time.Second, "", s.act)
		return
	}
	if tx := s.pick(); tx != nil {
		s.move(tx)
		s.after(1+s.within(5*time.Millisecond), "", s.act)
	}
}
