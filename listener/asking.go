package listener

import (
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// What a waitSet tells the checker: what to ask for, and how soon.

// toCheck returns the tokens that check number n has to ask for: the fresh ones, and all if there
// are few (as cheap as finding out which have ended) or if notifications may have been missed.
func (s *waitSet) toCheck(n uint64, few int) []pgbarrier.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.checkAll || len(s.pending) <= few
	s.checkAll = false
	tokens := make([]pgbarrier.Token, 0, s.fresh.size)
	for b := range s.fresh.all {
		b.asked = n
		tokens = append(tokens, b.token)
		tx := s.running[b.token.XID]
		if tx == nil {
			tx = new(transaction)
			s.running[b.token.XID] = tx
		}
		tx.barriers.push(&b.place)
		tx.newest = b.since
	}
	if all {
		for _, b := range s.pending {
			if b.asked != n {
				b.asked = n
				tokens = append(tokens, b.token)
			}
		}
	}
	return tokens
}

// notRunning returns the tokens that check number n has not asked for and whose transactions the
// snapshot does not show as running. It costs O(transactions + tokens returned).
func (s *waitSet) notRunning(n uint64, snapshot pgbarrier.Snapshot) []pgbarrier.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	var tokens []pgbarrier.Token
	for xid, tx := range s.running {
		if snapshot.Running(xid) {
			continue
		}
		for b := range tx.barriers.all {
			if b.asked != n {
				b.asked = n
				tokens = append(tokens, b.token)
			}
		}
	}
	return tokens
}

// recheck makes the next check ask for everything: what was asked for has not been answered, or
// notifications may have been missed. Outcomes that were heard may not be true any more, see
// recent.forget.
func (s *waitSet) recheck() {
	s.mu.Lock()
	s.checkAll = true
	s.recent.forget()
	s.mu.Unlock()
	s.signal()
}

// listening is told when a session begins to be heard, and when it is lost. An asynchronous commit can
// be seen and then be lost in a crash, of which nobody tells but the loss of a session. So commits are
// remembered from one on, until the next, and while there is none each wait asks anew.
func (s *waitSet) listening(yes bool) {
	s.mu.Lock()
	s.hearing = yes
	s.mu.Unlock()
	s.recheck()
}

// A demand is what the time of the next check depends on.
type demand struct {
	pending  int
	unasked  bool      // something must be asked for that the last check has not asked for
	youngest time.Time // since when the youngest pending barrier is waited for
	heardAt  time.Time
}

func (s *waitSet) demand() demand {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := demand{pending: len(s.pending), unasked: s.checkAll || s.fresh.size > 0, heardAt: s.heardAt}
	for _, tx := range s.running {
		if tx.newest.After(d.youngest) {
			d.youngest = tx.newest
		}
	}
	return d
}
