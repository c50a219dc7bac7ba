package listener

import (
	"slices"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// A simWatch is a watch statement: pgbarrier.watch in sql/triggers.sql.
type simWatch struct {
	xids            []uint64
	patience, pause time.Duration
	epoch           uint64 // of the waitSet when it was called

	begun  time.Time
	seen   bool // an end, by the next look
	answer func()
}

func newSimWatch(tokens []pgbarrier.Token, xids []uint64, patience, pause time.Duration) *simWatch {
	w := &simWatch{xids: slices.Clone(xids), pause: max(pause.Truncate(time.Millisecond), time.Millisecond)}
	for _, t := range tokens {
		w.xids = append(w.xids, t.XID)
	}
	w.patience = max(patience.Truncate(time.Millisecond), min(4*w.pause, maxPatience)) // four looks at least
	return w
}

// beginWatch takes the first look.
func (s *simServer) beginWatch(c *simCall, answer func()) {
	w := c.watch
	w.begun, w.seen, w.answer = time.Now(), false, answer
	s.watching = w
	s.after(w.nextLook(w.patience), "", func() { s.endWatch(w) })
}

// nextLook is when the first look after the duration d is taken, from begun on.
func (w *simWatch) nextLook(d time.Duration) time.Duration {
	return (d + w.pause - 1) / w.pause * w.pause
}

// look is called after every event. It makes the watch answer at its next look if that will see an end;
// no other look needs an event.
func (s *simServer) look() {
	w := s.watching
	if w == nil || w.seen || !slices.ContainsFunc(w.xids, func(xid uint64) bool { return !s.db.inProgress(xid) }) {
		return
	}
	w.seen = true
	next := w.nextLook(time.Since(w.begun))
	s.after(time.Until(w.begun.Add(next)), "watch sees an end", func() { s.endWatch(w) })
}

// endWatch is called twice if an end is seen, and does nothing after a crash.
func (s *simServer) endWatch(w *simWatch) {
	if s.watching == w {
		s.watching = nil
		w.answer()
	}
}

// watchInvariants is what the simulation remembers to judge the watch by.
type watchInvariants struct {
	watchAt   time.Time         // when the last began, or failed
	watchErr  int               // failures in a row
	watchSaw  bool              // an end, which makes a check due
	watchTold []pgbarrier.Token // the watch has just answered their outcomes
}

// watchBegins: a watch is for what is waited for, and keeps its distance to the one before.
func (s *simulation) watchBegins(c *simCall) {
	least := s.config.MinDelay
	for i := 1; i < s.watchErr && least < s.config.MaxDelay; i++ {
		least *= 2
	}
	least = min(least, s.config.MaxDelay)
	if since := time.Since(s.watchAt); since < least {
		s.fail("rate: a watch begins %v after the last, which must be %v", since, least)
	}
	s.watchAt = time.Now()

	if n := len(c.watch.xids); n == 0 || n > mostWatched {
		s.fail("size: a watch for %d transactions", n)
	}
	waited := make(map[uint64]bool)
	for _, w := range s.live {
		for _, b := range w.barriers {
			waited[b.token.XID] = true
		}
	}
	for _, xid := range c.watch.xids {
		if !waited[xid] {
			s.fail("size: a watch for transaction %d, for which nobody waits", xid)
		}
	}
	c.watch.epoch = s.waits.asked.watch
}

// watched takes note of the answer that a watch gets.
func (s *simulation) watched(c *simCall, r simReply) {
	if r.err != nil {
		s.watchAt = time.Now()
		s.watchErr++
		return
	}
	s.watchErr = 0
	doubted := c.watch.epoch != s.waits.epoch
	for i, status := range r.judgement.Statuses {
		if status != pgbarrier.Pending && !doubted {
			s.watchTold = append(s.watchTold, c.tokens[i])
		}
	}
	s.watchSaw = len(c.tokens) == 0 && slices.ContainsFunc(c.watch.xids, r.judgement.Snapshot.Ended)
}
