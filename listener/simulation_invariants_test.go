package listener

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// invariants is what the simulation remembers to judge the listener by.
type invariants struct {
	contact   int             // the last life of the database that has answered
	life      int             // the last that the listener knew of, one step ago
	trouble   time.Time       // until when statements were, or will be, slower than latency allows or fail
	heardAt   time.Time       // last announcement that reached the listener
	check     uint64          // number of the last check
	answerAt  time.Time       // of its last answer
	failures  int             // answers in a row that were errors
	noRooms   int             // of them in a row because there was no room
	askAll    bool            // the next check may ask for everything
	asksAll   bool            // this one may
	pending   int             // waits when this check began
	checkAt   time.Time       // when that was
	snapshots []wire.Snapshot // that this check has got
	samples   map[uint64]int  // tokens that this check has asked for of transactions beyond its snapshot
	counted   int             // sessions on the server, as the listener knows
	heard     []string        // payloads on Channel that a session has returned
	changed   bool            // a session was found or lost
	prompted  bool            // the next check became due at once, now

	questioned map[[16]byte]bool // that this check may ask for because of a question, withdrawn since or not
	withdrawn  int               // waits and questions that have ended since the last check began
	functions  []*simWait        // with a function, that have ended
	excused    time.Time         // when last no session could be probed
}

// judged is what invariants need to know of a barrier.
type judged struct {
	live     int       // waits for it that have not ended
	since    time.Time // when the first of them began
	joined   time.Time // when the last did
	asked    bool      // by a check since then
	among    bool      // others: a wait for several may ask for it again, to be told of all at once
	askedIn  uint64    // number of the last check that asked
	askedAt  time.Time // when it did
	decided  time.Time // since when a check would have found its outcome; zero: not yet
	base     time.Time // from when deadline was computed
	deadline time.Time
	last     error // the last outcome that a wait was given
	lastIn   int   // the life of the database in which it was
	known    bool  // last was set
}

// slack bounds a check in which nothing is wrong: up to ten statements, those included that hold and release
// the announcing lock and count the sessions.
const slack = 10 * 2 * latency

func (s *simulation) troubled(d time.Duration) {
	if until := time.Now().Add(d); until.After(s.trouble) {
		s.trouble = until
	}
}

// forgets: the listener has noticed that a connection was lost, and may ask for everything.
func (s *simulation) forgets() { s.askAll = true }

// decide notes which barriers' outcomes a check would find now, or would not find any more because
// the xid was handed out again.
func (s *simulation) decide() {
	now := time.Now()
	for _, w := range s.live {
		for _, b := range w.barriers {
			if s.server.db.status(b.token) == pgbarrier.Pending {
				b.decided = time.Time{}
			} else if b.decided.IsZero() {
				b.decided = now
			}
		}
	}
	for _, q := range s.questions {
		for i, b := range q.barriers {
			q.certain[i] = q.certain[i] && s.server.db.status(b.token) != pgbarrier.Pending
		}
	}
	if !s.server.up {
		s.troubled(0)
	}
}

// hear looks at what the receiver has been told since the last step.
func (s *simulation) hear() {
	heard := s.heard
	s.heard = nil
	if s.changed {
		s.changed, s.prompted = false, true
		s.forgets()
		s.log("session found or lost")
	}
	for _, payload := range heard {
		t, err := pgbarrier.ParseToken(payload)
		if err != nil {
			continue
		}
		s.log("heard announcement of", t.XID)
		for _, b := range s.barriers {
			b.announced = b.announced || b.token == t
		}
		s.heardAt = time.Now()
		s.prompted = true
		s.endsAtOnce(t, "its announcement was heard")
	}
}

func (s *simulation) endsAtOnce(t pgbarrier.Token, why string) {
	for _, w := range s.live {
		if len(w.barriers) == 1 && w.barriers[0].token == t && !w.ended() {
			s.fail("at once: wait %d has not ended though %s", w.number, why)
		}
	}
}

// sweep looks at what has become of the waits since the last step.
func (s *simulation) sweep() {
	ended := false
	for _, w := range s.live {
		if w.ended() {
			ended = true
			s.withdrawn++
			s.judgeEnd(w)
			if w.function {
				s.functions = append(s.functions, w)
			}
			for _, b := range w.barriers {
				b.live--
			}
		}
	}
	questions := len(s.questions)
	s.judgeQuestions()
	s.withdrawn += questions - len(s.questions)
	s.life = s.server.knownLife()
	if ended {
		s.live = slices.DeleteFunc(s.live, func(w *simWait) bool { return w.ended() })
	}
	if s.waits.stats.Waiting != len(s.live) {
		s.fail("nothing left behind: %d waits are counted, %d have not ended", s.waits.stats.Waiting, len(s.live))
	}
}

