package guard

import (
	"context"

	"github.com/pgbarrier/pgbarrier"
)

// Waiter is what a guard learns outcomes from: a listener, a relay's client, [Mux], [Eager], or a
// test's double. Its methods may be called by any number of goroutines at once.
type Waiter interface {
	// Wait returns nil once all tokens are committed, a *pgbarrier.TokenError as soon as one is known
	// not to be, and promptly ctx.Err() if ctx ends first. An outage delays it and does not end it.
	Wait(ctx context.Context, tokens ...pgbarrier.Token) error

	// Check returns the tokens' statuses, in their order, as one statement finds them that begins after
	// the call. It does not wait for the tokens, and calls at the same time should share a statement.
	//
	// With an error it returns no statuses, or one for each token: then what is not Pending is certain,
	// and what is Pending may only be unknown.
	Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error)
}

// FuncWaiter is a Waiter that needs no goroutine for a wait, and that knows some outcomes without
// asking. With it a token whose commit was heard costs a microsecond, and a thousand messages that were
// handed back cost no goroutine. A Waiter without WaitFunc is served as well, see [Guard.Wake].
type FuncWaiter interface {
	Waiter

	// WaitFunc begins a wait for all of the tokens and calls f, once, with what Wait would return, or with
	// pgbarrier.ErrClosed if the waiter stops. It may be called by any goroutine, and before WaitFunc returns
	// if the outcome is known. f returns soon, and calls nothing of the waiter, nor stop.
	//
	// stop ends the wait, and leaves nothing of it behind; nor does a wait that has ended. It may be called
	// at any time, more than once. f is not called any more then, unless the wait has just ended.
	WaitFunc(f func(error), tokens ...pgbarrier.Token) (stop func())
}

// Eager is the Waiter of code that runs its handlers at once, inside the producer's transaction, as
// tests do: all is taken for committed. A real worker must not use it.
var Eager Waiter = eager{}

type eager struct{}

func (eager) Wait(context.Context, ...pgbarrier.Token) error { return nil }

func (eager) Check(_ context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	statuses := make([]pgbarrier.Status, len(tokens))
	for i := range statuses {
		statuses[i] = pgbarrier.Committed
	}
	return statuses, nil
}

func (eager) WaitFunc(f func(error), _ ...pgbarrier.Token) (stop func()) {
	f(nil)
	return func() {}
}
