package listener

import (
	"errors"
	"fmt"

	"github.com/pgbarrier/pgbarrier"
)

// ErrPending is what [Subscription.Err] returns before the wait has ended.
var ErrPending = errors.New("pgbarrier: the wait has not ended: receive from Done before asking for the outcome")

var errSubscriptionClosed = fmt.Errorf("the subscription was closed: %w", pgbarrier.ErrClosed)

// closedDone is what Done returns for waits that had ended before it was asked for.
var closedDone = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// A Subscription is one wait, for select statements and callers that keep many waits. It must be
// closed once it is not needed any more; one that has ended holds nothing.
type Subscription struct {
	set  *waitSet
	call func(error) // or nil

	// Guarded by set.mu. err does not change any more once the wait has ended.
	err      error
	done     chan struct{} // nil until it is asked for
	missing  int           // tokens without an outcome
	foundBy  uint64        // the statement that found all of the others committed; 0: not one
	entries  []entry
	oneEntry [1]entry // of the usual wait, for one token
}

// An entry is a subscription's among the waits for one barrier.
type entry struct {
	node[*Subscription]
	barrier *barrier
}

// Done returns a channel that is closed when the wait has ended: all of its tokens are committed, one
// of them is not, the listener has stopped, or Close was called.
func (s *Subscription) Done() <-chan struct{} {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	if s.done == nil {
		if s.ended() {
			return closedDone
		}
		s.done = make(chan struct{})
	}
	return s.done
}

// Err returns nil if all tokens are committed, a *pgbarrier.TokenError for the first that is known
// not to be, pgbarrier.ErrClosed if the wait has no outcome, and [ErrPending] before it has ended.
func (s *Subscription) Err() error {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	return s.err
}

// Close ends the wait. It may be called at any time, more than once, and by any goroutine. A function
// given to [Listener.SubscribeFunc] is not called any more, unless the wait has just ended.
func (s *Subscription) Close() {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	if !s.ended() {
		s.set.end(s, errSubscriptionClosed, new(news))
	}
}

// ended reports whether the wait has ended. The caller holds set.mu.
func (s *Subscription) ended() bool { return s.err != ErrPending }
