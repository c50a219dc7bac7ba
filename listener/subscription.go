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
	call func(error)   // or
	done chan struct{} // when the wait has ended

	// Guarded by set.mu. err does not change any more once the wait has ended.
	err      error
	missing  int    // tokens without an outcome
	foundBy  uint64 // the statement that found all of the others committed; 0: not one
	entries  []entry
	oneEntry [1]entry // of the usual wait, for one token
}

// An entry is a subscription's among the waits for one barrier.
type entry struct {
	node[*Subscription]
	barrier *barrier
}

// Done is closed when the wait has ended: all of its tokens are committed, one of them is not, the
// listener has stopped, or Close was called. It is nil with [Listener.SubscribeFunc].
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err returns nil if all tokens are committed, a *pgbarrier.TokenError for the first that is known
// not to be, pgbarrier.ErrClosed if the wait has no outcome, and [ErrPending] before it has ended.
func (s *Subscription) Err() error {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	return s.err
}

// Close ends the wait. It may be called at any time, more than once, and by any goroutine. A function
// given to [Listener.SubscribeFunc] is not called after that, unless the wait had just ended.
func (s *Subscription) Close() {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	if s.err == ErrPending {
		s.set.end(s, errSubscriptionClosed, new(news))
	}
}
