package listener

import (
	"context"
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// Wait returns nil once the transactions of all the tokens have committed and can be read on the
// primary. It returns a *pgbarrier.TokenError as soon as one of them is known not to: ErrAborted,
// ErrExpired, ErrWrongDatabase, ErrInvalidToken. If ctx ends first it returns ctx.Err(), and if Run
// returns, pgbarrier.ErrClosed: then the wait has no outcome. A database outage delays a wait and
// never ends it.
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

// Subscribe begins a wait for all of the tokens and returns at once. What Wait says of errors holds
// for [Subscription.Err]. The caller must close the subscription.
func (l *Listener) Subscribe(tokens ...pgbarrier.Token) *Subscription {
	return l.subscribe(nil, tokens)
}

// SubscribeFunc is Subscribe with a function in place of a channel, for callers that keep very many waits:
// f is called once when the wait has ended, with what Wait would return, but not if that was by
// [Subscription.Close]. It is called without locks held, by SubscribeFunc itself if the wait ends at once and
// by the listener's goroutines otherwise, which it must not hold up.
func (l *Listener) SubscribeFunc(f func(err error), tokens ...pgbarrier.Token) *Subscription {
	return l.subscribe(f, tokens)
}

// WaitFunc begins a wait of which f is told the end, as by SubscribeFunc, unless stop is called before: what
// package guard asks of a waiter for messages that it gave back.
func (l *Listener) WaitFunc(f func(err error), tokens ...pgbarrier.Token) (stop func()) {
	return l.SubscribeFunc(f, tokens...).Close
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

// remindAfter is for how long a wait may last before Run was called.
const remindAfter = 10 * time.Second

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
