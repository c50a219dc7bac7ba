package guardtest

import (
	"context"
	"sync"

	"github.com/pgbarrier/pgbarrier"
)

// Waiter is a guard.FuncWaiter whose outcomes a test decides. The zero Waiter is ready to use: every token is
// pending until the test says otherwise.
type Waiter struct {
	// Origin, unless zero, is that of the database which the Waiter stands for: tokens of another are
	// pgbarrier.WrongDatabase.
	Origin uint32

	mu       sync.Mutex
	statuses map[pgbarrier.Token]pgbarrier.Status
	waits    map[*doubleWait]struct{}
	checks   int
	outage   error
	closed   bool
	changed  chan struct{} // closed when something has changed; nil: nobody waits for that
}

type doubleWait struct {
	tokens []pgbarrier.Token
	f      func(error)
}

// Commit ends the tokens' transactions by COMMIT.
func (w *Waiter) Commit(tokens ...pgbarrier.Token) { w.Set(pgbarrier.Committed, tokens...) }

// Abort ends the tokens' transactions by ROLLBACK.
func (w *Waiter) Abort(tokens ...pgbarrier.Token) { w.Set(pgbarrier.Aborted, tokens...) }

// Set gives the tokens a status, and ends the waits that it decides.
func (w *Waiter) Set(status pgbarrier.Status, tokens ...pgbarrier.Token) {
	w.change(func() {
		if w.statuses == nil {
			w.statuses = make(map[pgbarrier.Token]pgbarrier.Status)
		}
		for _, t := range tokens {
			w.statuses[t] = status
		}
	})
}

// Fail begins an outage: checks return err, and no wait ends. Fail(nil) ends it.
func (w *Waiter) Fail(err error) { w.change(func() { w.outage = err }) }

// Close ends all waits, also those to come, with pgbarrier.ErrClosed.
func (w *Waiter) Close() { w.change(func() { w.closed = true }) }

// Checks returns how many checks were made.
func (w *Waiter) Checks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.checks
}

// Waiting returns how many waits have not ended.
func (w *Waiter) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waits)
}

// UntilWaiting returns nil when n waits have not ended, and ctx.Err() if ctx ends first.
func (w *Waiter) UntilWaiting(ctx context.Context, n int) error {
	for {
		w.mu.Lock()
		if len(w.waits) == n {
			w.mu.Unlock()
			return nil
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Wait implements guard.Waiter.
func (w *Waiter) Wait(ctx context.Context, tokens ...pgbarrier.Token) error {
	done := make(chan error, 1)
	stop := w.WaitFunc(func(err error) { done <- err }, tokens...)
	defer stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Check implements guard.Waiter.
func (w *Waiter) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checks++
	if w.closed {
		return nil, pgbarrier.ErrClosed
	}
	if w.outage != nil {
		return nil, w.outage
	}
	statuses := make([]pgbarrier.Status, len(tokens))
	for i, t := range tokens {
		statuses[i] = w.status(t)
	}
	return statuses, nil
}

// WaitFunc implements guard.FuncWaiter.
func (w *Waiter) WaitFunc(f func(error), tokens ...pgbarrier.Token) (stop func()) {
	wait := &doubleWait{tokens, f}
	w.mu.Lock()
	outcome, over := w.outcome(tokens)
	if !over {
		if w.waits == nil {
			w.waits = make(map[*doubleWait]struct{})
		}
		w.waits[wait] = struct{}{}
		w.tell()
	}
	w.mu.Unlock()
	if over {
		f(outcome)
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.waits, wait)
		w.tell()
	}
}

// change changes w, and ends the waits that have an outcome then.
func (w *Waiter) change(f func()) {
	var ended []func()
	w.mu.Lock()
	f()
	for wait := range w.waits {
		if outcome, over := w.outcome(wait.tokens); over {
			delete(w.waits, wait)
			ended = append(ended, func() { wait.f(outcome) })
		}
	}
	w.tell()
	w.mu.Unlock()
	for _, end := range ended {
		end()
	}
}

// tell wakes those who wait for a change. It is called with mu held.
func (w *Waiter) tell() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// outcome is called with mu held.
func (w *Waiter) outcome(tokens []pgbarrier.Token) (err error, over bool) {
	if w.closed {
		return pgbarrier.ErrClosed, true
	}
	if w.outage != nil {
		return nil, false
	}
	committed := 0
	for _, t := range tokens {
		status := w.status(t)
		if err := status.Err(t); err != nil {
			return err, true
		}
		if status == pgbarrier.Committed {
			committed++
		}
	}
	return nil, committed == len(tokens)
}

// status is called with mu held.
func (w *Waiter) status(t pgbarrier.Token) pgbarrier.Status {
	if w.Origin != 0 && t.Origin != w.Origin {
		return pgbarrier.WrongDatabase
	}
	return w.statuses[t]
}
