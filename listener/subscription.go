package listener

import (
	"errors"
	"fmt"

	"github.com/pgbarrier/pgbarrier"
)

// ErrPending is what [Subscription.Err] returns before the wait has ended.
var ErrPending = errors.New("pgbarrier: the wait has not ended: receive from Done before asking for the outcome")

var errSubscriptionClosed = fmt.Errorf("the subscription was closed: %w", pgbarrier.ErrClosed)

// A Subscription is one wait, for select statements and callers that keep many waits. It must be
// closed once it is not needed any more; one that has ended holds nothing.
type Subscription struct {
	set  *waitSet
	done chan struct{}

	// Guarded by set.mu. err is written once before done is closed, and may be read without the
	// lock after that.
	err     error
	missing int    // tokens without an outcome
	epoch   uint64 // in which all of the others were found, see waitSet.doubt; 0: not in one
	seats   []seat
	oneSeat [1]seat // seats of the usual wait, for one token
}

// A seat is a subscription's place among the waits for one barrier.
type seat struct {
	node[*Subscription]
	barrier *barrier
}

// Done is closed when the wait has ended: all of its tokens are committed, one of them is not, the
// listener has stopped, or Close was called.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err returns nil if all tokens are committed, a *pgbarrier.TokenError for the first that is known
// not to be, pgbarrier.ErrClosed if the wait has no outcome, and [ErrPending] until Done is closed.
func (s *Subscription) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return ErrPending
	}
}

// Close ends the wait. It may be called at any time, more than once, and by any goroutine.
func (s *Subscription) Close() {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	if !s.ended() {
		s.set.end(s, errSubscriptionClosed)
	}
}

// ended tells whether the wait has ended. It is called with set.mu held.
func (s *Subscription) ended() bool { return !errors.Is(s.err, ErrPending) }
