package listener

import (
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// A waitSet holds everything that is waited for. It does no I/O and starts no goroutine: whoever
// learns an outcome calls announce or resolve, and the channels of the waits concerned are closed.
//
// A barrier is in pending while somebody waits for it and its outcome is unknown. It is in fresh
// until a check has asked for it, from then on in the list of its transaction, so that a check need
// only ask for what is new and for the transactions that a snapshot shows as ended.
type waitSet struct {
	// wake gets a token whenever a check may be due sooner than it was. Capacity 1.
	wake chan struct{}
	// watch gets one whenever there may be something new to watch. Capacity 1.
	watch chan struct{}
	// resolved, unless nil, is told each outcome, without the lock.
	resolved func(Resolved)

	mu        sync.Mutex // guards all below, and the barriers and subscriptions reachable from it
	pending   map[pgbarrier.Token]*barrier
	fresh     list[*barrier]
	running   map[uint64]*transaction // by xid
	ordered   list[*transaction]      // the same, in an order that a replay repeats
	waiting   int                     // subscriptions that have not ended
	recent    recent
	epoch     uint64    // see doubt
	asked     epochs    // in which the check and the watch under way began
	unheard   bool      // see hearing
	checkAll  bool      // the next check asks for everything
	seenEnded bool      // the watch has seen the end of a transaction that it did not ask for
	watched   time.Time // until then the watch needs no help, see demand
	heardAt   time.Time // last announcement
	closed    error     // why no wait can begin any more
	counts    waitCounts
}

type epochs struct{ check, watch uint64 }

type waitCounts struct {
	announcements, malformed                   uint64
	byAnnouncement, byCheck, byMemory, byWatch uint64
}

// A barrier is one token that is waited for.
type barrier struct {
	token pgbarrier.Token
	since time.Time
	place node[*barrier]      // in fresh or in its transaction's list
	waits list[*Subscription] // never empty while the barrier is pending
	asked uint64              // the last check that asked for it
}

// A transaction groups the pending barriers with one xid.
type transaction struct {
	xid      uint64
	barriers list[*barrier]
	newest   time.Time          // since of the barrier that joined last
	place    node[*transaction] // in ordered
}

func newWaitSet(resolved func(Resolved)) *waitSet {
	return &waitSet{
		wake:     make(chan struct{}, 1),
		watch:    make(chan struct{}, 1),
		resolved: resolved,
		epoch:    1,
		asked:    epochs{1, 1},
		pending:  make(map[pgbarrier.Token]*barrier),
		running:  make(map[uint64]*transaction),
	}
}

// subscribe begins a wait for all of the tokens, which must be valid and at least one.
func (s *waitSet) subscribe(tokens []pgbarrier.Token) *Subscription {
	sub := &Subscription{set: s, done: make(chan struct{}), err: ErrPending, missing: len(tokens)}
	if len(tokens) == 1 {
		sub.seats = sub.oneSeat[:]
	} else {
		sub.seats = make([]seat, len(tokens))
	}
	now := time.Now()
	var reports []Resolved

	s.mu.Lock()
	s.waiting++
	if s.closed != nil {
		s.end(sub, s.closed)
	}
	for i, t := range tokens {
		if sub.ended() {
			break
		}
		if outcome, known := s.recent.outcome(t, now); known {
			s.counts.byMemory++
			if s.resolved != nil {
				reports = append(reports, Resolved{Token: t, Err: outcome, By: ByMemory})
			}
			if len(tokens) > 1 { // confirm may need it
				sub.seats[i] = seat{node: node[*Subscription]{element: sub}, barrier: &barrier{token: t}}
			}
			s.settle(sub, outcome, 0)
			continue
		}
		sub.seats[i].element = sub
		s.join(&sub.seats[i], t, now)
	}
	toCheck := s.fresh.size > 0
	s.mu.Unlock()

	s.report(reports)
	if toCheck {
		signal(s.wake)
	}
	return sub
}

// join takes the seat among those who wait for t. The caller holds mu, and signals wake.
func (s *waitSet) join(place *seat, t pgbarrier.Token, now time.Time) {
	b := s.pending[t]
	if b == nil {
		b = &barrier{token: t, since: now}
		b.place.element = b
		s.pending[t] = b
		s.fresh.push(&b.place)
	}
	place.barrier = b
	b.waits.push(&place.node)
}

// end closes sub.Done and leaves nothing of sub behind. The caller holds mu.
func (s *waitSet) end(sub *Subscription, err error) {
	sub.err = err
	close(sub.done)
	s.waiting--
	for i := range sub.seats {
		seat := &sub.seats[i]
		seat.leave()
		if seat.barrier != nil && seat.barrier.waits.size == 0 {
			s.remove(seat.barrier)
		}
	}
	sub.seats, sub.oneSeat = nil, [1]seat{}
}

// remove takes b out of the set, if it still is in it. The caller holds mu.
func (s *waitSet) remove(b *barrier) {
	if s.pending[b.token] != b {
		return
	}
	delete(s.pending, b.token)
	b.place.leave()
	if tx := s.running[b.token.XID]; tx != nil && tx.barriers.size == 0 {
		delete(s.running, b.token.XID)
		tx.place.leave()
	}
}

// close ends every wait, and every wait to come, with err.
func (s *waitSet) close(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = err
	for _, b := range s.pending {
		for b.waits.first != nil {
			s.end(b.waits.first.element, err)
		}
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // a signal is waiting already
	}
}
