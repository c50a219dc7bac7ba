package listener

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// Wait returns nil once the transactions of all the tokens have committed and can be read on the primary. It
// returns a *pgbarrier.TokenError as soon as one of them is known not to: ErrAborted, ErrExpired,
// ErrWrongDatabase, ErrInvalidToken. If ctx ends first it returns ctx.Err(), and if Run returns,
// pgbarrier.ErrClosed: then the wait has no outcome. A database outage delays a wait and never ends it.
func (l *Listener) Wait(ctx context.Context, tokens ...pgbarrier.Token) error {
	sub := l.Subscribe(tokens...)
	defer sub.Close()
	select {
	case <-sub.Done():
	case <-ctx.Done():
	}
	if err := sub.Err(); err != ErrPending {
		return err
	}
	return ctx.Err() // breakage: the context's own error
}

// Subscribe begins a wait for all of the tokens and returns at once. What Wait says of errors holds for
// [Subscription.Err]. The caller must close the subscription.
func (l *Listener) Subscribe(tokens ...pgbarrier.Token) *Subscription {
	return l.subscribe(nil, tokens)
}

// WaitFunc begins a wait with a function in place of a goroutine or a channel, for callers that keep very many. f
// is called once, when the wait has ended, with what Wait would return: without locks held, by WaitFunc itself or by
// the listener's goroutines, which it must not hold up. After stop it is not called, unless the wait had just ended.
func (l *Listener) WaitFunc(f func(err error), tokens ...pgbarrier.Token) (stop func()) {
	return l.subscribe(f, tokens).Close
}

func (l *Listener) subscribe(call func(error), tokens []pgbarrier.Token) *Subscription {
	sub := &Subscription{set: l.waits, call: call, err: validate("wait", tokens)}
	if call == nil {
		sub.done = make(chan struct{})
	}
	switch {
	case sub.err == nil:
		l.waits.subscribe(sub, tokens)
		if !l.begun.Load() {
			l.reminder.Do(func() { time.AfterFunc(remindAfter, l.remind) })
		}
	case call == nil:
		close(sub.done)
	default:
		call(sub.err)
	}
	return sub
}

const remindAfter = 10 * time.Second // that a wait has begun and Run was not called

func (l *Listener) remind() {
	if !l.begun.Load() {
		l.config.Logger.Warn("pgbarrier: a wait began 10 s ago, and Listener.Run has not been called")
	}
}

func validate(doing string, tokens []pgbarrier.Token) error {
	for _, t := range tokens {
		if err := t.Valid(); err != nil {
			return fmt.Errorf("pgbarrier: %s: %w", doing, err)
		}
	}
	if len(tokens) == 0 {
		return fmt.Errorf("pgbarrier: %s: %w: there is none", doing, pgbarrier.ErrInvalidToken)
	}
	return nil
}

// ErrPending is what [Subscription.Err] returns before the wait has ended.
var ErrPending = errors.New("pgbarrier: the wait has not ended: receive from Done before asking for the outcome")

var errSubscriptionClosed = fmt.Errorf("the subscription was closed: %w", pgbarrier.ErrClosed)

// A Subscription is one wait. It must be closed once it is not needed any more; one that has ended holds nothing.
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
// listener has stopped, or Close was called.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err returns nil if all tokens are committed, a *pgbarrier.TokenError for the first that is known
// not to be, pgbarrier.ErrClosed if the wait has no outcome, and [ErrPending] before it has ended.
func (s *Subscription) Err() error {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	return s.err
}

// Close ends the wait. It may be called at any time, more than once, and by any goroutine.
func (s *Subscription) Close() {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	if s.err == ErrPending {
		s.set.end(s, errSubscriptionClosed, new(news))
	}
}
