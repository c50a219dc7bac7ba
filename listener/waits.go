package listener

import (
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// A waitSet holds everything that is waited for. It does no I/O and starts no goroutine: whoever learns an
// outcome calls hear or apply, and the waits concerned end.
//
// A barrier is in pending while somebody waits for it and its outcome is unknown. It is in fresh until a check
// has asked for it, from then on in the list of its transaction.
type waitSet struct {
	wake         chan struct{}  // gets a signal whenever a check may be due sooner than it was. Capacity 1
	resolved     func(Resolved) // unless nil, is told each outcome, without the lock
	mu           sync.Mutex     // guards all below, and what is reachable from it
	pending      map[pgbarrier.Token]*barrier
	fresh        list[*barrier]
	transactions map[uint64]*transaction // by xid
	ordered      list[*transaction]      // the same, the latest first
	over         uint64                  // how many are not waited for any more
	questions    list[*question]
	closed       error // why no wait can begin any more
	stats        stats
	announced    announced
	heardAt      time.Time // last announcement
	statements   uint64    // answered; numbers them
	origin       uint32    // that they told
	checkAll     bool      // the next check asks for everything
	youngest     time.Time // since when the youngest is waited for that the last check left pending
}

// A barrier is one token that is waited for.
type barrier struct {
	token   pgbarrier.Token
	since   time.Time
	node    node[*barrier]      // in fresh or in its transaction's list
	waits   list[*Subscription] // never empty while the barrier is pending
	asked   uint64              // the last check that asked for it
	several bool                // a wait for several tokens is among the waits
}

// A transaction groups the pending barriers with one xid that a check has asked for.
type transaction struct {
	xid      uint64
	barriers list[*barrier]
	newest   time.Time // since of the barrier that joined last
	asked    uint64    // the last check that asked for one of them
	node     node[*transaction]
}

func newWaitSet(resolved func(Resolved)) *waitSet {
	return &waitSet{wake: make(chan struct{}, 1), resolved: resolved, announced: make(announced),
		pending: make(map[pgbarrier.Token]*barrier), transactions: make(map[uint64]*transaction)}
}

// subscribe begins sub, a wait for all of the tokens, which must be valid and at least one.
func (s *waitSet) subscribe(sub *Subscription, tokens []pgbarrier.Token) {
	sub.set, sub.err, sub.missing = s, ErrPending, len(tokens)
	sub.entries = sub.oneEntry[:]
	if len(tokens) > 1 {
		sub.entries = make([]entry, len(tokens))
	}
	now := time.Now()
	var n news
	s.mu.Lock()
	s.stats.Waiting++
	switch {
	case s.closed != nil:
		s.end(sub, s.closed, &n)
	case len(tokens) == 1 && s.announced.has(tokens[0], now):
		s.stats.ResolvedByMemory++
		n.resolved = append(n.resolved, Resolved{Token: tokens[0], By: ByMemory})
		s.end(sub, nil, &n)
	default:
		for i, t := range tokens {
			sub.entries[i].element = sub
			s.join(&sub.entries[i], t, now)
		}
		signal(s.wake)
	}
	s.mu.Unlock()
	s.tell(n)
}

// join takes e among those who wait for t. The caller holds mu, and signals wake.
func (s *waitSet) join(e *entry, t pgbarrier.Token, now time.Time) {
	b := s.pending[t]
	if b == nil {
		b = &barrier{token: t, since: now}
		b.node.element = b
		s.pending[t] = b
		s.fresh.push(&b.node) // breakage: fresh
	}
	b.several = b.several || len(e.element.entries) > 1
	e.barrier = b
	b.waits.push(&e.node)
}

// end ends sub and leaves nothing of it behind. The caller holds mu, and tells n after releasing it.
func (s *waitSet) end(sub *Subscription, err error, n *news) {
	sub.err = err
	if sub.call != nil {
		n.ended = append(n.ended, sub)
	} else {
		close(sub.done)
	}
	s.stats.Waiting--
	for i := range sub.entries {
		e := &sub.entries[i]
		e.leave()
		if e.barrier != nil && e.barrier.waits.size == 0 { // breakage: nothing left
			s.remove(e.barrier)
		}
	}
	sub.entries, sub.oneEntry = nil, [1]entry{}
}

// remove takes b out of the set, if it still is in it. The caller holds mu.
func (s *waitSet) remove(b *barrier) {
	if s.pending[b.token] != b {
		return
	}
	delete(s.pending, b.token)
	b.node.leave()
	if tx := s.transactions[b.token.XID]; tx != nil && tx.barriers.size == 0 {
		delete(s.transactions, b.token.XID)
		tx.node.leave()
		s.over++
	}
}

// close ends every wait and every question, and all that are to come, with err. runErr is why Run has failed.
func (s *waitSet) close(err, runErr error) {
	var n news
	s.mu.Lock()
	s.closed, s.stats.Connected, s.stats.runErr = err, false, runErr
	for s.fresh.first != nil {
		s.end(s.fresh.first.element.waits.first.element, err, &n)
	}
	for s.ordered.first != nil {
		s.end(s.ordered.first.element.barriers.first.element.waits.first.element, err, &n)
	}
	s.mu.Unlock()
	s.answer(nil, nil, err)
	s.tell(n)
}

// news is what is told when mu has been released.
type news struct {
	resolved []Resolved
	ended    []*Subscription // those with a function to call
}

func (s *waitSet) tell(n news) {
	for _, r := range n.resolved {
		if s.resolved != nil {
			s.resolved(r)
		}
	}
	for _, sub := range n.ended {
		sub.call(sub.err)
	}
}
