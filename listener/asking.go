package listener

import (
	"slices"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// A request is what one check asks for.
type request struct {
	tokens    []pgbarrier.Token // that are waited for
	together  int               // so many of them, the first, belong into one statement
	questions []*question
}

// toCheck returns what check number n has to ask for: what is fresh, and all if few are pending or something may
// have been missed.
func (s *waitSet) toCheck(n uint64, few int) request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r request
	for b := range s.fresh.all {
		tx := s.transactions[b.token.XID]
		if tx == nil {
			tx = &transaction{xid: b.token.XID}
			tx.node.element = tx
			s.transactions[b.token.XID] = tx
			s.ordered.push(&tx.node)
		}
		tx.barriers.push(&b.node)
		tx.newest = later(tx.newest, b.since)
		r.tokens = tx.ask(b, n, r.tokens)
	}
	if s.checkAll || len(s.pending) <= few { // breakage: few
		for tx := range s.ordered.all {
			r.tokens = tx.askAll(n, r.tokens)
		}
	}
	s.checkAll = false
	for i, t := range r.tokens {
		if s.pending[t].several {
			r.tokens[i], r.tokens[r.together] = r.tokens[r.together], t
			r.together++
		}
	}
	r.questions = slices.Collect(s.questions.all)
	return r
}

// ended returns the tokens that check number n has not asked for and whose transactions have ended by the
// snapshot. It costs O(transactions + tokens returned). A transaction beyond the snapshot is running, or a
// crash took it: one of its tokens tells for all of them.
func (s *waitSet) ended(n uint64, snapshot wire.Snapshot) (tokens []pgbarrier.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tx := range s.ordered.all {
		switch {
		case snapshot.Running(tx.xid):
		case snapshot.Ended(tx.xid):
			tokens = tx.askAll(n, tokens)
		case tx.asked != n && tx.barriers.first != nil:
			tokens = tx.ask(tx.barriers.first.element, n, tokens)
		}
	}
	return tokens
}

// askAll appends the tokens that check number n has not asked for.
func (tx *transaction) askAll(n uint64, tokens []pgbarrier.Token) []pgbarrier.Token {
	for b := range tx.barriers.all {
		if b.asked != n {
			tokens = tx.ask(b, n, tokens)
		}
	}
	return tokens
}

func (tx *transaction) ask(b *barrier, n uint64, tokens []pgbarrier.Token) []pgbarrier.Token {
	b.asked, tx.asked = n, n
	return append(tokens, b.token)
}

// checked is called after a check. It returns how many transactions have ended and announcements have been heard.
func (s *waitSet) checked() (ended, heard uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.youngest = time.Time{}
	for tx := range s.ordered.all {
		s.youngest = later(s.youngest, tx.newest)
	}
	return s.over, s.stats.Announcements
}

// recheck makes the next check ask for everything, after something that a crash may have caused, which
// takes commits with it that were visible and not yet durable.
func (s *waitSet) recheck() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkAll = true
	clear(s.announced)
	signal(s.wake)
}

// A demand is what the time of the next check depends on.
type demand struct {
	wanted   bool      // there is something to ask for
	unasked  bool      // and the last check has not asked for it
	left     bool      // the last check left something pending
	youngest time.Time // since when the youngest of that is waited for
	heardAt  time.Time // last announcement
}

func (s *waitSet) demand() demand {
	s.mu.Lock()
	defer s.mu.Unlock()
	return demand{
		wanted:   len(s.pending) > 0 || s.questions.size > 0,
		unasked:  s.checkAll || s.fresh.size > 0 || s.questions.size > 0,
		left:     len(s.transactions) > 0,
		youngest: s.youngest,
		heardAt:  s.heardAt,
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
