package listener

import (
	"math"
	"slices"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// What a waitSet tells the checker: what to ask for, and how soon.

// toCheck returns the tokens that check number n has to ask for: the fresh ones, and all if there
// are few (as cheap as finding out which have ended) or if notifications may have been missed. enough:
// the others are watched, so that nobody needs to find out which have ended.
func (s *waitSet) toCheck(n uint64, few int) (tokens []pgbarrier.Token, enough bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	enough = !s.checkAll && !s.seenEnded && s.fresh.size > 0 && time.Now().Before(s.watched)
	all := s.checkAll || len(s.pending) <= few && !enough
	s.checkAll, s.seenEnded = false, false
	tokens = make([]pgbarrier.Token, 0, s.fresh.size)
	for b := range s.fresh.all {
		b.asked = n
		tokens = append(tokens, b.token)
		tx := s.running[b.token.XID]
		if tx == nil {
			tx = &transaction{xid: b.token.XID}
			tx.place.element = tx
			s.running[b.token.XID] = tx
			s.ordered.push(&tx.place)
		}
		tx.barriers.push(&b.place)
		if b.since.After(tx.newest) { // fresh yields the youngest first
			tx.newest = b.since
		}
	}
	if all {
		for tx := range s.ordered.all {
			tokens = tx.toAsk(n, tokens)
		}
	}
	return tokens, enough
}

// notRunning returns the tokens that check number n has not asked for and whose transactions the
// snapshot does not show as running. It costs O(transactions + tokens returned).
func (s *waitSet) notRunning(n uint64, snapshot wire.Snapshot) []pgbarrier.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	var tokens []pgbarrier.Token
	for tx := range s.ordered.all {
		if !snapshot.Running(tx.xid) {
			tokens = tx.toAsk(n, tokens)
		}
	}
	return tokens
}

// toAsk appends the tokens that check number n has not asked for, and will now.
func (tx *transaction) toAsk(n uint64, tokens []pgbarrier.Token) []pgbarrier.Token {
	for b := range tx.barriers.all {
		if b.asked != n {
			b.asked = n
			tokens = append(tokens, b.token)
		}
	}
	return tokens
}

// recheck makes the next check ask for everything, after something that a crash may have caused.
func (s *waitSet) recheck() {
	s.mu.Lock()
	s.checkAll = true
	s.doubt()
	s.mu.Unlock()
	signal(s.wake)
}

// lostCheck is recheck for the check connection. What a check under way learns from the next connection, it
// learns after the crash that this may have been.
func (s *waitSet) lostCheck() {
	s.recheck()
	s.asking()
}

// doubt begins an epoch: the server may have crashed, and a commit that was visible but not yet durable is
// gone then. What was found before is not remembered, nor put together with what is found from now on.
// The caller holds mu.
func (s *waitSet) doubt() {
	s.epoch++
	s.recent.forget()
}

// hearing tells whether there is a session that would end if the server crashed. Without one a crash may
// pass unnoticed, between two statements through a pooler: commits are not remembered, and each statement of
// a check is an epoch. Nor is anything watched.
func (s *waitSet) hearing(heard bool) {
	s.mu.Lock()
	s.unheard = !heard
	s.doubt()
	s.mu.Unlock()
	signal(s.watch)
}

// asking is called before each statement of a check, and tells how many tokens it may ask for. Where each is
// an epoch, a wait for many could not end by several.
func (s *waitSet) asking() (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked.check = s.epoch
	if s.unheard {
		return math.MaxInt
	}
	return tokensPerStatement
}

// answered is called after each statement of a check, when its answers have been taken.
func (s *waitSet) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unheard {
		s.epoch++
	}
}

// toWatch returns the tokens to watch if there are few, otherwise the transactions, and since when the
// youngest is waited for. Nothing is returned if there is nothing to watch, or too many transactions.
func (s *waitSet) toWatch(few, most int) (tokens []pgbarrier.Token, xids []uint64, youngest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unheard || len(s.running) == 0 || len(s.running) > most {
		return nil, nil, time.Time{}
	}
	s.asked.watch = s.epoch
	for tx := range s.ordered.all {
		if tx.newest.After(youngest) {
			youngest = tx.newest
		}
		if len(s.pending) > few {
			xids = append(xids, tx.xid)
			continue
		}
		for b := range tx.barriers.all {
			tokens = append(tokens, b.token)
		}
	}
	return tokens, xids, youngest
}

// watchedUntil tells until when the watch is at work. Zero: not any more.
func (s *waitSet) watchedUntil(t time.Time) {
	s.mu.Lock()
	s.watched = t
	s.mu.Unlock()
	if t.IsZero() {
		signal(s.wake)
	}
}

// sawEnded makes a check due if the snapshot shows one of the transactions as ended, and tells whether.
func (s *waitSet) sawEnded(xids []uint64, snapshot wire.Snapshot) bool {
	if !slices.ContainsFunc(xids, snapshot.Ended) {
		return false
	}
	s.mu.Lock()
	s.seenEnded = true
	s.mu.Unlock()
	signal(s.wake)
	return true
}

// A demand is what the time of the next check depends on.
type demand struct {
	pending  int
	unasked  bool      // something must be asked for that the last check has not asked for
	youngest time.Time // since when the youngest pending barrier is waited for
	heardAt  time.Time
	watched  time.Time // until then, announcements or not: a watch is at work
}

func (s *waitSet) demand() demand {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := demand{pending: len(s.pending), unasked: s.checkAll || s.seenEnded || s.fresh.size > 0, heardAt: s.heardAt, watched: s.watched}
	for tx := range s.ordered.all {
		if tx.newest.After(d.youngest) {
			d.youngest = tx.newest
		}
	}
	return d
}