// judgeEnd: never a wrong outcome, and the same for everyone.
func (s *simulation) judgeEnd(w *simWait) {
	err := w.err()
	var outcome *pgbarrier.TokenError
	switch {
	case err == nil:
		s.log("wait ends, committed", w.number)
		for _, b := range w.barriers {
			if !b.seen {
				s.fail("outcome: wait %d was told that barrier %d of %d has committed, which was never visible", w.number, b.number, b.token.XID)
			}
			if b.lostIn > 0 && s.life > b.lostIn {
				s.fail("memory: wait %d was told that barrier %d has committed, which was known to be lost in a crash", w.number, b.number)
			}
			for _, other := range w.barriers {
				if b.lostIn > 0 && other.seenAt.After(b.lostAt) {
					s.fail("memory: wait %d was told that barriers %d and %d have committed, of which a crash took one before the other", w.number, b.number, other.number)
				}
			}
			s.same(w, b, nil)
		}
	case errors.As(err, &outcome):
		s.log("wait ends, "+outcome.Err.Error(), w.number)
		i := slices.IndexFunc(w.barriers, func(b *simBarrier) bool { return b.token == outcome.Token })
		if i < 0 {
			s.fail("outcome: wait %d was told of a token that it did not ask for: %v", w.number, err)
			return
		}
		b := w.barriers[i]
		if !s.right(b, outcome.Err) {
			s.fail("outcome: wait %d was told of barrier %d: %v, which is not so", w.number, b.number, err)
		}
		s.same(w, b, outcome.Err)
	case w.canceled && (errors.Is(err, context.Canceled) || errors.Is(err, pgbarrier.ErrClosed)):
	case s.stopped && errors.Is(err, pgbarrier.ErrClosed):
	default:
		s.fail("outcome: wait %d ended with %v", w.number, err)
	}
}

// right reports whether err is true of b.
func (s *simulation) right(b *simBarrier, err error) bool {
	horizon := b.token.XID <= s.server.db.horizon
	switch err {
	case pgbarrier.ErrWrongDatabase:
		return b.token.Origin != simOrigin
	case pgbarrier.ErrAborted:
		return b.token.Origin == simOrigin && (b.tx == nil || b.tx.state == txAborted || b.tx.state == txCommitted && b.rolledBack)
	case pgbarrier.ErrExpired:
		return b.token.Origin == simOrigin && horizon && (b.tx == nil || b.tx.state >= txCommitted)
	}
	return false
}

// same: a later wait gets the same outcome, except that a crash undoes a commit which had been seen, and
// that ErrExpired, which says that nothing is known, follows a purge. What follows ErrExpired: nil if an
// announcement, or a wait for several, tells of the commit before the purge, ErrAborted if a crash has taken the
// transaction since.
func (s *simulation) same(w *simWait, b *simBarrier, err error) {
	life := s.server.db.lives
	if b.known && b.last != err {
		lost := b.last == nil && b.lostIn > 0
		earlier := b.last == pgbarrier.ErrExpired && err == nil && (b.announced || len(w.barriers) > 1)
		crashed := b.last == pgbarrier.ErrExpired && err == pgbarrier.ErrAborted && b.lastIn < life
		if !lost && !earlier && !crashed && err != pgbarrier.ErrExpired {
			s.fail("same outcome: barrier %d was %v, and is now %v", b.number, b.last, err)
		}
	}
	b.known, b.last, b.lastIn = true, err, life
}

// leftBehind: a set without waits is empty.
func (s *simulation) leftBehind() {
	w := s.waits
	if len(w.pending) != 0 || w.fresh.size != 0 || len(w.transactions) != 0 || w.ordered.size != 0 || w.questions.size != 0 || w.stats.Waiting != 0 {
		s.fail("nothing left behind: %d pending, %d fresh, %d transactions, %d questions, %d waits",
			len(w.pending), w.fresh.size, len(w.transactions), w.questions.size, w.stats.Waiting)
	}
	s.judgeCallbacks()
}
